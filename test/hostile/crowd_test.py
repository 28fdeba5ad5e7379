"""A crowd that sends slowly, does not read, or stops halfway, all at once: each is answered or refused politely, memory stays
within what the server was given, and who comes new is answered."""
import os
import pathlib
import resource
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "system"))
import daybook_test
from daybook_test import ROOT, Server, Tap, request, wait_for
from crowd import Crowd

tap = Tap()
LONG = "long" in os.environ.get("DAYBOOK_SUITES", "")
SCALE = 1 if LONG else 0.04
REFUSED = {503, 429}
# What may have come of each: an answer, a refusal, or nothing yet. Only who asked nothing is let go without a word; who was
# being refused while it went on sending may find the connection reset.
POLITE = {
    "idle": {"open", "closed", 200} | REFUSED,
    "slow": {"open", 200, 408} | REFUSED,
    "feed": {"open", 200} | REFUSED,
    "page": {"open", 200} | REFUSED,
    "body": {"open", 408, 413, "reset"} | REFUSED,
}


def figures(server):
    text = request(server, "GET", "/metrics", timeout=30).body.decode()
    return {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if line.startswith("daybook_")}


def memory_peak(server):
    for line in pathlib.Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmHWM")


def has_sanitizer(server):
    return "libasan" in pathlib.Path(f"/proc/{server.process.pid}/maps").read_text()


def fill(server):
    for _ in range(30):
        events = [{"stream": "large", "type": "A", "data": "x" * 40000} for _ in range(20)]
        assert request(server, "POST", "/v1/append", {"events": events}).status == 201


def newcomers(server, count):
    """Each asks once on a connection of its own; how long the slowest took, in ms."""
    slowest = 0
    for n in range(count):
        for method, path, body, status in (("GET", "/health", None, 200), ("GET", "/v1/events?type=Small", None, 200),
                                           ("POST", "/v1/append", {"events": [{"type": "Small", "data": n}]}, 201)):
            began = time.monotonic()
            answer = request(server, method, path, body)
            slowest = max(slowest, time.monotonic() - began)
            assert answer.status == status or answer.status in REFUSED and answer.headers["Retry-After"], answer
            # what is small finds room whatever large things hold
            assert path == "/v1/events?type=Small" or answer.status == status, answer
    return slowest * 1000


def everything_at_once(server, scale):
    fill(server)
    with Crowd(server.port) as crowd:
        crowd.idle(int(10000 * scale))
        crowd.slow(int(2000 * scale))
        crowd.feeds(int(1000 * scale))
        crowd.pages(int(300 * scale) + 20)
        crowd.bodies(int(300 * scale) + 10, size=2 << 20 if server.options[1] == "64M" else 8 << 20)
        slowest, now = 0, {}
        for _ in range(10 if LONG else 3):
            crowd.turn()
            slowest = max(slowest, newcomers(server, 3))
            now = figures(server)
            memory = now["daybook_memory_bytes"]
            assert now["daybook_http_bodies_bytes"] <= memory / 12, now
            # beyond the limit at most what is answered to anybody: these very figures
            assert now["daybook_http_answers_bytes"] <= memory / 16 + (1 << 18), now["daybook_http_answers_bytes"]
        for kind, counts in crowd.outcomes().items():
            print(f"# {kind}: {dict(counts)}")
            assert set(counts) <= POLITE[kind], (kind, counts)
        print(f"# the slowest newcomer took {slowest:.0f} ms; the process {memory_peak(server) >> 20} MiB at most")
    wait_for(lambda: figures(server)["daybook_http_answers_bytes"] == 0, "what was held for the crowd is given back", 60)
    assert server.is_running()


def with_memory(size):
    with Server(options=["--memory", size]) as server:
        everything_at_once(server, SCALE)
        peak, sanitized = memory_peak(server), has_sanitizer(server)
    assert sanitized or peak < int(size[:-1]) << 20, f"{peak >> 20} MiB of {size}"


@tap.test
def a_crowd_that_does_not_read_send_or_go_is_served_within_64_mib():
    with_memory("64M")


if LONG:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if (ROOT / "build" / "daybook").exists():  # memory is only measured without sanitizers
        daybook_test.DAYBOOK = ROOT / "build" / "daybook"

    @tap.test
    def a_crowd_that_does_not_read_send_or_go_is_served_within_128_mib():
        with_memory("128M")

    @tap.test
    def a_crowd_that_does_not_read_send_or_go_is_served_within_256_mib():
        with_memory("256M")


@tap.test
def feeds_that_nobody_reads_hold_no_more_than_all_answers_may_however_large_the_events():
    with Server(options=["--memory", "64M"]) as server:
        for _ in range(12):
            assert request(server, "POST", "/v1/append", {"events": [{"type": "A", "data": "x" * 700000}]}).status == 201
        with Crowd(server.port) as crowd:
            crowd.feeds(100)
            wait_for(lambda: crowd.turn() or sum(sum(one.values()) for one in crowd.outcomes().values()) == 100 and
                     "open" not in crowd.outcomes()["feed"], "each is answered", 30)
            for _ in range(5):
                held = figures(server)["daybook_http_answers_bytes"]
                assert held <= (64 << 20) / 16 + (1 << 18), held
                newcomers(server, 1)
        wait_for(lambda: figures(server)["daybook_http_answers_bytes"] == 0, "what was held for them is given back", 60)


tap.main()
