"""Sixteen clients append and read while the server is killed and started again; what they saw fits into one order."""
import http.client
import os
import random
import threading
import time
import uuid

from hotel_test_lib import Server, request, wait_for
from daybook_test import Tap
from history import Append, Broken, Event, Look, Refusal, check

tap = Tap()
CLIENT_COUNT = 16
OPERATION_COUNT = 4000  # of all clients
KILL_COUNT = 10
SECONDS = float(os.environ.get("DAYBOOK_SECONDS", "0"))  # no round begins later; the first always does
STREAMS = ["a", "b", "c"]
TAGS = ["x", "y", "z"]
LOST = (ConnectionError, http.client.HTTPException, TimeoutError, OSError)


class World:
    """The server, what is left to do, and all that was seen."""

    def __init__(self, server):
        self.server = server
        self.history, self.done = [], 0
        self.lock = threading.Lock()

    def note(self, operation):
        with self.lock:
            self.history.append(operation)
            self.done += 1


class Client(threading.Thread):
    """Does one thing after another. What it cannot know the end of it either sends again, with the same ids, or leaves."""

    def __init__(self, world, seed):
        super().__init__(daemon=True)
        self.world, self.dice = world, random.Random(seed)
        self.versions, self.newest = {stream: 0 for stream in STREAMS}, {tag: 0 for tag in TAGS}
        self.connection, self.error, self.lost = None, None, 0

    def run(self):
        try:
            while self.world.done < OPERATION_COUNT:
                (self.append if self.dice.random() < 0.5 else self.look)()
        except Exception as error:
            self.error = error

    def ask(self, method, path, body=None):
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.world.server.port, timeout=20)
            return request(self.connection, method, path, body)
        except LOST:
            self.connection.close()
            self.connection = None
            raise

    # ---- looking ----

    def look(self):
        stream, tag = self.dice.choice([(None, None), (self.dice.choice(STREAMS), None), (None, self.dice.choice(TAGS))])
        path = f"/v1/streams/{stream}?" if stream else f"/v1/events?tag={tag}&" if tag else "/v1/events?"
        call = time.monotonic()
        try:
            answer = self.ask("GET", path + "direction=backward&limit=1")
        except LOST:
            return time.sleep(0.01)  # a read that was not answered has seen nothing
        end = time.monotonic()
        assert answer.status == 200 or (answer.status == 404 and stream), answer
        events = answer.json()["events"] if answer.status == 200 else []
        newest = events[0]["position"] if events else 0
        if stream:
            self.versions[stream] = events[0]["version"] if events else 0
        if tag:
            self.newest[tag] = newest
        self.world.note(Look(call, end, newest, stream, tag))

    # ---- appending ----

    def make(self):
        """A body and what it is in the history: guarded by a stream's version, by a tag, or not at all."""
        stream, tag = self.dice.choice(STREAMS), self.dice.choice(TAGS)
        ids = [str(uuid.UUID(int=self.dice.getrandbits(128), version=4)) for _ in range(self.dice.randint(1, 3))]
        body = {"events": [{"type": "T", "data": {}, "id": id, "stream": stream, "tags": [tag]} for id in ids]}
        append = Append(ids, time.monotonic())
        kind = self.dice.random()
        if kind < 0.4:
            append.expected = (stream, self.versions[stream])
            body["streams"] = {stream: self.versions[stream]}
        elif kind < 0.8:
            append.unless = (tag, self.newest[tag])
            body["condition"] = {"failIfEventsMatch": {"items": [{"tags": [tag]}]}, "after": self.newest[tag]}
        return body, append, stream

    def append(self):
        body, append, stream = self.make()
        keen = self.dice.random() < 0.5  # sends it again until there is an answer
        while True:
            try:
                answer = self.ask("POST", "/v1/append", body)
                break
            except LOST:
                self.lost += 1
                if not keen:
                    return self.world.note(append)
                time.sleep(0.01)
        end = time.monotonic()
        if answer.status == 201:
            append.answer, append.first = end, answer.json()["first"]
            self.versions[stream] = answer.json()["streams"].get(stream, self.versions[stream])
            return self.world.note(append)
        assert answer.status == 409, answer
        conflict = answer.json()["conflicts"][0]
        self.world.note(Refusal(append.call, end, append.expected, conflict.get("actual"), append.unless,
                                conflict.get("position")))


def everything(server):
    events, after = [], 0
    while True:
        page = request(server, "GET", f"/v1/events?after={after}&limit=1000").json()
        events += [Event(one["position"], one["id"], one["stream"], tuple(one["tags"])) for one in page["events"]]
        after = page["after"]
        if not page["more"]:
            return events


