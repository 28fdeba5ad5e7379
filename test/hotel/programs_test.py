#!/usr/bin/env python3
"""import-bookings and generate-year, run as programs: what they write, and what they say about files that make no sense."""
import collections
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "test" / "system"))
from daybook_test import Skip, Tap  # noqa: E402

HOTEL = ROOT / "examples" / "hotel"
DATA = pathlib.Path(os.environ.get("DAYBOOK_SHARED") or ROOT.parent / "shared") / "data"
tap = Tap()

ROOMS = "hotel,room_type,rooms\nSea,A,2\n"
HEADER = ("hotel,lead_time,arrival_date_year,arrival_date_month,arrival_date_day_of_month,stays_in_weekend_nights,"
          "stays_in_week_nights,reserved_room_type,reservation_status,reservation_status_date\n")
ROW = "Sea,10,2026,March,12,1,2,A,Check-Out,3/15/2026\n"


def run(program, *arguments):
    return subprocess.run([HOTEL / program, *map(str, arguments)], capture_output=True, text=True, timeout=60)


def imported(bookings, rooms=ROOMS):
    with tempfile.TemporaryDirectory() as folder:
        paths = pathlib.Path(folder, "bookings.csv"), pathlib.Path(folder, "rooms.csv")
        for path, text in zip(paths, (bookings, rooms)):
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return run("import-bookings", *paths)


def lines(result):
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def refused(result, *sentences):
    assert result.returncode == 1, (result.returncode, result.stdout)
    assert result.stdout == "", "nothing is written when anything is wrong"
    for sentence in sentences:
        assert sentence in result.stderr, (sentence, result.stderr)


@tap.test
def a_row_becomes_a_booking_and_what_became_of_it():
    assert lines(imported(HEADER + ROW)) == [
        {"command": "AddRooms", "key": "import-bookings AddRooms Sea/A",
         "data": {"hotel": "Sea", "room_type": "A", "rooms": 2}},
        {"command": "BookRoom", "key": "import-bookings BookRoom R-000001",
         "data": {"reservation": "R-000001", "hotel": "Sea", "room_type": "A", "arrival": "2026-03-12", "nights": 3,
                  "guest": "guest-1", "on": "2026-03-02"}},
        {"command": "CheckOut", "key": "import-bookings CheckOut R-000001",
         "data": {"reservation": "R-000001", "on": "2026-03-15"}}]


@tap.test
def commands_are_sorted_by_date_then_row_the_booking_first():
    rows = [ROW.replace("10,", "0,", 1),                                            # booked on the 12th
            ROW.replace("Check-Out,3/15", "Canceled,3/12").replace("10,", "0,", 1),  # booked and cancelled that day
            ROW.replace("Check-Out,3/15", "No-Show,1/1")]                           # a status date before the booking
    found = [(entry["command"], entry["data"]["reservation"][-1], entry["data"]["on"])
             for entry in lines(imported(HEADER + "".join(rows)))[1:]]
    assert found == [("BookRoom", "3", "2026-03-02"), ("MarkNoShow", "3", "2026-03-02"), ("BookRoom", "1", "2026-03-12"),
                     ("BookRoom", "2", "2026-03-12"), ("CancelReservation", "2", "2026-03-12"),
                     ("CheckOut", "1", "2026-03-15")], found


@tap.test
def every_row_that_makes_no_sense_is_named_by_its_line():
    refused(imported(HEADER + ROW + ROW.replace("March", "Brumaire") + ROW.replace(",12,", ",32,") +
                     ROW.replace("10,", "ten,", 1) + ROW.replace("Check-Out", "Lost") + ROW.replace("3/15/2026", "2026-03-15") +
                     ROW.replace("Sea", " ") + "Sea,1\n" + ROW.replace(",1,2,", ",300,300,") + ROW.replace("March,12", "February,30")),
            "bookings.csv:3: arrival_date_month is 'Brumaire', not an English month",
            "bookings.csv:4: arrival_date_day_of_month is '32', not a number from 0 to 31",
            "bookings.csv:5: lead_time is 'ten', not a number from 0 to 3650",
            "bookings.csv:6: reservation_status is 'Lost', not one of Canceled, Check-Out, No-Show",
            "bookings.csv:7: reservation_status_date is '2026-03-15', not month/day/year",
            "bookings.csv:8: hotel is empty", "bookings.csv:9: the row has not 10 values, as the header has",
            "bookings.csv:10: a stay of 600 nights is longer than 365",
            "bookings.csv:11: the arrival is no day of the calendar: 2026-02-30")


