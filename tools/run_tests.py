#!/usr/bin/env python3
"""Build with sanitizers and warnings as errors, run every suite, end with `N passed, N failed`.

    tools/run_tests.py [--long [--minutes N] | --forever] [--suite NAME …] [--build FOLDER]

Before anything else runs, what the tests stand on is tried in each environment that a test will have: a suite that cannot
start is said to be that, at once. Each test program speaks TAP; what is counted are its lines, not the programs. A program
that dies, says nothing or plans more tests than it ran counts as one failure, and so does one that the long suites' time
did not suffice for. Exit: 0 all passed, 1 something failed, 3 it could not be built or a suite cannot start.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TAP = re.compile(r"(ok|not ok) +\d+(?: +-)? *([^#]*?) *(# *SKIP.*)?$", re.I)
OPTIONS = ["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Dwerror=true", "-Dtests=enabled",
           "-Dbuildtype=debugoptimized"]
LONG_MINUTES = 60
# A test whose environment has this variable stands on that: a command that must end with 0 in the same environment.
NEEDS = [("BREAKER_MODULE", lambda value: [sys.executable, "nginx/test/harness.py"]),
         ("DAYBOOK_BUILD", lambda value: [f"{value}/daybook", "--version"])]


def count_one(test):
    """(passed, names of what failed, skipped) of one program, from the TAP lines it printed."""
    lines = [TAP.match(line) for line in test.get("stdout", "").splitlines()]
    lines = [line.groups() for line in lines if line]
    failed = [f"{test['name']}: {name}" for word, name, _ in lines if word == "not ok"]
    skipped = sum(1 for word, _, skip in lines if word == "ok" and skip)
    passed = len(lines) - len(failed) - skipped
    fine = test["result"] in ("OK", "SKIP", "EXPECTEDFAIL")
    if not lines:
        return (1, [], 0) if test["result"] == "OK" else (0, [], 1) if test["result"] == "SKIP" else (0, [test["name"]], 0)
    if not fine and not failed:
        failed.append(f"{test['name']}: the program itself ({test['result']})")
    return passed, failed, skipped


def count(log, expected):
    """Passed, failed (by name) and skipped of all programs in meson's log, one JSON object a line."""
    passed, failed, skipped, seen = 0, [], 0, set()
    with open(log, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            test = json.loads(line)
            seen.add(re.sub(r"^.* / ", "", test["name"]))
            one = count_one(test)
            passed, failed, skipped = passed + one[0], failed + one[1], skipped + one[2]
    failed += [f"{name}: did not end within the time" for name in expected if name not in seen]
    return passed, failed, skipped


def chosen(build, arguments):
    """What meson will run, as it introspects itself: a list of tests with name, suite, cmd and env."""
    text = subprocess.run(["meson", "introspect", "--tests", build], check=True, capture_output=True, text=True).stdout
    tests = [{**test, "suite": {suite.split(":")[-1] for suite in test["suite"]}} for test in json.loads(text)]
    wanted = {"open_ended"} if arguments.forever else {"long"} if arguments.long else None
    tests = [test for test in tests if (test["suite"] & wanted if wanted else "long" not in test["suite"])]
    return [test for test in tests if not arguments.suite or test["suite"] & set(arguments.suite)]


def cannot_start(tests):
    """A line for each thing that would keep a test from starting: a program that is missing, an environment that does not do."""
    lines, tried = [], set()
    for test in tests:
        for word in test["cmd"]:
            if word.startswith("/") and word.endswith(".py") and not os.path.exists(word):
                lines.append(f"{test['name']}: {word} is not there")
        if not shutil.which(test["cmd"][0]):
            lines.append(f"{test['name']}: {test['cmd'][0]} cannot be run")
        for variable, command in NEEDS:
            key = (variable, tuple(sorted(test["env"].items())))
            if variable not in test["env"] or key in tried:
                continue
            tried.add(key)
            done = subprocess.run(command(test["env"][variable]), env={**os.environ, **test["env"]}, stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, errors="replace", timeout=120)
            if done.returncode != 0:
                said = (done.stdout + done.stderr).strip().splitlines()[-6:]
                lines.append(f"{test['name']}: cannot start (exit {done.returncode})" + "".join(f"\n    {line}" for line in said))
    return lines


def run(arguments, tests):
    """One run of meson over the suites; its exit status, or 1 when the time was over."""
    command = ["meson", "test", "-C", arguments.build, "--no-rebuild", "--print-errorlogs",
               "--num-processes", str(max(2, min(4, os.cpu_count() or 2)))]
    # A test's limit is there to end one that hangs, not to time it: a machine that is busy may take four times as long.
    if arguments.long or arguments.forever:
        command += ["--suite", "open_ended" if arguments.forever else "long", "--timeout-multiplier", "0"]
    else:
        command += ["--no-suite", "long", "--timeout-multiplier", "4"]
    command += [test["name"] for test in tests] if arguments.suite else []
    meson = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        return meson.wait(arguments.minutes * 60 if arguments.long else None)
    except subprocess.TimeoutExpired:
        print(f"\n{arguments.minutes} minutes are over: what still runs is ended", file=sys.stderr)
        meson.send_signal(signal.SIGTERM)
        meson.wait()
        return 1


def report(arguments, tests, status, began):
    """Prints what failed and the line that counts; true when all is well."""
    log = pathlib.Path(arguments.build, "meson-logs", "testlog.json")
    passed, failed, skipped = count(log, [test["name"] for test in tests])
    if status != 0 and not failed:
        failed = ["a test program, see above"]
    print()
    for name in failed:
        print(f"failed: {name}")
    print(f"took {time.monotonic() - began:.0f} s")
    print(f"{passed} passed, {len(failed)} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
    return passed > 0 and not failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="run the long suites instead of the usual ones")
    parser.add_argument("--minutes", type=float, default=LONG_MINUTES, help=f"the long suites' time ({LONG_MINUTES})")
    parser.add_argument("--forever", action="store_true", help="repeat what takes new seeds each time, until something fails")
    parser.add_argument("--suite", action="append", default=[], help="only this suite (unit, system, nginx, browser …)")
    parser.add_argument("--build", default="build-test", help="the build folder")
    arguments = parser.parse_args()

    os.chdir(ROOT)
    if subprocess.run(["tools/build.sh", arguments.build, *OPTIONS]).returncode != 0:
        print("The build failed; no test was run.", file=sys.stderr)
        return 3
    tests = chosen(arguments.build, arguments)
    lines = cannot_start(tests)
    if lines or not tests:
        print("No test was run:", *(lines or ["none is in this suite"]), sep="\n  ", file=sys.stderr)
        return 3
    while True:
        began = time.monotonic()
        good = report(arguments, tests, run(arguments, tests), began)
        if not (good and arguments.forever):
            return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
