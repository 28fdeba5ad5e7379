"""The hotel as users meet it: leader, follower and gateway as processes; and a naive model of it in a few lines."""
import json
import pathlib
import subprocess
import sys
import tempfile
import shutil

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

from daybook_test import BUILD, HOTEL, SHARED, Server, Skip, daybook, request, wait_for  # noqa: E402
from gateway_test import Gateway  # noqa: E402

STATUS_OF = {"ReservationCancelled": "cancelled", "GuestCheckedIn": "checked_in", "GuestCheckedOut": "checked_out",
             "GuestMissing": "no_show"}


class House:
    """Service 1 (leader), service 2 (follower) and nginx in front. The gateway forgives quickly: tests kill a lot."""

    def __init__(self, follower=True, **breaker):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="daybook-house-"))
        self.folder.chmod(0o711)    # for nginx's workers, who are not root
        self.leader = Server(HOTEL, data=self.folder / "leader")
        self.follower = Server(HOTEL, data=self.folder / "follower", follow="http://127.0.0.1:0") if follower else None
        self.gateway = None
        self.breaker = {"open": "200ms", "open_max": "500ms", **breaker}  # see Gateway

    def __enter__(self):
        self.leader.start()
        if self.follower:
            self.follower.follow = self.leader.url
            self.follower.start()
        second = self.follower.port if self.follower else self.leader.port
        self.gateway = Gateway(self.leader.port, second, folder=self.folder / "gateway", **self.breaker).start()
        return self

    def __exit__(self, kind, value, trace):
        for process in (self.gateway, self.follower, self.leader):
            if process is not None and kind is None:
                process.stop()
            elif process is not None:
                process.kill()
                print("".join(f"# {line.rstrip()}\n" for line in process.lines[-15:]), end="")
        shutil.rmtree(self.folder, ignore_errors=True)

    def follower_has(self, position, seconds=30):
        wait_for(lambda: request(self.follower, "GET", "/health").position >= position,
                 f"the follower has position {position}", seconds)


def rows(where, view, query=""):
    """All rows of a view, as bytes, one JSON object a line, in the order of the primary key."""
    answer = request(where, "GET", f"/v1/views/{view}?limit=1000000{query}", headers={"Accept": "application/x-ndjson"},
                     timeout=60)
    assert answer.status == 200, answer
    return answer.body


def events(where):
    """The whole journal, as a list of events."""
    found, after = [], 0
    while True:
        answer = request(where, "GET", f"/v1/events?limit=10000&after={after}", timeout=60)
        assert answer.status == 200, answer
        page = answer.json()
        found += page["events"]
        after = page["after"]
        if not page["more"]:
            return found


def make_bookings(folder):
    """The public data set as a file of commands for `daybook import`."""
    source = SHARED / "data" / "hotel_bookings.csv"
    if not source.exists():
        raise Skip(f"the data set is not there: {source} (set DAYBOOK_SHARED)")
    target = pathlib.Path(folder) / "bookings.ndjson"
    with open(target, "wb") as out:
        subprocess.run([str(BUILD / "examples/hotel/import-bookings"), str(source), str(SHARED / "data/hotel_rooms.csv")],
                       stdout=out, check=True)
    return target


def totals(where, position):
    """What shared/data/README.md counts, from the views once they have reached `position`."""
    at = f"&min_position={position}"
    wait = {"Prefer": "wait=30"}
    statuses = {}
    answer = request(where, "GET", f"/v1/views/reservations?limit=1000000&select=status{at}", headers=wait, timeout=60)
    for row in answer.json():
        statuses[row["status"]] = statuses.get(row["status"], 0) + 1
    answer = request(where, "GET", f"/v1/views/availability?limit=1000000&select=booked{at}", headers=wait, timeout=60)
    booked = [row["booked"] for row in answer.json() if row["booked"] > 0]
    return {"cancelled": statuses.get("cancelled", 0), "checked_out": statuses.get("checked_out", 0),
            "no_show": statuses.get("no_show", 0), "room_nights": sum(booked), "pairs": len(booked)}


EXPECTED_TOTALS = {"cancelled": 6096, "checked_out": 3650, "no_show": 160, "room_nights": 17861, "pairs": 2085}
EXPECTED_ACCEPTED, EXPECTED_REFUSED = 19812, 186


class Model:
    """The hotel, naively: two dictionaries and no cleverness. What the views must show after the events it was told."""

    def __init__(self):
        self.rooms, self.booked, self.reservations = {}, {}, {}

    def apply(self, event):
        kind, data = event["type"], event["data"]
        room = (data["hotel"], data["room_type"]) if "room_type" in data else None
        if kind == "RoomsAdded":
            self.rooms[room] = self.rooms.get(room, 0) + data["rooms"]
        elif kind == "RoomBooked":
            for night in data["nights"]:
                self.booked[(*room, night)] = self.booked.get((*room, night), 0) + 1
            self.reservations[data["reservation"]] = {
                "reservation": data["reservation"], "hotel": data["hotel"], "room_type": data["room_type"],
                "arrival": data["arrival"], "nights": len(data["nights"]), "guest": data["guest"], "status": "booked",
                "booked_on": data["on"], "status_on": data["on"]}
        elif kind in STATUS_OF:
            row = self.reservations[data["reservation"]]
            if kind == "ReservationCancelled":
                for night in data["nights"]:
                    self.booked[(row["hotel"], row["room_type"], night)] -= 1
            row["status"], row["status_on"] = STATUS_OF[kind], data["on"]

    def availability_rows(self):
        return [{"hotel": hotel, "room_type": kind, "night": night, "rooms": self.rooms[(hotel, kind)], "booked": count,
                 "free": self.rooms[(hotel, kind)] - count}
                for (hotel, kind, night), count in sorted(self.booked.items()) if count > 0]

    def reservation_rows(self):
        return [self.reservations[number] for number in sorted(self.reservations)]


def parse_rows(body):
    return [json.loads(line) for line in body.splitlines() if line]
