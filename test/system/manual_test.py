"""The manual says what the program says of itself, and mandoc finds nothing to mend."""
import re
import shutil
import subprocess

from daybook_test import ROOT, Skip, Tap, daybook

tap = Tap()
MANUAL = ROOT / "man" / "daybook.1"


def commands():
    code, output, _ = daybook("--help")
    assert code == 0
    return re.findall(r"^  ([a-z]+) +\S", output.split("usage:")[1].split("Every command")[0], re.M)


def options_in_help(command):
    code, output, _ = daybook(command, "--help")
    assert code == 0, output
    return set(re.findall(r"^  --([a-z-]+)", output, re.M))


def options_in_manual():
    """Options by section of the manual; "" holds those of every command."""
    found, section = {"": set()}, ""
    for line in MANUAL.read_text().splitlines():
        title = re.match(r"\.Ss ([a-z]+)", line)
        if title:
            section = title.group(1)
            found[section] = set()
        elif line.startswith(".Sh"):
            section = ""
        found[section] |= set(re.findall(r"(?:Fl|,) -([a-z-]+)", line))
    return found


@tap.test
def every_command_and_every_option_of_the_help_stands_in_the_manual_and_none_besides():
    manual = options_in_manual()
    names = commands()
    assert len(names) >= 10, names
    for name in names:
        assert name in manual, f"{name} has no section"
        told, known = options_in_help(name), manual[name] | manual[""]
        assert name == "serve" or told <= known, f"{name}: not in the manual: {told - known}"
        assert manual[name] <= told, f"{name}: only in the manual: {manual[name] - told}"


@tap.test
def mandoc_has_nothing_to_say_about_the_manual_pages():
    if not shutil.which("mandoc"):
        raise Skip("mandoc is not installed")
    pages = [str(path) for path in [*ROOT.glob("man/*.[1-9]"), *ROOT.glob("breaker/man/*.[1-9]")]]
    done = subprocess.run(["mandoc", "-Tlint", "-W", "warning", *pages], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr


@tap.test
def a_wrong_use_is_answered_with_exit_code_2_and_what_to_do():
    for arguments, words in ((["nothing"], "there is no command"), (["read", "--nothing"], "--help lists them"),
                             (["read", "--limit", "many"], "whole number"), (["read", "--limit"], "needs a value"),
                             (["append"], "wrong number of arguments"), (["bench", "--clients", "0"], "takes 1 to")):
        code, output, error = daybook(*arguments)
        assert code == 2 and words in error and not output, (arguments, code, output, error)


@tap.test
def without_a_server_a_command_fails_with_exit_code_3_and_names_the_address():
    code, _, error = daybook("read", "--url", "http://127.0.0.1:1")
    assert code == 3 and "127.0.0.1" in error and "`daybook serve` starts one" in error, (code, error)


tap.main()
