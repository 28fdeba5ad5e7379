"""The measures, one function each: given the setting and a median, it yields rows for the table."""
import json
import shutil
import sqlite3
import time

from breakers import breaker_calls
from gateways import gateway_closed, gateway_failures
from peers import Nginx, Redis

EVENT_SIZE = 256
PROJECTED_COUNT = 200_000


def per_second(results, median):
    return median([result["per_second"] for result in results])


def rate(number):
    return f"{number:,.0f}/s"


def durable_appends(setting, median):
    """One event of 256 bytes each, synced before the answer, beside Redis XADD with appendfsync always."""
    with setting.server("appends") as server, Redis(setting) as redis:
        for clients in (1, 64, 256):
            ours, theirs = setting.turns(
                lambda: setting.load(server.url, "append", clients, "--size", EVENT_SIZE),
                lambda: redis.xadd(clients, EVENT_SIZE, setting.seconds))
            own, peer = per_second(ours, median), per_second(theirs, median)
            yield {"what": f"durable appends over HTTP, {clients} client{'s' if clients > 1 else ''}", "ours": rate(own),
                   "ratio": own / peer, "peer_name": "Redis XADD, always", "peer": rate(peer),
                   "note": f"p99 {median([r['p99_us'] for r in ours]) / 1000:.2f} ms"}


def conditional_appends(setting, median):
    """The same with a fresh append condition on a tag, beside our own unconditional rate."""
    with setting.server("conditions") as server:
        ours, theirs = setting.turns(
            lambda: setting.load(server.url, "append", 64, "--size", EVENT_SIZE, "--condition"),
            lambda: setting.load(server.url, "append", 64, "--size", EVENT_SIZE))
        own, peer = per_second(ours, median), per_second(theirs, median)
        yield {"what": "… each with a fresh condition on a tag, 64 clients", "ours": rate(own), "ratio": own / peer,
               "peer_name": "without a condition", "peer": rate(peer)}


def fill_stream(server, name, count):
    from daybook_test import request
    events = [{"type": "Measured", "tags": [f"of:{name}"], "data": {"number": i, "text": "x" * 200}} for i in range(count)]
    answer = request(server, "POST", f"/v1/streams/{name}", events)
    assert answer.status == 201, answer


def queries(setting, median):
    """Reading ten events of a stream, and ten rows of a view, beside nginx serving the same bytes as a file."""
    from daybook_test import HOTEL, request
    with setting.server("queries", HOTEL) as server:
        fill_stream(server, "ten", 10)
        request(server, "POST", "/v1/commands/AddRooms", {"hotel": "H", "room_type": "D", "rooms": 100})
        for day in range(1, 29):
            answer = request(server, "POST", "/v1/commands/BookRoom",
                             {"reservation": f"R-{day}", "hotel": "H", "room_type": "D", "arrival": f"2027-02-{day:02}",
                              "nights": 3, "guest": "g", "on": "2027-01-01"})
        request(server, "GET", f"/v1/views/availability?min_position={answer.position}")
        paths = {"a stream of ten events": "/v1/streams/ten", "events by tag, ten": "/v1/events?tag=of:ten",
                 "a view, ten rows": "/v1/views/availability?limit=10"}
        files = {str(number): request(server, "GET", path).body for number, path in enumerate(paths.values())}
        with Nginx(setting, files) as nginx:
            for number, (name, path) in enumerate(paths.items()):
                ours, theirs = setting.turns(lambda: setting.load(server.url, path, 64),
                                             lambda: setting.load(nginx.url, f"/{number}", 64))
                own, peer = per_second(ours, median), per_second(theirs, median)
                yield {"what": f"reading {name}, 64 clients", "ours": rate(own), "ratio": own / peer,
                       "peer_name": f"nginx, a file of {len(files[str(number)])} bytes", "peer": rate(peer),
                       "note": f"p99 {median([r['p99_us'] for r in ours]) / 1000:.2f} ms"}


def make_projection_app(folder):
    """An application that is one view with one row a counter: a single-row upsert for each event."""
    views = folder / "projection-app" / "views"
    views.mkdir(parents=True, exist_ok=True)
    (views / "counters.sql").write_text("""-- view: counters
-- version: 1
create table counters (name text primary key, count integer not null) without rowid;
-- on Counted
insert into counters values (:data ->> 'name', 1) on conflict do update set count = count + 1;
""")
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
    app = make_projection_app(setting.folder)
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
    own, peer = median(ours), median(theirs)
    yield {"what": "projection, a single-row upsert for each event", "ours": rate(own), "ratio": own / peer,
           "peer_name": "bare SQLite, from Python", "peer": rate(peer)}


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


def reads_and_writes_together(setting, median):
    """Appends with queries running, and the reverse, beside each alone: p99 and rate."""
    from daybook_test import HOTEL, request
    with setting.server("together", HOTEL) as server:
        request(server, "POST", "/v1/commands/AddRooms", {"hotel": "H", "room_type": "D", "rooms": 10})
        view = "/v1/views/availability?limit=10"

        def beside(what, other, clients, other_clients, *options):
            running = setting.start_load(server.url, other, other_clients, setting.seconds + 2)
            result = setting.load(server.url, what, clients, *options)
            result["beside"] = json.loads(running.communicate()[0])["per_second"]
            return result

        for name, what, other in (("appends, 8 clients, with 8 clients querying", "append", view),
                                  ("queries, 8 clients, with 8 clients appending", view, "append")):
            ours, alone = setting.turns(lambda: beside(what, other, 8, 8), lambda: setting.load(server.url, what, 8))
            own, peer = per_second(ours, median), per_second(alone, median)
            p99, p99_alone = median([r["p99_us"] for r in ours]), median([r["p99_us"] for r in alone])
            yield {"what": name, "ours": rate(own), "ratio": own / peer, "peer_name": "alone", "peer": rate(peer),
                   "note": f"p99 {p99 / 1000:.2f} ms, alone {p99_alone / 1000:.2f} ms: {p99 / p99_alone:.2f} ×; "
                           f"beside it {median([r['beside'] for r in ours]):,.0f}/s"}


MEASURES = [durable_appends, conditional_appends, queries, projection, reads_and_writes_together, gateway_closed,
            gateway_failures, breaker_calls]