@tap.test
def a_file_that_is_not_what_it_should_be_is_named():
    refused(imported("hotel,lead_time\nSea,1\n"), "bookings.csv:1: the header has no column arrival_date_year, ")
    refused(imported(""), "bookings.csv:1: the header has no column")
    refused(imported(HEADER), "bookings.csv: there is no row below the header")
    refused(imported(HEADER.encode() + b"\xff\n"), "bookings.csv: not a CSV file in UTF-8")
    refused(imported(HEADER + '"Sea'), "bookings.csv: not a CSV file")
    refused(imported(HEADER + ROW, "hotel,room_type,rooms\nSea,A,0\n"), "rooms.csv:2: rooms is 0")
    refused(run("import-bookings", "/nonexistent.csv", "/nonexistent.csv"), "/nonexistent.csv: No such file or directory")
    assert run("import-bookings").returncode == 2


@tap.test
def many_problems_are_counted_not_all_shown():
    result = imported(HEADER + ROW.replace("March", "x") * 50)
    refused(result, "… and 30 more")
    assert len(result.stderr.splitlines()) == 21


@tap.test
def the_real_bookings_become_20007_commands():
    if not (DATA / "hotel_bookings.csv").exists():
        raise Skip(f"{DATA} is not there")
    entries = lines(run("import-bookings", DATA / "hotel_bookings.csv", DATA / "hotel_rooms.csv"))
    assert collections.Counter(entry["command"] == "AddRooms" for entry in entries) == {True: 9, False: 19998}
    assert len({entry["key"] for entry in entries}) == len(entries)
    dates = [entry["data"]["on"] for entry in entries[9:]]
    assert dates == sorted(dates)


def play(entries):
    """The hotel's rules in a few lines: how often each command was refused, and rooms taken by (type, night)."""
    rooms, taken, reservations, refusals = {}, collections.Counter(), {}, collections.Counter()
    allowed = {"CheckIn": ("BookRoom",), "CheckOut": ("BookRoom", "CheckIn"), "CancelReservation": ("BookRoom",),
               "MarkNoShow": ("BookRoom",)}
    for name, data in ((entry["command"], entry["data"]) for entry in entries):
        if name == "AddRooms":
            rooms[data["room_type"]] = data["rooms"]
        elif name == "BookRoom":
            arrival = datetime.date.fromisoformat(data["arrival"])
            stay = [(data["room_type"], arrival + datetime.timedelta(days=night)) for night in range(data["nights"])]
            if data["reservation"] in reservations or any(taken[night] >= rooms[night[0]] for night in stay):
                refusals[name] += 1
            else:
                taken.update(stay)
                reservations[data["reservation"]] = [name, stay]
        elif reservations[data["reservation"]][0] not in allowed[name]:
            refusals[name] += 1
        else:
            reservations[data["reservation"]][0] = name
            if name == "CancelReservation":
                taken.subtract(reservations[data["reservation"]][1])
    return refusals, taken


@tap.test
def a_generated_year_is_the_same_for_the_same_seed_and_day():
    first, again = (run("generate-year", "--today", "2026-03-01", "--seed", "7") for _ in range(2))
    assert first.stdout == again.stdout and first.returncode == 0
    assert first.stdout != run("generate-year", "--today", "2026-03-01", "--seed", "8").stdout


@tap.test
def no_command_of_a_generated_year_is_refused_and_it_looks_alive():
    for seed in "1", "2", "3":
        entries = lines(run("generate-year", "--today", "2026-03-01", "--seed", seed))
        refusals, taken = play(entries)
        assert not refusals, refusals
        counts = collections.Counter(entry["command"] for entry in entries)
        assert counts["AddRooms"] == 4 and 1000 < counts["BookRoom"] < 4000, counts
        assert min(counts[name] for name in ("CancelReservation", "MarkNoShow", "CheckIn", "CheckOut")) > 10, counts
        weekend = sum(count for (_, night), count in taken.items() if night.weekday() in (4, 5)) / 2
        week = sum(count for (_, night), count in taken.items() if night.weekday() not in (4, 5)) / 5
        assert weekend > 1.1 * week, (weekend, week)
        assert len({entry["key"] for entry in entries}) == len(entries)
        days = [entry["data"]["on"] for entry in entries if "on" in entry["data"]]
        assert days == sorted(days) and days[-1] <= "2026-03-01"


@tap.test
def generate_year_refuses_what_is_no_day():
    assert run("generate-year", "--today", "2026-02-30").returncode == 2
    assert run("generate-year", "--today", "0001-01-01").returncode == 2


if __name__ == "__main__":
    tap.main()
