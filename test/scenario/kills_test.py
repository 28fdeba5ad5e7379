"""Everything at once, and the server killed all the time: appends, commands, rebuilds, scavenges, erasures, a consumer group,
backups and a follower; then once more on a disk that fills and empties at random. Nothing acknowledged is lost, changed or
there twice, and every start succeeds."""
import contextlib
import http.client
import json
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import threading
import time
import uuid

from hotel_test_lib import HOTEL, Model, Server, Skip, daybook, events, parse_rows, request, rows, wait_for
from daybook_test import Tap

tap = Tap()
KILL_COUNT = int(os.environ.get("DAYBOOK_KILLS", "6"))  # of each test
LOST = (ConnectionError, http.client.HTTPException, TimeoutError, OSError)
DISK_MEGABYTES = 260
ROOM = {"hotel": "Seaside", "room_type": "Double"}
PASSING = (409, 429, 503, 507)  # come back later


class Over(Exception):
    """It is over before there was an answer."""


class World:
    """The servers, the clock, and all that was acknowledged."""

    def __init__(self, place, data, seed):
        self.leader = Server(HOTEL, data=data)
        self.follower = Server(HOTEL, data=place / "follower", follow="http://127.0.0.1:0")
        self.place, self.seed = place, seed
        self.ending = threading.Event()
        self.lock = threading.Lock()
        self.appended = {}   # id: (position, data)
        self.commanded = {}  # key: (position, types)
        self.erased, self.delivered = {}, set()
        self.counts = {}

    def count(self, what, number=1):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + number


class Worker(threading.Thread):
    """One client: does its work again and again until it is over; sends again what it does not know the end of."""

    def __init__(self, world, number, work):
        super().__init__(daemon=True)
        self.world, self.work, self.number = world, work, number
        self.dice, self.error, self.connection = random.Random(world.seed * 1000 + number), None, None

    def run(self):
        try:
            while not self.world.ending.is_set():
                self.work(self)
        except Over:
            pass
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def ask(self, method, path, body=None, headers=None, until=None, port=None):
        """Until there is an answer that is no "come back later"; Over when `until` says so, or the whole is over."""
        began = None
        while True:
            try:
                if self.connection is None:
                    self.connection = http.client.HTTPConnection("127.0.0.1", port or self.world.leader.port, timeout=60)
                answer = request(self.connection, method, path, body, headers)
                if answer.status not in PASSING or (answer.status == 409 and "Retry-After" not in answer.headers):
                    return answer
                self.world.count(f"{answer.status}")
            except LOST:
                self.world.count("answers lost")
                self.connection.close()
                self.connection = None
            began = began or time.monotonic()
            if until and until():
                raise Over
            if time.monotonic() - began > 120:
                raise AssertionError(f"{method} {path}: no good answer for two minutes")
            time.sleep(self.dice.uniform(0.005, 0.05))


# ---- what they do; each to its end, also when it is over meanwhile ----

def append(worker):
    made = [{"id": str(uuid.UUID(int=worker.dice.getrandbits(128), version=4)), "type": worker.dice.choice("ABC"),
             "stream": worker.dice.choice(["a", "b", "old"]), "tags": [worker.dice.choice("xyz")],
             "data": {"n": worker.dice.getrandbits(40), "text": "x" * worker.dice.choice([1, 50, 3000])}}
            for _ in range(worker.dice.randrange(1, 5))]
    answer = worker.ask("POST", "/v1/append", {"events": made})
    assert answer.status == 201, answer
    with worker.world.lock:
        for place, event in enumerate(made):
            worker.world.appended[event["id"]] = (answer.json()["first"] + place, event)


def command(worker):
    key = str(worker.dice.getrandbits(60))
    if worker.dice.random() < 0.7:
        name, body = "BookRoom", {**ROOM, "reservation": f"R-{key}", "arrival": f"2027-0{worker.dice.randrange(1, 10)}-1{worker.dice.randrange(10)}",
                                  "nights": worker.dice.randrange(1, 4), "guest": "Ada", "on": "2026-12-01"}
    else:
        name, body = "CancelReservation", {"reservation": worker.last, "on": "2026-12-02"} if getattr(worker, "last", None) else None
    if body is None:
        return
    answer = worker.ask("POST", f"/v1/commands/{name}", body, {"Idempotency-Key": key})
    assert answer.status in (201, 422), answer
    if answer.status == 422:
        assert answer.json()["code"] == "rejected", answer
        return
    worker.last = body["reservation"] if name == "BookRoom" else None
    with worker.world.lock:
        worker.world.commanded[key] = (answer.json()["position"], [event["type"] for event in answer.json()["events"]])


