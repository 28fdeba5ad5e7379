"""What tests of damage share: a data folder with something of everything in it, every kind of read there is, and bits to flip.

    folder_of_everything(data)   fills it, and leaves it closed in good order
    Whole(data)                  a server of it
    reads(server)                {what is asked: ask()}, answered the same for the same journal
    flip(path, offset, bit)
"""
import http.client
import json
import pathlib
import time
import urllib.parse

from daybook_test import HOTEL, Server, request, wait_for

STREAMS, ROUNDS = 5, 8
UNIT = 32768            # positions in a file of the index: src/journal/index.h
FIRST_MANY = 16 << 20   # of a segment: more than is ever written here


def flip(path, offset, bit=0):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def append(server, *events):
    answer = request(server, "POST", "/v1/append", {"events": list(events)})
    assert answer.status == 201, answer
    return answer.json()


def command(server, name, **fields):
    return request(server, "POST", f"/v1/commands/{name}", fields)


def fill(server, bulk=0):
    """Streams, tags, an application's events, a group with its records, data about a subject; `bulk` more events for the
    index to write files about."""
    for first in range(0, bulk, 1000):
        append(server, *({"type": "Bulk", "stream": f"bulk-{n % 700}", "tags": [f"b:{n % 97}"], "data": {"n": n}}
                         for n in range(first, first + 1000)))
    for n in range(ROUNDS):
        append(server, *({"type": f"T{n % 3}", "stream": f"s-{s}", "tags": [f"t:{s}", "all"], "data": {"n": n, "text": "x" * 40}}
                         for s in range(STREAMS)))
    for s in range(3):
        append(server, {"type": "Named", "stream": f"person-{s}", "subject": f"guest:{s}", "data": {"name": f"N {s}"}})
    assert command(server, "AddRooms", hotel="H", room_type="A", rooms=50).status in (200, 201)
    for n in range(12):
        answer = command(server, "BookRoom", reservation=f"R-{n}", hotel="H", room_type="A", arrival="2027-07-01", nights=1 + n % 4,
                         guest=f"G{n}", on="2027-03-01")
        assert answer.status in (200, 201), answer
    assert request(server, "POST", "/v1/groups/g", {"types": ["T1"]}).status in (200, 201)
    batch = request(server, "POST", "/v1/groups/g/fetch", {"consumer": "c", "count": 5}).json()["events"]
    assert request(server, "POST", "/v1/groups/g/ack", {"tokens": [one["token"] for one in batch]}).status == 200
    append(server, {"type": "Last", "stream": "last", "tags": ["all"], "data": {}})


class Whole(Server):
    """A server of such a folder. `first`: the position below which only `bulk` lies."""

    def __init__(self, data, bulk=0, **more):
        super().__init__(app=HOTEL, data=data, **more)
        self.first = bulk


def folder_of_everything(data, bulk=0):
    with Whole(data, bulk) as server:
        fill(server, bulk)
        if bulk > UNIT:
            wait_for(lambda: list(server.data.glob("index/*.run")), "the first file of the index", 60)
        server.stop(60)


def copy_folder(source, target):
    """Segments are mostly room that nothing stands in yet: it is not copied."""
    for path in pathlib.Path(source).rglob("*"):
        there = pathlib.Path(target, path.relative_to(source))
        if path.is_dir():
            there.mkdir(parents=True, exist_ok=True)
            continue
        there.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "rb") as old, open(there, "wb") as new:
            new.write(old.read(used(path)))
            new.truncate(path.stat().st_size)


def used(path):
    """Bytes of a file up to the last in which something stands; behind them a segment has only room."""
    with open(path, "rb") as file:
        content = file.read(FIRST_MANY)
    return len(content.rstrip(b"\0")) if path.suffix == ".seg" else path.stat().st_size


