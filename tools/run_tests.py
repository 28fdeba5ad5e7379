#!/usr/bin/env python3
"""Build with sanitizers and warnings as errors, run every suite, end with `N passed, N failed`.

    tools/run_tests.py [--long] [--suite NAME …] [--build FOLDER]

Each test program speaks TAP; what is counted are its lines, not the programs. A program that dies, says nothing or
plans more tests than it ran counts as one failure. Exit: 0 all passed, 1 something failed, 3 it could not be built.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import time
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parent.parent
OPTIONS = ["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Dwerror=true", "-Dtests=enabled",
           "-Dbuildtype=debugoptimized"]


def count(junit):
    """Passed, failed and skipped over all suites of meson's JUnit file, and the names of what failed."""
    passed = failed = skipped = 0
    names = []
    for suite in xml.parse(junit).getroot().iter("testsuite"):
        cases = suite.findall("testcase")
        bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
        skip = [case for case in cases if case.find("skipped") is not None]
        failed += len(bad)
        skipped += len(skip)
        passed += len(cases) - len(bad) - len(skip)
        names += [f"{suite.get('name')}: {case.get('name')}" for case in bad]
        if int(suite.get("errors", 0)) + int(suite.get("failures", 0)) > 0 and not bad:
            failed += 1
            names.append(f"{suite.get('name')}: the program itself")
    return passed, failed, skipped, names


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
    command += ["--suite", "long", "--timeout-multiplier", "0"] if arguments.long else ["--no-suite", "long"]
    for suite in arguments.suite:
        command += ["--suite", suite]
    began = time.monotonic()
    status = subprocess.run(command, stdin=subprocess.DEVNULL).returncode
    seconds = time.monotonic() - began

    junit = pathlib.Path(arguments.build, "meson-logs", "testlog.junit.xml")
    if not junit.exists():
        print("No test was run.", file=sys.stderr)
        return 3
    passed, failed, skipped, names = count(junit)
    if status != 0 and failed == 0:
        failed, names = 1, ["a test program, see above"]
    print()
    for name in names:
        print(f"failed: {name}")
    print(f"took {seconds:.0f} s")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
