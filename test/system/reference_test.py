"""The reference says what the program says: limits, and the codes of problems."""
import json
import re

from daybook_test import ROOT, Tap, daybook

tap = Tap()


@tap.test
def the_table_of_limits_is_the_programs():
    code, text, _ = daybook("serve", "--limits", "--json")
    assert code == 0
    wanted = [f"| `{row['name']}` | {row['default']} | {row['unit']} | {row['sentence']} |" for row in json.loads(text)]
    found = [line for line in (ROOT / "docs/reference/limits.md").read_text().splitlines() if line.startswith("| `")]
    assert found == wanted, set(wanted) ^ set(found)


@tap.test
def every_code_of_a_problem_is_explained_and_none_that_does_not_exist():
    sources = "".join(path.read_text() for folder in ("src/http", "src/server") for path in (ROOT / folder).glob("*.c")
                      if not path.name.endswith(("_test.c", "_fuzz.c")))
    codes = set(re.findall(r'http_answer_error\(\s*[^,]+,\s*\d+,\s*"([a-z-]+)"', sources))
    codes |= set(re.findall(r'\.?code = (?:\w+ \? )?"([a-z-]+)"', sources))
    codes |= set(re.findall(r'\.code = malformed \? "[a-z-]+" : "([a-z-]+)"', sources))
    codes |= set(re.findall(r'\{[^{}"]*[45]\d\d, "([a-z-]+)"', sources))
    codes |= set(re.findall(r'crowd_enter\([^"]+"([a-z-]+)"', sources))
    codes |= set(re.findall(r'connection_cut\([^"]+"([a-z-]+)"', sources))
    codes |= set(re.findall(r'status == 401 \? "([a-z]+)" : "([a-z]+)"', sources)[0])
    lines = [line.split("|")[1] for line in (ROOT / "docs/reference/http.md").read_text().splitlines()
             if re.match(r"\| `[a-z-]+`.*\| [45]\d\d", line)]
    explained = {code for line in lines for code in re.findall(r"`([a-z-]+)`", line)}
    assert len(codes) > 40, codes
    assert codes - explained == set(), f"not explained: {codes - explained}"
    assert explained - codes == set(), f"does not exist: {explained - codes}"


tap.main()
