"""Measures of the read side: how fast views catch up, how far behind they are, and whether reading and writing hurt each
other."""
import json
import shutil
import sqlite3
import time

from table import latencies, milliseconds, row

PROJECTED_COUNT = 200_000
LAG_RATE = 10_000
TOGETHER_APPENDS, TOGETHER_QUERIES = 2_000, 10_000

COUNTERS = """-- view: counters
-- version: 1
create table counters (name text primary key, count integer not null) without rowid;
-- on Counted
insert into counters values (:data ->> 'name', 1) on conflict do update set count = count + 1;
-- on Measured
insert into counters values ('c-' || (:position % 5000), 1) on conflict do update set count = count + 1;
"""


def make_app(setting):
    """An application that is one view with one row a counter: a single-row upsert for each event."""
    views = setting.folder / "projection-app" / "views"
    views.mkdir(parents=True, exist_ok=True)
    (views / "counters.sql").write_text(COUNTERS)
    return views.parent


def sqlite_upserts(folder, count):
    """The same statement in a bare loop of SQLite's own, one transaction for a thousand events."""
    path = folder / "bare.db"
    path.unlink(missing_ok=True)
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("pragma journal_mode=wal")
    database.execute("create table counters (name text primary key, count integer not null) without rowid")
    sql = "insert into counters values (:data ->> 'name', 1) on conflict do update set count = count + 1"
    began = time.monotonic()
    for first in range(0, count, 1000):
        database.execute("begin")
        database.executemany(sql, ({"data": '{"name":"c-%d"}' % (number % 5000)} for number in range(first, first + 1000)))
        database.execute("commit")
    took = time.monotonic() - began
    database.close()
    return count / took


def projection(setting, median):
    """How fast a view catches up: 200,000 events, one single-row upsert each, beside the same statements in bare SQLite."""
    from daybook_test import request
    app = make_app(setting)
    with setting.server("projection") as server:
        for first in range(0, PROJECTED_COUNT, 1000):
            events = [{"type": "Counted", "data": {"name": f"c-{number % 5000}"}} for number in range(first, first + 1000)]
            answer = request(server, "POST", "/v1/append", {"events": events}, timeout=60)
            assert answer.status == 201, answer
    ours, theirs = [], []
    for _ in range(setting.rounds):
        theirs.append(sqlite_upserts(setting.folder, PROJECTED_COUNT))
        shutil.rmtree(setting.folder / "projection" / "views", ignore_errors=True)
        ours.append(catch_up(setting, app))
    yield row("projection, a single-row upsert for each event", median(ours), "bare SQLite, from Python", median(theirs),
              limit=200_000, needs="≥ 200,000/s")


def catch_up(setting, app):
    from daybook_test import request
    with setting.server("projection", app) as server:
        began, first = time.monotonic(), None
        while True:
            view = request(server, "GET", "/v1/views").json()["views"][0]
            if first is None:
                began, first = time.monotonic(), view["position"]
            if view["position"] >= PROJECTED_COUNT:
                return (PROJECTED_COUNT - first) / max(time.monotonic() - began, 1e-6)
            time.sleep(0.002)


def probe_lag(server, seconds):
    """Append, then ask the view for at least that position, on one connection: how long the second answer takes."""
    import http.client
    from daybook_test import request
    took, until = [], time.monotonic() + seconds
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    while time.monotonic() < until:
        answer = request(connection, "POST", "/v1/append", {"events": [{"type": "Counted", "data": {"name": "probe"}}]})
        began = time.perf_counter()
        request(connection, "GET", f"/v1/views/counters?limit=1&min_position={answer.position}")
        took.append(time.perf_counter() - began)
    connection.close()
    took.sort()
    return {name: took[int(len(took) * part)] * 1e6
            for name, part in (("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999))}


def projection_lag(setting, median):
    """How far behind its journal a view is at 10,000 appends a second, as a reader sees it who waits for its own write."""
    results = []
    with setting.server("lag", make_app(setting)) as server:
        for _ in range(setting.rounds):
            running = setting.start_load(server.url, "append", 64, setting.seconds, "--rate", LAG_RATE)
            time.sleep(1)
            results.append(probe_lag(server, max(1, setting.seconds - 1)))
            results[-1]["beside"] = json.loads(running.communicate()[0])["per_second"]
    figures = latencies(median, results)
    yield row(f"projection lag p99 at {LAG_RATE:,} appends/s", figures["p99_ms"], limit=10, below=True, needs="< 10 ms",
              unit=milliseconds, ours_ms=figures,
              note=f"with its HTTP request; appended beside it {median([r['beside'] for r in results]):,.0f}/s")


def reads_and_writes_together(setting, median):
    """p99 of appends with 10,000 queries a second running beside p99 without, and the reverse. All on a timetable: neither
    is slowed by asking less when the other is there, and both leave the machine idle time."""
    from daybook_test import HOTEL
    from measures import fill_hotel
    with setting.server("together", HOTEL) as server:
        fill_hotel(server)
        append = ("append", TOGETHER_APPENDS)
        query = ("/v1/views/availability?limit=10", TOGETHER_QUERIES)
        for name, (what, rate), (other, other_rate) in (
                (f"append p99 with {TOGETHER_QUERIES:,} queries/s running", append, query),
                (f"query p99 with {TOGETHER_APPENDS:,} appends/s running", query, append)):
            def alone():
                return setting.load(server.url, what, 32, "--rate", rate)

            def beside():
                running = setting.start_load(server.url, other, 32, setting.seconds + 1, "--rate", other_rate)
                result = alone()
                result["beside"] = json.loads(running.communicate()[0])["per_second"]
                return result

            with_other, without = setting.turns(beside, alone)
            ours, peer = latencies(median, with_other), latencies(median, without)
            yield row(name, ours["p99_ms"], "without", peer["p99_ms"], target=1.2, below=True, unit=milliseconds,
                      ours_ms=ours, peer_ms=peer,
                      note=f"{rate:,}/s asked for; beside it {median([r['beside'] for r in with_other]):,.0f}/s")
