"""Measures that need many events: opening after kill -9, memory, and rates against the number of events."""
import os
import re
import time

from disk import free_bytes
from table import latencies, milliseconds, row

OPENED_COUNT = 10_000_000
SUBSCRIBER_COUNT = 1000
GROWTH_COUNTS = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
EVENT_BYTES_ON_DISK = 420  # of 256 bytes of data, with head, tag and index
MEBIBYTE = 1 << 20


def mebibytes(number):
    return f"{number / MEBIBYTE:,.1f} MiB"


def resident(process):
    """VmRSS in bytes."""
    with open(f"/proc/{process.process.pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1)) * 1024


def head(server):
    from daybook_test import request
    return request(server, "GET", "/v1/events?limit=1").json()["head"]


def fill(setting, server, count):
    """Appends of a thousand events each until the journal has `count`."""
    while (missing_count := count - head(server)) > 0:
        setting.load(server.url, "append", 4 if missing_count > 20_000 else 1, "--events", 1000,
                     seconds=max(1, min(60, missing_count // 500_000)), warmup=0)


def can_hold(setting, count):
    """There is room for so many events, and DAYBOOK_BENCH_EVENTS, if set, allows them."""
    allowed = int(os.environ.get("DAYBOOK_BENCH_EVENTS", GROWTH_COUNTS[-1]))
    return count <= allowed and free_bytes(setting.folder) > 1.5 * count * EVENT_BYTES_ON_DISK


def opening(setting, median):
    """From the start of the process to the line that says it serves, after kill -9 in the middle of appends."""
    count = next(count for count in (OPENED_COUNT, 1_000_000, 100_000, 0) if can_hold(setting, count))
    took = []
    server = setting.server("opening")
    with server:
        fill(setting, server, count)
        held = resident(server)
        for _ in range(setting.rounds):
            running = setting.start_load(server.url, "append", 16, 30)
            time.sleep(1.5)
            server.kill()
            running.communicate()
            began = time.perf_counter()
            server.start()
            took.append(time.perf_counter() - began)
        opened = resident(server)
    yield row(f"opening after kill -9 at {count:,} events", median(took) * 1000, limit=1000, below=True, needs="< 1 s",
              unit=milliseconds, note=f"resident {mebibytes(opened)} when opened, {mebibytes(held)} when filled")


def memory(setting, median):
    """Resident memory of an idle server, and what an open subscriber adds."""
    from daybook_test import Subscription
    with setting.server("memory") as server:
        setting.load(server.url, "append", 64, seconds=1)
        idle = resident(server)
        yield row("resident memory, idle", idle, limit=64 * MEBIBYTE, below=True, needs="< 64 MiB", unit=mebibytes)
        before = resident(server)
        subscribers = [Subscription(server, f"/v1/events?after={head(server)}") for _ in range(SUBSCRIBER_COUNT)]
        each = max(0, resident(server) - before) / SUBSCRIBER_COUNT
        for subscriber in subscribers:
            subscriber.close()
        yield row(f"resident memory for each of {SUBSCRIBER_COUNT:,} subscribers", each, limit=16384, below=True,
                  needs="≤ 16 KiB", unit=lambda number: f"{number / 1024:,.1f} KiB")


def condition_growth(setting, median):
    """Appends with a fresh condition on a tag, beside appends without, against the number of events there are already."""
    with setting.server("growth") as server:
        for count in GROWTH_COUNTS:
            if not can_hold(setting, count):
                break
            fill(setting, server, count)
            ours, theirs = setting.turns(lambda: setting.load(server.url, "append", 64, "--condition"),
                                         lambda: setting.load(server.url, "append", 64))
            own, peer = (median([result["per_second"] for result in results]) for results in (ours, theirs))
            yield row(f"appends with a fresh condition at {count:,} events, 64 clients", own, "without a condition", peer,
                      target=0.9, ours_ms=latencies(median, ours), peer_ms=latencies(median, theirs),
                      note=f"resident {mebibytes(resident(server))}")