def feed(server, path, last=None):
    """The frames of a subscription up to caught-up, or to its end."""
    connection, until = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20), time.monotonic() + 30
    try:
        connection.request("GET", path, headers={"Accept": "text/event-stream"})
        answer = connection.getresponse()
        text = b""
        if answer.status == 200:
            try:
                while b"event: daybook.caught-up" not in text and b"event: daybook.error" not in text and time.monotonic() < until:
                    piece = answer.read1(65536)
                    if not piece:
                        return "cut", text
                    text += piece
            except http.client.HTTPException:
                return "cut", text
            return ("cut" if b"event: daybook.error" in text else 200), text
        return answer.status, answer.read()
    finally:
        connection.close()


def wire(server):
    """What a follower gets, up to the last event: the head it is told of."""
    connection, until = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20), time.monotonic() + 30
    try:
        connection.request("GET", f"/v1/log?after={server.first}")
        answer = connection.getresponse()
        if answer.status != 200:
            return answer.status, answer.read()
        head = answer.headers["Daybook-Position"]
        text = b""
        try:
            while b"Last" not in text and time.monotonic() < until:
                piece = answer.read1(65536)
                if not piece:
                    return "cut", b""
                text += piece
        except http.client.HTTPException:
            return "cut", b""
        return 200, head.encode()
    finally:
        connection.close()


def lines(server, path):
    try:
        answer = request(server, "GET", path, headers={"Accept": "application/x-ndjson"})
        return answer.status, answer.body
    except (http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionResetError):
        return "cut", b""


def group_events(answer):
    """What a fetch gave, without its tokens, which are others each time."""
    if answer.status != 200:
        return answer.status, answer.body
    return 200, json.dumps([one["event"] for one in answer.json()["events"]]).encode()


QUERY = {"items": [{"types": ["T1"], "tags": ["t:2"]}, {"types": ["RoomBooked"]}]}


def reads(server):
    """Each kind of read, and a command that history refuses: {name: ask()}, each answering (status, bytes)."""
    def get(path, **more):
        def ask():
            answer = request(server, "GET", path, **more)
            return answer.status, answer.body
        return ask

    def post(path, body, of=lambda answer: (answer.status, answer.body)):
        return lambda: of(request(server, "POST", path, body))

    return {
        "events": get("/v1/events?limit=1000&system=true&after=" + str(server.first)),
        "backward": get("/v1/events?limit=60&direction=backward"),
        "type": get("/v1/events?type=T1&limit=1000"),
        "tag": get("/v1/events?tag=all&limit=1000"),
        "bulk": get("/v1/events?tag=b:13&limit=1000"),
        "prefix": get("/v1/events?prefix=s-&limit=1000"),
        "query of events": post("/v1/events/query?limit=1000", QUERY),
        "lines": lambda: lines(server, f"/v1/events?after={server.first}"),
        "dcb": lambda: lines(server, "/dcb/read?query=" + urllib.parse.quote(json.dumps(QUERY))),
        "feed": lambda: feed(server, f"/v1/events?after={server.first}"),
        "log": lambda: wire(server),
        "group": get("/v1/groups/g"),
        "fetch": post("/v1/groups/g/fetch", {"consumer": "d", "count": 100}, group_events),
        "view": get("/v1/views/reservations?order=reservation&limit=1000"),
        "availability": get("/v1/views/availability?limit=1000"),
        "query": get("/v1/queries/free_rooms?hotel=H&from=2027-07-01&to=2027-07-05"),
        "past": get("/v1/views/reservations?order=reservation&as_of=2999-01-01T00:00:00Z"),
        **{f"stream {name}": get(f"/v1/streams/{name}?limit=1000")
           for name in [*(f"s-{s}" for s in range(STREAMS)), "bulk-77", "person-1", "last"]},
        "stream as lines": lambda: lines(server, "/v1/streams/s-1"),
        "stream backward": get("/v1/streams/s-2?direction=backward"),
        "command": post("/v1/commands/BookRoom", {"reservation": "R-1", "hotel": "H", "room_type": "A", "arrival": "2027-07-01",
                                                  "nights": 1, "guest": "G", "on": "2027-03-01"}),
    }