def forget_somebody(worker):
    subject = f"person-{worker.dice.getrandbits(48)}"
    made = {"type": "Named", "stream": "people", "subject": subject, "data": {"name": f"Secret {subject}"}}
    for _ in range(worker.dice.randrange(1, 3)):
        assert worker.ask("POST", "/v1/append", {"events": [{**made, "id": str(uuid.uuid4())}]}).status == 201
    answer = worker.ask("DELETE", f"/v1/subjects/{subject}")
    assert answer.status in (200, 202), answer
    with worker.world.lock:
        worker.world.erased[subject] = answer.json()["position"]
    time.sleep(worker.dice.uniform(0.1, 0.6))


def order_about(worker):
    """Rebuilds and scavenges."""
    if worker.dice.random() < 0.5:
        answer = worker.ask("POST", f"/v1/views/{worker.dice.choice(['availability', 'reservations'])}/rebuild")
        assert answer.status == 202, answer
        worker.world.count("rebuilds")
    else:
        assert worker.ask("PUT", "/v1/streams/old/retention", {"max_count": worker.dice.randrange(3, 40)}).status == 200
        answer = worker.ask("POST", "/v1/scavenge")
        assert answer.status in (200, 202) or answer.json()["code"] == "scavenge-running", answer
        worker.world.count("scavenges")
    time.sleep(worker.dice.uniform(0.2, 1.0))


def consume(worker):
    answer = worker.ask("POST", "/v1/groups/g/fetch", {"consumer": f"c{worker.number}", "count": 50, "wait_seconds": 1})
    assert answer.status == 200, answer
    batch = answer.json()["events"]
    with worker.world.lock:
        worker.world.delivered |= {one["event"]["position"] for one in batch}
    if not batch:
        return
    answer = worker.ask("POST", "/v1/groups/g/ack", {"tokens": [one["token"] for one in batch]})
    assert answer.status == 200 or answer.json()["code"] == "lease-lost", answer  # a lease does not outlive its server


def back_up(worker):
    world = worker.world
    with world.lock:
        newest = max((position for position, _ in world.appended.values()), default=0)
    target = world.place / f"backup-{worker.dice.getrandbits(32)}"
    code, out, error = daybook("backup", world.leader.data, target)
    if code == 0:
        code, out, error = daybook("verify", target, "--json")
        assert code == 0, ("a backup that was called good is not", out, error)
        assert json.loads(out)["head"] >= newest, ("ends before what was acknowledged", newest, out)
        world.count("backups")
    else:
        assert code in (1, 3) and error.strip(), (code, out, error)
        world.count("backups refused")
    shutil.rmtree(target, ignore_errors=True)
    time.sleep(worker.dice.uniform(0.5, 2.0))


def fill_the_disk(worker):
    """Takes the room away, down to the last byte at times, and gives it back."""
    disk = pathlib.Path(worker.world.leader.data).parent
    try:
        with open(disk / "ballast", "wb") as ballast:
            room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            ballast.write(bytes(max(0, room - worker.dice.choice([0, 0, 4096, 100000, 20 << 20]))))
    except OSError:
        worker.world.count("disk full")
    time.sleep(worker.dice.uniform(0.05, 0.8))
    with contextlib.suppress(OSError):
        (disk / "ballast").unlink()
    time.sleep(worker.dice.uniform(0.05, 0.8))


# ---- the whole ----

def kill_again_and_again(world, workers, dice):
    for number in range(KILL_COUNT):
        time.sleep(dice.choice([0.02, 0.1, 0.3, 0.7]) * dice.random() * 2)
        failed = [worker.error for worker in workers if worker.error]
        if failed:
            raise failed[0]
        world.leader.kill()
        world.leader.start()
        if number % 4 == 0:
            world.follower.kill()
            world.follower.start()


def check(world):
    found = events(world.leader)
    assert [event["position"] for event in found] == sorted({event["position"] for event in found}), "twice, or out of order"
    by_id = {event["id"]: event for event in found}
    assert len(by_id) == len(found), "an id is there twice"
    for id_, (position, sent) in world.appended.items():
        event = by_id.get(id_)
        assert event and event["position"] == position and event["type"] == sent["type"] and event["stream"] == sent["stream"], ("lost", id_, position, event)
        assert event.get("stub") and sent["stream"] == "old" or event["data"] == sent["data"], ("changed", event, sent)
    by_position = {event["position"]: event for event in found}
    for key, (position, types) in world.commanded.items():
        last = [by_position[at]["type"] for at in range(position - len(types) + 1, position + 1)]
        assert last == types, ("a command's events", key, position, types, last)
    booked = [event["data"]["reservation"] for event in found if event["type"] == "RoomBooked"]
    assert len(booked) == len(set(booked)), "a booking was made twice"
    for event in found:
        if event.get("subject") in world.erased or event["type"] == "Named" and event.get("erased"):
            assert event.get("erased") and "data" not in event, ("not erased", event)
    check_views(world, found)
    wanted = {event["position"] for event in found if event["type"] in "ABC"}
    assert wanted <= world.delivered, ("a consumer never saw", sorted(wanted - world.delivered)[:10])
    return found


