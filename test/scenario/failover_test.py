"""Service 1 dies under load: reads go on from service 2, nothing hangs, and nothing acknowledged is lost."""
import http.client
import threading
import time

from hotel_test_lib import House, events, request, rows, wait_for
from daybook_test import Tap

tap = Tap()
RATE = 200          # requests a second, over all clients
CLIENT_COUNT = 8
READ_SECONDS_MAX = 5.0  # longer is a hang
PHASE_SECONDS = 3


class Load(threading.Thread):
    """Keeps a pace of reads, with a command among ten, and remembers what came of each."""

    def __init__(self, house, number):
        super().__init__(daemon=True)
        self.house, self.number = house, number
        self.ended = threading.Event()
        self.reads, self.commands = [], []  # (when, seconds, status or error, role), (reservation, answer)

    def run(self):
        interval, count, due = CLIENT_COUNT / RATE, 0, time.monotonic()
        while not self.ended.is_set():
            count += 1
            if count % 10 == 0:
                self.command(f"F-{self.number}-{count}")
            else:
                self.read("/v1/views/reservations?limit=5" if count % 2 else "/v1/events?limit=5")
            due += interval
            self.ended.wait(max(0.0, due - time.monotonic()))

    def read(self, path):
        began = time.monotonic()
        try:
            answer = request(self.house.gateway, "GET", path, timeout=READ_SECONDS_MAX * 2)
            result, role = answer.status, answer.headers.get("Daybook-Role")
        except (OSError, http.client.HTTPException) as error:
            result, role = repr(error), None
        self.reads.append((began, time.monotonic() - began, result, role))

    def command(self, reservation):
        body = {"reservation": reservation, "hotel": "Fail", "room_type": "Any", "arrival": "2027-05-01", "nights": 1,
                "guest": "load", "on": "2027-01-01"}
        try:
            answer = request(self.house.gateway, "POST", "/v1/commands/BookRoom", body,
                             {"Idempotency-Key": reservation}, timeout=READ_SECONDS_MAX * 2)
            self.commands.append((reservation, answer))
        except (OSError, http.client.HTTPException):
            self.commands.append((reservation, None))


def breaker_states(house):
    answer = request(house.gateway, "GET", "/breakers")
    assert answer.status == 200, answer
    return {entry["name"]: entry["state"] for entry in answer.json()["breakers"]}


def service_breaker(house):
    """The state of the breaker in front of service 1."""
    states = breaker_states(house)
    return states.get("service1") or next(iter(states.values()))


def check_reads(loads, opened, back):
    reads = [read for load in loads for read in load.reads]
    assert len(reads) > 3 * PHASE_SECONDS * RATE * 0.3, f"only {len(reads)} reads"
    slow = [read for read in reads if read[1] > READ_SECONDS_MAX]
    assert not slow, f"{len(slow)} reads hung, the first {slow[0]}"
    failed = [read for read in reads if read[0] > opened and read[2] != 200]
    assert not failed, f"{len(failed)} reads failed after the breaker opened, the first {failed[0]}"
    away = [read for read in reads if opened < read[0] < back]
    assert away and all(read[3] == "follower" for read in away if read[0] + read[1] < back), "who answered?"


def check_commands(loads, journal):
    """Acknowledged commands are in the journal, refused ones say when to come back."""
    booked = {event["data"]["reservation"] for event in journal if event["type"] == "RoomBooked"}
    acknowledged = refused = 0
    for load in loads:
        for reservation, answer in load.commands:
            if answer is not None and answer.status == 201:
                acknowledged += 1
                assert reservation in booked, f"{reservation} was acknowledged and is gone"
            elif answer is not None:
                assert answer.status in (502, 503, 504), answer
                assert answer.headers.get_content_type() == "application/problem+json", answer
                assert answer.status != 503 or int(answer.headers["Retry-After"]) >= 1, answer.headers
                refused += answer.status == 503
    assert acknowledged > 20 and refused > 5, (acknowledged, refused)


def the_same(house):
    """Leader and follower: the same log, event for event, and the same rows, byte for byte."""
    def bodies(server):
        return [rows(server, "availability"), rows(server, "reservations"),
                request(server, "GET", "/v1/events?limit=10000", headers={"Accept": "application/x-ndjson"}).body]
    return bodies(house.leader) == bodies(house.follower)


@tap.test
def when_service_1_is_killed_under_load_reads_go_on_and_when_it_is_back_nothing_acknowledged_is_missing():
    with House() as house:
        answer = request(house.leader, "POST", "/v1/commands/AddRooms", {"hotel": "Fail", "room_type": "Any", "rooms": 9999})
        assert answer.status == 201, answer
        house.follower_has(answer.position)
        loads = [Load(house, number) for number in range(CLIENT_COUNT)]
        for load in loads:
            load.start()
        wait_for(lambda: sum(len(load.reads) for load in loads) > RATE * PHASE_SECONDS * 0.5, "load is running", 30)
        house.leader.kill()
        wait_for(lambda: service_breaker(house) == "open", "the breaker opens", 30)
        opened = time.monotonic()
        count = sum(len(load.reads) for load in loads)
        wait_for(lambda: sum(len(load.reads) for load in loads) > count + RATE * PHASE_SECONDS * 0.5, "reads go on", 30)
        back = time.monotonic()
        house.leader.start()
        wait_for(lambda: service_breaker(house) == "closed", "the breaker closes again", 30)
        count = sum(len(load.reads) for load in loads)
        wait_for(lambda: sum(len(load.reads) for load in loads) > count + RATE, "load after the return", 30)
        for load in loads:
            load.ended.set()
        for load in loads:
            load.join(30)
        check_reads(loads, opened, back)
        head = request(house.leader, "GET", "/health").position
        house.follower_has(head)
        for server in (house.leader, house.follower):
            answer = request(server, "GET", f"/v1/views/reservations?limit=1&min_position={head}", headers={"Prefer": "wait=20"})
            assert answer.status == 200, answer
        assert the_same(house), "leader and follower differ"
        check_commands(loads, events(house.leader))


tap.main()
