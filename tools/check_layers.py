#!/usr/bin/env python3
"""Hold every #include against the layer table of src/README.md. Speaks TAP: one line a layer.

A quoted include names its layer ("journal/journal.h"); it may stand in that layer itself or below. The rows of the
table are the law: change it there, with the reason, and the check follows.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')
ROW = re.compile(r"^\| `([a-z]+)/` \|[^|]*\|([^|]*)\|")


def table():
    """Layer → the layers it may include, read from src/README.md."""
    allowed = {}
    for line in (ROOT / "src/README.md").read_text().splitlines():
        row = ROW.match(line)
        if row:
            words = re.findall(r"[a-z][a-z.]+", row.group(2))
            allowed[row.group(1)] = set(allowed) if "above" in words else set(words)
    return allowed


def includes(folder):
    for path in sorted([*folder.rglob("*.c"), *folder.rglob("*.h")]):
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            found = INCLUDE.match(line)
            if found:
                yield path, number, found.group(1), found.group(2)


def offences(layer, allowed):
    for path, number, quote, name in includes(ROOT / "src" / layer):
        is_test = path.stem.endswith(("_test", "_fuzz"))
        first = name.split("/")[0]
        if quote == "<" or first == layer:
            continue
        if name == "breaker.h" and ("breaker.h" in allowed[layer] or layer == "server"):
            continue
        if is_test and first == "lib":
            continue
        if "/" not in name or first not in allowed[layer]:
            yield f"{path.relative_to(ROOT)}:{number} includes \"{name}\""


def outsiders():
    """Folders outside src/ that see public headers only, and what each may quote."""
    rules = {
        "breaker": lambda name: "/" not in name,
        "nginx": lambda name: "/" not in name,
        "examples": lambda name: "/" not in name,
        "include": lambda name: False,
        "cli": lambda name: "/" not in name or name in ("server/server.h", "journal/tools.h") or name.startswith(("base/", "os/", "cli/")),
    }
    for folder, is_allowed in rules.items():
        bad = [f"{path.relative_to(ROOT)}:{number} includes \"{name}\""
               for path, number, quote, name in includes(ROOT / folder) if quote == '"' and not is_allowed(name)]
        yield folder, bad


def main():
    allowed = table()
    results = [(f"src/{layer} includes only what it may", list(offences(layer, allowed))) for layer in allowed]
    results += [(f"{folder} includes only what it may", bad) for folder, bad in outsiders()]
    folders = {path.name for path in (ROOT / "src").iterdir() if path.is_dir()}
    results.append(("every folder of src stands in the table", sorted(folders - set(allowed))))
    print(f"1..{len(results)}")
    for number, (name, bad) in enumerate(results, 1):
        print(f"{'not ok' if bad else 'ok'} {number} - {name}")
        for line in bad:
            print(f"# {line}")
    return 1 if any(bad for _, bad in results) else 0


if __name__ == "__main__":
    sys.exit(main())