def check_views(world, found):
    model = Model()
    for event in found:
        if event.get("data") is not None:
            model.apply(event)
    at = f"&min_position={found[-1]['position']}"
    wait_for(lambda: all(view["state"] == "live" for view in request(world.leader, "GET", "/v1/views").json()["views"]), "all views are live", 60)
    for where in (world.leader, world.follower):
        wait_for(lambda: request(where, "GET", f"/v1/views/reservations?limit=1{at}").status == 200, "the views have caught up", 60)
        shown = [row for row in parse_rows(rows(where, "availability", "&booked=gt.0"))]
        assert [(row["night"], row["booked"]) for row in shown] == [(row["night"], row["booked"]) for row in model.availability_rows()], "availability"
        shown = {row["reservation"]: row["status"] for row in parse_rows(rows(where, "reservations"))}
        assert shown == {number: row["status"] for number, row in model.reservations.items()}, "reservations"


def lasting(event):
    """An event without what a scavenge takes: one that found no room on the disk goes on later, so its bodies may be gone on one side only."""
    return {name: value for name, value in event.items() if event.get("stream") != "old" or name not in ("data", "meta", "stub")}


def same_log(world):
    """The follower has the leader's events."""
    head = request(world.leader, "GET", "/health").position
    wait_for(lambda: request(world.follower, "GET", "/health").position >= head, "the follower has caught up", 60)
    after = 0
    while after < head:
        one, two = (request(where, "GET", f"/v1/events?system=1&limit=1000&after={after}", timeout=60) for where in (world.leader, world.follower))
        assert list(map(lasting, one.json()["events"])) == list(map(lasting, two.json()["events"])), f"the follower differs behind {after}"
        after = one.json()["after"]


def play(place, data, *more):
    seed = random.SystemRandom().getrandbits(24)
    print(f"# seed {seed}", flush=True)
    world = World(place, data, seed)
    works = [append, append, append, command, command, forget_somebody, order_about, consume, consume, back_up, *more]
    workers = [Worker(world, number, work) for number, work in enumerate(works)]
    try:
        world.leader.start()
        assert request(world.leader, "POST", "/v1/groups/g", {"types": ["A", "B", "C"], "lease_seconds": 5, "tries_max": 100}).status in (200, 201)
        assert request(world.leader, "POST", "/v1/commands/AddRooms", {**ROOM, "rooms": 300}).status == 201
        world.follower.follow = world.leader.url
        world.follower.start()
        for worker in workers:
            worker.start()
        kill_again_and_again(world, workers, random.Random(seed))
        world.ending.set()
        for worker in workers:
            worker.join(150)
            assert worker.error is None, worker.error
            assert not worker.is_alive(), worker.work.__name__
        last = Worker(world, 999, consume)
        end = time.monotonic() + 60
        while request(world.leader, "GET", "/v1/groups/g").json()["lag"] > 0 and time.monotonic() < end:
            consume(last)
        found = check(world)
        same_log(world)
        assert world.leader.stop() == 0 and world.follower.stop() == 0
        for folder_ in (world.leader.data, world.follower.data):
            code, out, error = daybook("verify", folder_)
            assert code == 0, (out, error)
        print(f"# {KILL_COUNT} kills, {len(found)} events, {len(world.appended)} acknowledged appends, {len(world.commanded)} commands, "
              f"{len(world.erased)} erasures, {len(world.delivered)} delivered, {world.counts}", flush=True)
        assert len(world.appended) > KILL_COUNT and len(world.commanded) > 0 and len(world.erased) > 0
    except BaseException:
        for server in (world.leader, world.follower):
            print("".join(f"# {line.rstrip()}\n" for line in server.lines[-40:]), end="")
        raise
    finally:
        world.ending.set()
        world.leader.kill()
        world.follower.kill()


@tap.test
def whatever_is_killed_nothing_is_lost_changed_or_doubled_and_every_start_succeeds():
    place = pathlib.Path(tempfile.mkdtemp(prefix="daybook-kills-"))
    try:
        play(place, place / "leader")
    finally:
        shutil.rmtree(place, ignore_errors=True)


@tap.test
def the_same_holds_on_a_disk_that_fills_at_random():
    place = pathlib.Path(tempfile.mkdtemp(prefix="daybook-kills-"))
    disk = place / "disk"
    disk.mkdir()
    try:
        if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(disk)],
                                               capture_output=True, check=False).returncode != 0:
            raise Skip("a tmpfs cannot be mounted here")
        play(place, disk / "data", fill_the_disk)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False, capture_output=True)
        shutil.rmtree(place, ignore_errors=True)


tap.main()
