#!/usr/bin/env python3
"""The runner of the tests is tested: what it counts, and that a suite which cannot start does not pass for one that ran."""
import json
import os
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "test/system")]
os.chdir(ROOT)
import run_tests  # noqa: E402
from daybook_test import Tap  # noqa: E402

tap = Tap()


def counted(*tests, expected=()):
    with tempfile.NamedTemporaryFile("w+", suffix=".json") as log:
        log.writelines(json.dumps(test) + "\n" for test in tests)
        log.flush()
        return run_tests.count(log.name, expected)


@tap.test
def what_is_counted_are_the_lines_of_a_program():
    assert counted({"name": "daybook:unit / a", "stdout": "1..3\nok 1 - x\nnot ok 2 - y\nok 3 - z # SKIP no\n", "result": "FAIL"}) \
        == (1, ["daybook:unit / a: y"], 1)


@tap.test
def a_program_that_dies_after_its_last_line_has_failed():
    assert counted({"name": "a", "stdout": "1..1\nok 1 - x\n", "result": "FAIL"})[1] == ["a: the program itself (FAIL)"]
    assert counted({"name": "a", "result": "FAIL"})[1] == ["a"]


@tap.test
def a_program_that_the_time_did_not_suffice_for_has_failed():
    one = {"name": "daybook:long / a", "stdout": "ok 1 - x\n", "result": "OK"}
    assert counted(one, expected=["a"]) == (1, [], 0)
    assert counted(one, expected=["a", "b, many"])[1] == ["b, many: did not end within the time"]


@tap.test
def a_suite_that_cannot_start_is_said_to_be_that_before_anything_runs():
    def said(cmd=("/bin/true",), **env):
        return run_tests.cannot_start([{"name": "a", "cmd": list(cmd), "env": env}])

    assert said() == []
    assert "cannot be run" in said(["/nonexistent/a_test"])[0]
    assert "is not there" in said(["/bin/true", "/nonexistent/a_test.py"])[0]
    # The module of the gateway without what it needs beside it: nginx does not start, and says why.
    assert "cannot start" in said(BREAKER_MODULE="/nonexistent/module.so", BREAKER_TEST_WAIT_S="5")[0]
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder, "daybook")
        program.write_text("#!/bin/sh\necho 'a library is missing' >&2\nexit 127\n")
        program.chmod(0o755)
        assert "a library is missing" in said(DAYBOOK_BUILD=folder)[0]
        program.write_text("#!/bin/sh\nexit 0\n")
        assert said(DAYBOOK_BUILD=folder) == []


tap.main()
