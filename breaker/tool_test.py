#!/usr/bin/env python3
"""The breaker tool as its users meet it. Speaks TAP. Usage: tool_test.py PATH_OF_TOOL"""
import json
import pathlib
import subprocess
import sys
import tempfile
import traceback

TOOL = sys.argv[1]
folder = tempfile.TemporaryDirectory()
region = str(pathlib.Path(folder.name, "region"))


def tool(*words, status=0):
    done = subprocess.run([TOOL, *words], capture_output=True, text=True, timeout=20)
    assert done.returncode == status, f"{words}: exit {done.returncode}, {done.stdout}{done.stderr}"
    return done.stdout if status == 0 else done.stderr


def breakers():
    return {one["name"]: one for one in json.loads(tool(region, "--json"))["breakers"]}


def help_names_every_command():
    text = tool("--help")
    for word in "list show events open close shadow auto reset set sweep make --json --openmetrics --prometheus".split():
        assert word in text, word


def what_cannot_be_printed_is_no_success():
    tool(region, "make", "breakers=8 shards=4")
    for words in ([region], [region, "--json"], [region, "--openmetrics"], ["--help"], ["--version"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([TOOL, *words], stdout=full, stderr=subprocess.PIPE, timeout=20)
        assert done.returncode == 1 and b"the output is lost" in done.stderr, (words, done)
    pathlib.Path(region).unlink()


def a_region_is_made_once_and_never_over_another():
    tool(region, "make", "breakers=8 shards=4")
    assert "File exists" in tool(region, "make", status=1)
    assert breakers() == {}


def a_breaker_is_made_and_configured_by_text():
    tool(region, "set", "payments", "open=7s open_max=70s consecutive=3")
    tool(region, "set", "payments", "min_calls=33")
    shown = breakers()["payments"]
    assert shown["failure_rate"] == 0 and shown["retry_after_ms"] == 0 and shown["state"] == "closed", shown
    config = shown["config"].split()
    assert "open=7s" in config and "min_calls=33" in config and "consecutive=3" in config, config


def a_wrong_value_is_told_with_its_range():
    assert "probes=999: out of range (1 to 128)" in tool(region, "set", "payments", "probes=999", status=1)
    assert "slices=50: the region was made for fewer" in tool(region, "set", "payments", "slices=50", status=1)


def orders_change_the_state_and_leave_events():
    for command, state in (("open", "forced_open"), ("close", "forced_closed"), ("shadow", "shadow"), ("auto", "closed"),
                           ("open", "forced_open"), ("reset", "closed")):
        assert tool(region, command, "payments") == f"payments is {state}\n"
        assert breakers()["payments"]["state"] == state
    events = [(event["from"], event["to"], event["reason"]) for event in breakers()["payments"]["events"]]
    assert events[0] == ("closed", "forced_open", "forced") and events[-1] == ("forced_open", "closed", "reset"), events
    assert "forced_open -> closed  reset" in tool(region, "events", "payments")


def a_list_is_for_people_and_openmetrics_for_machines():
    lines = tool(region).splitlines()
    assert lines[0].split()[:2] == ["NAME", "STATE"] and lines[1].split()[:2] == ["payments", "closed"], lines
    text = tool(region, "--openmetrics")
    assert text.endswith("# EOF\n")
    assert 'breaker_state{breaker="payments",breaker_state="closed"} 1' in text
    assert 'breaker_opened_total{breaker="payments",reason="failure_rate"} 0' in text
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    assert "min_calls=33" in tool(region, "show", "payments")
    assert "latency  0 calls\n" in tool(region, "show", "payments")
    text = tool(region, "--prometheus")
    assert "# TYPE breaker_calls_total counter\n" in text and "EOF" not in text, text


def the_stream_has_the_fields_a_hystrix_dashboard_reads():
    tool(region, "open", "payments")
    lines = [line for line in tool(region, "--stream").split("\n\n") if line]
    event = json.loads(lines[0].removeprefix("data: "))
    tool(region, "reset", "payments")
    assert event["type"] == "HystrixCommand" and event["name"] == "payments" and event["isCircuitBreakerOpen"] is True
    for field in ("currentTime", "errorPercentage", "errorCount", "requestCount", "rollingCountSuccess", "rollingCountFailure",
                  "currentConcurrentExecutionCount", "propertyValue_circuitBreakerRequestVolumeThreshold",
                  "propertyValue_circuitBreakerSleepWindowInMilliseconds", "reportingHosts"):
        assert isinstance(event[field], int), field
    for field in ("latencyExecute", "latencyTotal"):
        assert isinstance(event[field + "_mean"], int) and all(isinstance(value, int) for value in event[field].values())
    assert set(event["latencyTotal"]) == {"0", "25", "50", "75", "90", "95", "99", "99.5", "100"}
    assert event["propertyValue_circuitBreakerForceOpen"] is True


def what_is_not_there_is_said():
    assert "no breaker of that name" in tool(region, "open", "orders", status=1)
    assert "No such file" in tool(region + ".none", status=1)
    assert "which breaker?" in tool(region, "open", status=2)
    assert "no such command" in tool(region, "explode", status=2)
    assert "no such option" in tool(region, "--colour", status=2)
    assert "which FILE?" in tool(status=2)


def rubbish_is_told_from_a_region():
    for name, content, reason in (("empty", b"", "no region was made"), ("zero", bytes(4096), "no region was made"),
                                  ("text", b"hello " * 900, "no region of breakers"), ("short", None, "shorter")):
        path = pathlib.Path(folder.name, name)
        path.write_bytes(pathlib.Path(region).read_bytes()[:5000] if content is None else content)
        assert reason in tool(str(path), status=1), name


def the_dead_are_swept():
    assert tool(region, "sweep") == "0 freed\n"


TESTS = [value for name, value in list(globals().items()) if callable(value) and getattr(value, "__module__", "") == "__main__"
         and name not in ("tool", "breakers")]
print(f"1..{len(TESTS)}")
failed = 0
for number, test in enumerate(TESTS, 1):
    try:
        test()
        print(f"ok {number} - {test.__name__}")
    except Exception:  # every failure is told, and the next test still runs
        failed += 1
        print(f"not ok {number} - {test.__name__}")
        print("".join(f"# {line}\n" for line in traceback.format_exc().splitlines()), end="")
sys.exit(1 if failed else 0)
