"""Real bookings, imported over HTTP through the gateway, end in exactly the totals they must, whatever is killed."""
import json
import random
import shutil
import subprocess
import tempfile
import threading

from hotel_test_lib import (BUILD, EXPECTED_ACCEPTED, EXPECTED_REFUSED, EXPECTED_TOTALS, House, Model, events,
                            make_bookings, parse_rows, request, rows, totals, wait_for)
from daybook_test import DAYBOOK, Tap

tap = Tap()
KILL_COUNT = 20
AS_OF_COUNT = 100


def run_import(house, file):
    """daybook import to its end; its own figures."""
    done = subprocess.run([str(DAYBOOK), "import", str(file), "--json", "--url", house.gateway.url, "--patience", "60"],
                          capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout)


def count_rooms(file):
    with open(file, encoding="utf-8") as lines:
        return sum(1 for line in lines if json.loads(line)["command"] == "AddRooms")


def check_totals(house, counts, file):
    assert counts["accepted"] - count_rooms(file) == EXPECTED_ACCEPTED, counts
    assert counts["refused"] == EXPECTED_REFUSED, counts
    found = totals(house.leader, counts["position"])
    assert found == EXPECTED_TOTALS, found


def check_rebuild(house, position):
    """Views that are deleted come back with the same rows, byte for byte."""
    before = {view: rows(house.leader, view) for view in ("availability", "reservations")}
    house.leader.stop()
    shutil.rmtree(house.leader.data / "views")
    house.leader.start()
    wait_for(lambda: totals(house.leader, position) == EXPECTED_TOTALS, "the views are rebuilt", 60)
    for view, body in before.items():
        assert rows(house.leader, view) == body, f"{view} differs after the rebuild"


def check_as_of(house, rng):
    """as_of at random positions shows what the naive model shows there."""
    journal = events(house.leader)
    chosen = sorted(rng.sample(range(1, len(journal) + 1), AS_OF_COUNT))
    model, done = Model(), 0
    for position in chosen:
        for event in journal[done:position]:
            model.apply(event)
        done = position
        for view, wanted in (("availability", model.availability_rows()), ("reservations", model.reservation_rows())):
            found = parse_rows(rows(house.leader, view, f"&as_of={position}"))
            assert found == wanted, f"{view} as of {position}: {len(found)} rows, expected {len(wanted)}"


@tap.test
def the_real_bookings_end_in_exactly_their_totals_and_views_rebuilt_are_the_same_byte_for_byte():
    rng = random.Random(20151)
    with House() as house, tempfile.TemporaryDirectory() as folder:
        file = make_bookings(folder)
        counts = run_import(house, file)
        check_totals(house, counts, file)
        check_rebuild(house, counts["position"])
        check_as_of(house, rng)
        house.follower_has(counts["position"])
        wait_for(lambda: totals(house.follower, counts["position"]) == EXPECTED_TOTALS, "the follower's views agree", 30)


class Killer(threading.Thread):
    """Kills the server each time the journal has passed the next of some random positions, and starts it again."""

    def __init__(self, server, positions):
        super().__init__(daemon=True)
        self.server, self.positions, self.kills, self.error = server, positions, 0, None
        self.ended = threading.Event()

    def run(self):
        try:
            for position in self.positions:
                while not self.ended.is_set():
                    if request(self.server, "GET", "/health", timeout=30).position >= position:
                        break
                    self.ended.wait(0.002)
                if self.ended.is_set():
                    return
                self.server.kill()
                self.server.start()
                self.kills += 1
        except Exception as error:  # the test shows it
            self.error = error


@tap.test
def an_import_during_which_the_server_is_killed_twenty_times_ends_in_the_same_totals():
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"# seed {seed}")
    rng = random.Random(seed)
    with House() as house, tempfile.TemporaryDirectory() as folder:
        file = make_bookings(folder)
        killer = Killer(house.leader, sorted(rng.sample(range(50, 19000), KILL_COUNT)))
        killer.start()
        counts = run_import(house, file)
        killer.ended.set()
        killer.join(60)
        assert killer.error is None and killer.kills == KILL_COUNT, (killer.kills, killer.error)
        check_totals(house, counts, file)


tap.main()
