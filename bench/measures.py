"""The measures in the order they are printed, and the ones of appending and reading over HTTP. Each is a function: given the
setting and a median, it yields rows."""
from breakers import breaker_calls
from databases import Postgres, sqlite_inserts
from disk import fio
from embedded import embedded_appends, embedded_growth, embedded_opening
from gateways import gateway_closed, gateway_failures
from large import condition_growth, memory, opening
from peers import Nginx, Redis
from subscribers import fan_out, subscriber_memory
from projections import projection, projection_lag, reads_and_writes_together
from table import latencies, row

EVENT_SIZE = 256
CLIENTS = 64


def per_second(results, median):
    return median([result["per_second"] for result in results])


def compare(median, what, ours, peer_name, theirs, **more):
    return row(what, per_second(ours, median), peer_name, per_second(theirs, median), ours_ms=latencies(median, ours),
               peer_ms=latencies(median, theirs), **more)


def durable_appends(setting, median):
    """One event of 256 bytes each, synced before the answer, beside Redis, PostgreSQL and SQLite doing the same."""
    with setting.server("appends") as server, Redis(setting) as redis:
        for clients, target in ((CLIENTS, 1.5), (1, None), (256, None)):
            ours, theirs = setting.turns(
                lambda: setting.load(server.url, "append", clients, "--size", EVENT_SIZE),
                lambda: redis.xadd(clients, EVENT_SIZE, setting.seconds))
            yield compare(median, f"durable appends over HTTP, {clients} client{'s' if clients > 1 else ''}", ours,
                          "Redis XADD, always", theirs, target=target)
    with setting.server("appends-sql") as server:
        with Postgres(setting) as postgres:
            ours, theirs = setting.turns(
                lambda: setting.load(server.url, "append", CLIENTS, "--size", EVENT_SIZE),
                lambda: postgres.append(CLIENTS, EVENT_SIZE, setting.seconds))
        yield compare(median, f"durable appends over HTTP, {CLIENTS} clients", ours,
                      "PostgreSQL, message-db's append", theirs, target=20)
        ours, theirs = setting.turns(
            lambda: setting.load(server.url, "append", CLIENTS, "--size", EVENT_SIZE),
            lambda: sqlite_inserts(setting.folder, EVENT_SIZE, setting.seconds))
        yield compare(median, f"durable appends over HTTP, {CLIENTS} clients", ours,
                      "SQLite WAL, FULL, one thread", theirs)
        ours, theirs = setting.turns(
            lambda: setting.load(server.url, "append", 1, "--size", EVENT_SIZE),
            lambda: fio(setting.folder, setting.seconds, 4096))
        yield compare(median, "durable appends over HTTP, 1 client", ours, "the disk: fio, 4 KiB write + fdatasync", theirs)


def conditional_appends(setting, median):
    """The same with a fresh append condition on a tag, beside our own unconditional rate."""
    with setting.server("conditions") as server:
        ours, theirs = setting.turns(
            lambda: setting.load(server.url, "append", CLIENTS, "--size", EVENT_SIZE, "--condition"),
            lambda: setting.load(server.url, "append", CLIENTS, "--size", EVENT_SIZE))
    yield compare(median, f"… each with a fresh condition on a tag, {CLIENTS} clients", ours, "without a condition", theirs,
                  target=0.9)


def fill_stream(server, name, count):
    from daybook_test import request
    events = [{"type": "Measured", "tags": [f"of:{name}"], "data": {"number": i, "text": "x" * 200}} for i in range(count)]
    answer = request(server, "POST", f"/v1/streams/{name}", events)
    assert answer.status == 201, answer


def fill_hotel(server):
    from daybook_test import request
    request(server, "POST", "/v1/commands/AddRooms", {"hotel": "H", "room_type": "D", "rooms": 100})
    for day in range(1, 29):
        answer = request(server, "POST", "/v1/commands/BookRoom",
                         {"reservation": f"R-{day}", "hotel": "H", "room_type": "D", "arrival": f"2027-02-{day:02}",
                          "nights": 3, "guest": "g", "on": "2027-01-01"})
    request(server, "GET", f"/v1/views/availability?min_position={answer.position}")


def queries(setting, median):
    """Ten events of a stream and of a tag, and ten rows of a view, beside nginx serving the same bytes as a file."""
    from daybook_test import HOTEL, request
    with setting.server("queries", HOTEL) as server:
        fill_stream(server, "ten", 10)
        fill_hotel(server)
        paths = {"a stream of ten events by name": ("/v1/streams/ten", 0.8),
                 "ten events by tag": ("/v1/events?tag=of:ten", 0.8),
                 "a view, ten rows": ("/v1/views/availability?limit=10", None)}
        files = {str(number): request(server, "GET", path).body for number, (path, _) in enumerate(paths.values())}
        with Nginx(setting, files) as nginx:
            for number, (name, (path, target)) in enumerate(paths.items()):
                ours, theirs = setting.turns(lambda: setting.load(server.url, path, CLIENTS),
                                             lambda: setting.load(nginx.url, f"/{number}", CLIENTS))
                yield compare(median, f"reading {name}, {CLIENTS} clients", ours,
                              f"nginx, a file of {len(files[str(number)])} bytes", theirs, target=target)


# The order is that of the design's table of speeds, then what is not in it. The thousand subscribers come before together.
MEASURES = [embedded_appends, embedded_opening, durable_appends, conditional_appends, queries, opening, memory, projection,
            projection_lag, reads_and_writes_together, gateway_closed, gateway_failures, breaker_calls, fan_out, subscriber_memory]
LONG_MEASURES = [embedded_growth, condition_growth]