def work_through_kills(server, seed):
    world, dice = World(server), random.Random(seed)
    clients = [Client(world, seed * 100 + number) for number in range(CLIENT_COUNT)]
    for client in clients:
        client.start()
    for kill in range(1, KILL_COUNT + 1):
        at = OPERATION_COUNT * kill // (KILL_COUNT + 1) + dice.randrange(100)
        wait_for(lambda: world.done >= at or any(client.error for client in clients), f"{at} operations", 120)
        server.kill()
        server.start()
    for client in clients:
        client.join(120)
        assert client.error is None, client.error
        assert not client.is_alive()
    return world, sum(client.lost for client in clients)


@tap.test
def what_sixteen_clients_see_through_kills_fits_into_one_order():
    end, count = time.monotonic() + SECONDS, 0
    while count == 0 or time.monotonic() < end:
        play(random.SystemRandom().getrandbits(24))
        count += 1
    print(f"# {count} rounds", flush=True)


def play(seed):
    print(f"# seed {seed}", flush=True)
    with Server() as server:
        world, lost = work_through_kills(server, seed)
        events = everything(server)
        appends, others = check(events, world.history)
        refusals = sum(isinstance(one, Refusal) for one in world.history)
        print(f"# {appends} appends, {others - refusals} reads, {refusals} refusals, {lost} answers lost", flush=True)
        assert appends > 200 and refusals > 20 and others - refusals > 200 and lost > 0


# ---- the checker can say no ----

def small():
    """Two appends, a look between them and one after, a refusal of each kind: a history that holds."""
    events = [Event(1, "A", "s", ("x",)), Event(2, "B", "s", ("x",)), Event(3, "C", "s", ())]
    return events, [
        Append(["A", "B"], 0, 2, first=1, expected=("s", 0)), Look(3, 4, 2, stream="s"), Look(3, 4, 2, tag="x"),
        Append(["C"], 5, 8, first=3, unless=("x", 2)), Look(6, 7, 2, stream="s"), Look(9, 10, 3),
        Refusal(3, 4, expected=("s", 0), actual=2), Refusal(3, 4, unless=("x", 0), position=1),
        Append(["never"], 5)]


@tap.test
def the_checker_takes_what_holds():
    assert check(*small()) == (2, 6)
    assert check([], [Look(0, 1, 0), Append(["lost"], 0)]) == (0, 1)
    events = [Event(1, "A", "s", ())]
    assert check(events, [Append(["A"], 5), Look(6, 7, 0), Look(6.5, 8, 1)]) == (1, 2), "no answer: any time after the call"


@tap.test
def the_checker_refuses_every_history_that_is_bent():
    def bent(change, message):
        events, operations = small()
        change(events, operations)
        try:
            check(events, operations)
        except Broken:
            return
        raise AssertionError(f"taken all the same: {message}")

    bent(lambda e, o: o.append(Look(9, 10, 2, stream="s")), "a stale read")
    bent(lambda e, o: o.append(Look(-2, -1, 2)), "a read of what nobody had sent yet")
    bent(lambda e, o: o.append(Look(3, 4, 1)), "half an append")
    bent(lambda e, o: o.append(Append(["D"], 1, 2, first=4)), "an acknowledged append that is gone")
    bent(lambda e, o: o.append(Refusal(9, 10, expected=("s", 3), actual=2)), "a refusal by what was no longer so")
    bent(lambda e, o: o.append(Refusal(9, 10, expected=("s", 3), actual=3)), "a refusal without a reason")
    bent(lambda e, o: o.append(Refusal(-2, -1, unless=("x", 0), position=1)), "a refusal by what was not there yet")
    bent(lambda e, o: e.pop(), "a tail that is missing")
    bent(lambda e, o: e.append(Event(4, "E", "s", ())), "an event that nobody sent")
    bent(lambda e, o: e.append(Event(4, "A", "s", ())), "an id that is there twice")
    bent(lambda e, o: setattr(o[0], "expected", ("s", 1)), "an append that was accepted at another version")
    bent(lambda e, o: setattr(o[3], "unless", ("x", 1)), "an append that was accepted in spite of an event")
    bent(lambda e, o: setattr(o[0], "call", 9), "an order that is not that of time")
    bent(lambda e, o: setattr(o[0], "first", 2), "another place than was acknowledged")
    bent(lambda e, o: setattr(o[3], "answer", 5.5), "a look that came too late for what it saw")


tap.main()
