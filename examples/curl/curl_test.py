#!/usr/bin/env python3
"""curl_breaker against a real HTTP server on loopback. Speaks TAP. Usage: curl_test.py CURL_BREAKER BREAKER_TOOL"""
import http.server
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import traceback

PROGRAM, TOOL = (str(pathlib.Path(word).resolve()) for word in sys.argv[1:3])
folder = tempfile.TemporaryDirectory()
FALLBACK = pathlib.Path(folder.name, "stale.json")
FALLBACK.write_text('{"stale":true}')


class Service(http.server.ThreadingHTTPServer):
    """Answers as its test says: a status, headers, or a hang."""
    daemon_threads = True

    def __init__(self):
        self.status, self.headers, self.hang, self.requests = 200, {}, threading.Event(), 0
        self.hang.set()
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, request, client_address):
        pass  # a client that gave up is what some tests are about


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests += 1
        self.server.hang.wait(10)
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *arguments):
        pass


def start(service, *options):
    return subprocess.Popen([PROGRAM, *options, service.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            cwd=folder.name)


def run(service, *options, status=None):
    process = start(service, *options)
    out, error = process.communicate(timeout=60)
    assert status is None or process.returncode == status, f"exit {process.returncode}: {out}{error}"
    return [dict(re.findall(r"(\w+)=(\S+)", line), what=line.split()[1]) for line in out.splitlines()]


def a_service_that_works_is_left_alone():
    lines = run(Service(), "--count", "20", status=0)
    assert all(line["what"] == "ok" and line["status"] == "200" and line["bytes"] == "5" for line in lines), lines


def a_failing_service_is_left_alone_and_the_fallback_serves():
    service = Service()
    service.status = 503
    lines = run(service, "--count", "20", "--attempts", "1", "--rules", "consecutive=3 open=60s", "--fallback", str(FALLBACK),
                status=0)
    assert all(line["what"] == "fallback" for line in lines), lines
    assert service.requests == 3, service.requests
    assert lines[3]["why"] == "open" and 40 <= int(lines[3]["retry_after"]) <= 70, lines[3]


def without_a_fallback_the_refusal_is_told():
    service = Service()
    service.status = 500
    lines = run(service, "--count", "5", "--attempts", "1", "--rules", "consecutive=2", status=1)
    assert [line["what"] for line in lines] == ["failed"] * 5 and lines[4]["why"] == "open", lines


def a_dead_port_trips_like_a_failing_service():
    service = Service()
    service.shutdown()
    service.server_close()
    lines = run(service, "--count", "4", "--attempts", "1", "--rules", "consecutive=2")
    assert lines[-1]["why"] == "open" and lines[-1]["attempts"] == "0", lines


def a_hanging_service_times_out_and_trips():
    service = Service()
    service.hang.clear()
    began = time.monotonic()
    lines = run(service, "--count", "6", "--attempts", "1", "--timeout", "200", "--rules", "consecutive=2")
    service.hang.set()
    assert lines[-1]["why"] == "open" and service.requests == 2, (lines, service.requests)
    assert time.monotonic() - began < 5


def an_upstreams_retry_after_is_the_open_time():
    service = Service()
    service.status, service.headers = 503, {"Retry-After": "90"}
    lines = run(service, "--count", "3", "--attempts", "1", "--rules", "consecutive=2 open=1s retry_after_max=5m")
    assert 85 <= int(lines[-1]["retry_after"]) <= 110, lines


def too_many_requests_is_no_failure():
    service = Service()
    service.status = 429
    lines = run(service, "--count", "10", "--rules", "consecutive=2", status=0)
    assert all(line["what"] == "ok" and line["state"] == "closed" for line in lines), lines


def failures_are_retried_out_of_a_budget():
    service = Service()
    service.status = 500
    run(service, "--count", "60", "--attempts", "4", "--rules", "consecutive=off failure_rate=off")
    assert 60 + 10 <= service.requests <= 60 + 60 * 20 // 100 + 10 + 15, service.requests  # a fifth more, and the reserve


def it_comes_back_when_the_service_does():
    service = Service()
    service.status = 500
    process = start(service, "--count", "400", "--interval", "10", "--attempts", "1", "--rules",
                    "consecutive=2 open=100ms open_max=100ms ramp=300ms min_calls=5")
    seen = []
    for line in process.stdout:
        seen.append(re.search(r"state=(\w+)", line).group(1))
        if seen[-1] == "open" and service.status == 500:
            service.status = 200
        if seen[-1] == "closed" and "ramp" in seen:
            break
    process.terminate()
    process.communicate()
    order = [state for number, state in enumerate(seen) if number == 0 or seen[number - 1] != state]
    assert order[-1] == "closed" and "ramp" in order and "open" in order, order


def two_processes_share_what_they_learn():
    service = Service()
    service.status = 500
    rules = ("--region", "shared.region", "--attempts", "1", "--rules", "consecutive=4 open=60s")
    run(service, "--count", "2", *rules)
    run(service, "--count", "2", *rules)
    assert run(service, *rules)[0]["why"] == "open"
    assert service.requests == 4
    shown = json.loads(subprocess.run([TOOL, str(pathlib.Path(folder.name, "shared.region")), "--json"], capture_output=True,
                                      text=True, timeout=20, check=True).stdout)
    assert shown["breakers"][0]["state"] == "open" and shown["breakers"][0]["events"][0]["consecutive"] == 4, shown


def a_region_of_rubbish_is_told_and_requests_pass():
    pathlib.Path(folder.name, "rubbish").write_bytes(b"this is no region" * 10000)
    process = start(Service(), "--region", "rubbish")
    out, error = process.communicate(timeout=20)
    assert process.returncode == 0 and "1 ok status=200" in out and "no region of breakers" in error, (out, error)


def wrong_rules_are_told_with_field_value_and_range():
    process = start(Service(), "--rules", "probes=129")
    assert "probes=129: out of range (1 to 128)" in process.communicate(timeout=20)[1]


TESTS = [value for name, value in list(globals().items())
         if callable(value) and getattr(value, "__module__", "") == "__main__" and name not in ("Service", "Handler", "start", "run")]
print(f"1..{len(TESTS)}")
failed = 0
for number, test in enumerate(TESTS, 1):
    try:
        test()
        print(f"ok {number} - {test.__name__}", flush=True)
    except Exception:  # every failure is told, and the next test still runs
        failed += 1
        print(f"not ok {number} - {test.__name__}")
        print("".join(f"# {line}\n" for line in traceback.format_exc().splitlines()), end="", flush=True)
sys.exit(1 if failed else 0)
