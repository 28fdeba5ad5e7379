"""The index on the disk, under a server: damage in it is made good from the log, and until it is, whatever needs the
damaged part is told to come back in a second, and is never told anything wrong."""
import pathlib

from daybook_test import HOTEL, Server, Skip, Tap, request, wait_for

tap = Tap()

UNIT, PER_APPEND, BLOCK = 32768, 1000, 4096  # src/journal/index.h; docs/formats/index.md


def fill(server):
    """More events than fit the newest part, so that the oldest stand in a file."""
    for first in range(0, UNIT + PER_APPEND, PER_APPEND):
        events = [{"type": "Seen", "tags": [f"n:{n}"], "data": {}} for n in range(first, first + PER_APPEND)]
        assert request(server, "POST", "/v1/append", {"events": events}).status == 201
    wait_for(lambda: metric(server, "daybook_journal_index_runs") == 1, "the first file of the index", 60)


def metric(server, name):
    text = request(server, "GET", "/metrics").body.decode()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith(name + " ")))


def damage(server):
    """A byte of every block but the header."""
    for path in pathlib.Path(server.data, "index").glob("*.run"):
        with open(path, "r+b") as file:
            for offset in range(BLOCK, path.stat().st_size, BLOCK):
                file.seek(offset + 100)
                byte = file.read(1)[0]
                file.seek(offset + 100)
                file.write(bytes([byte ^ 0x40]))


def is_whole_again(server, rebuilds):
    return (metric(server, "daybook_journal_index_rebuilds_total") >= rebuilds and
            metric(server, "daybook_journal_index_runs") == 1)


def is_told_to_come_back(answer):
    assert answer.status == 503, answer
    assert answer.headers["Retry-After"] == "1", answer.headers
    problem = answer.json()
    assert problem["code"] == "index-rebuilding" and "nothing was stored" in problem["detail"], problem


@tap.test
def an_append_whose_condition_needs_a_damaged_run_is_503_until_it_is_made_again():
    with Server() as server:
        fill(server)
        damage(server)
        append = {"events": [{"type": "Once", "data": {}}], "condition": {"failIfEventsMatch": {"items": [{"tags": ["n:1000000"]}]}}}
        is_told_to_come_back(request(server, "POST", "/v1/append", append))
        wait_for(lambda: is_whole_again(server, 1), "the index is made again", 60)
        answer = request(server, "POST", "/v1/append", append)
        assert answer.status == 201, answer
        append["condition"]["failIfEventsMatch"]["items"] = [{"tags": ["n:17"]}]
        assert request(server, "POST", "/v1/append", append).status == 409


@tap.test
def a_read_that_needs_a_damaged_run_is_503_until_it_is_made_again():
    with Server() as server:
        fill(server)
        damage(server)
        is_told_to_come_back(request(server, "GET", "/v1/events?tag=n:1000"))
        wait_for(lambda: is_whole_again(server, 1), "the index is made again", 60)
        found = request(server, "GET", "/v1/events?tag=n:1000").json()["events"]
        assert [event["position"] for event in found] == [1001], found


@tap.test
def a_command_that_needs_a_damaged_run_is_503_until_it_is_made_again():
    if not (HOTEL / "app.so").exists():
        raise Skip("the hotel is not built")
    with Server(app=HOTEL) as server:
        fill(server)
        rooms = {"room_type": "A", "rooms": 1}
        # A block that a view has just read stands in memory and is right: other tags stand in other blocks.
        for attempt in range(30):
            wait_for(lambda: metric(server, "daybook_journal_index_runs") == 1, "the index is made again", 60)
            damage(server)
            answer = request(server, "POST", "/v1/commands/AddRooms", {"hotel": f"H{attempt}", **rooms})
            if answer.status != 201:
                break
        is_told_to_come_back(answer)
        wait_for(lambda: is_whole_again(server, 1), "the index is made again", 60)
        wait_for(lambda: request(server, "POST", "/v1/commands/AddRooms", {"hotel": f"H{attempt}", **rooms}).status == 201,
                 "the command is decided")


tap.main()
