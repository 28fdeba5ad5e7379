#!/usr/bin/env python3
"""Build with sanitizers and warnings as errors, run every suite, end with `N passed, N failed`.

    tools/run_tests.py [--long] [--suite NAME …] [--build FOLDER]

Each test program speaks TAP; what is counted are its lines, not the programs. A program that dies, says nothing or
plans more tests than it ran counts as one failure. Exit: 0 all passed, 1 something failed, 3 it could not be built.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TAP = re.compile(r"(ok|not ok) +\d+(?: +-)? *([^#]*?) *(# *SKIP.*)?$", re.I)
OPTIONS = ["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Dwerror=true", "-Dtests=enabled",
           "-Dbuildtype=debugoptimized"]


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


def count(log):
    """Passed, failed (by name) and skipped of all programs in meson's log, one JSON object a line."""
    passed, failed, skipped = 0, [], 0
    with open(log, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            one = count_one(json.loads(line))
            passed, failed, skipped = passed + one[0], failed + one[1], skipped + one[2]
    return passed, failed, skipped


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="run the long suites instead of the usual ones")
    parser.add_argument("--suite", action="append", default=[], help="only this suite (unit, system, nginx, browser …)")
    parser.add_argument("--build", default="build-test", help="the build folder")
    arguments = parser.parse_args()

    os.chdir(ROOT)
    if subprocess.run(["tools/build.sh", arguments.build, *OPTIONS]).returncode != 0:
        print("The build failed; no test was run.", file=sys.stderr)
        return 3

    command = ["meson", "test", "-C", arguments.build, "--no-rebuild", "--print-errorlogs",
               "--num-processes", str(max(2, min(4, os.cpu_count() or 2)))]
    # A test's limit is there to end one that hangs, not to time it: a machine that is busy may take four times as long.
    command += ["--suite", "long", "--timeout-multiplier", "0"] if arguments.long else ["--no-suite", "long", "--timeout-multiplier", "4"]
    for suite in arguments.suite:
        command += ["--suite", suite]
    began = time.monotonic()
    status = subprocess.run(command, stdin=subprocess.DEVNULL).returncode
    seconds = time.monotonic() - began

    log = pathlib.Path(arguments.build, "meson-logs", "testlog.json")
    if not log.exists():
        print("No test was run.", file=sys.stderr)
        return 3
    passed, failed, skipped = count(log)
    if status != 0 and not failed:
        failed = ["a test program, see above"]
    print()
    for name in failed:
        print(f"failed: {name}")
    print(f"took {seconds:.0f} s")
    print(f"{passed} passed, {len(failed)} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
