"""A server whose clock was ahead once: it says so, and a declared correction makes times right again for everybody."""
import datetime
import re
import shutil
import subprocess
import time

from daybook_test import DAYBOOK, HOTEL, Server, Skip, Tap, daybook, folder, request, wait_for

tap = Tap()
YEAR = 365 * 86400

SHIFTED = """
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *time)
{
    long r = syscall(SYS_clock_gettime, id, time);
    const char *shift = getenv("TEST_CLOCK_SHIFT_S");
    if (r == 0 && id == CLOCK_REALTIME && shift)
        time->tv_sec += atol(shift);
    return (int)r;
}
"""


def ahead(place):
    """Environment of a process whose clock is a year ahead."""
    if not shutil.which("cc"):
        raise Skip("there is no compiler")
    (place / "shift.c").write_text(SHIFTED)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", place / "shift.so", place / "shift.c"], check=True)
    linked = subprocess.run(["ldd", DAYBOOK], capture_output=True, text=True).stdout
    first = re.findall(r"=> (\S*libasan\S*)", linked)  # a sanitizer insists on being the first
    return {"LD_PRELOAD": ":".join([*first, str(place / "shift.so")]), "TEST_CLOCK_SHIFT_S": str(YEAR), "ASAN_OPTIONS": "detect_leaks=0"}


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def add_rooms(server, name):
    return request(server, "POST", "/v1/commands/AddRooms", {"hotel": "H", "room_type": name, "rooms": 1}).position


def figures(server):
    return request(server, "GET", "/metrics").body.decode()


@tap.test
def a_clock_that_was_ahead_is_said_and_a_correction_makes_as_of_restore_and_max_age_right_again():
    if not (HOTEL / "app.so").exists():
        raise Skip("the hotel is not built")
    with folder() as place, Server(app=HOTEL) as server:
        server.stop()
        before = dict(server.environment)
        server.environment.update(ahead(place))
        server.start()
        add_rooms(server, "future")
        server.stop()
        server.environment = before
        server.start()
        with Server(app=HOTEL, follow=server) as follower:
            assert any("clock" in line and "daybook clock correct" in line for line in server.lines), server.lines
            for number in range(5):
                add_rooms(server, f"now-{number}")
            journal = request(server, "GET", "/ready").json()["journal"]
            assert YEAR - 600 < journal["clock"]["ahead_seconds"] <= YEAR and journal["clock"]["detail"], journal
            assert float(re.search(r"\ndaybook_journal_clock_ahead_seconds (\S+)", figures(server)).group(1)) > YEAR - 600
            assert request(server, "GET", f"/v1/views/availability?as_of={now()}").position == 0
            code, out, err = daybook("clock", "correct", url=server.url)
            assert code == 0 and "position 7" in out, (code, out, err)
            last = add_rooms(server, "after")
            moment = now()
            assert "clock" not in request(server, "GET", "/ready").json()["journal"]
            assert "daybook_journal_clock_corrections 1\n" in figures(server)
            wait_for(lambda: request(follower, "GET", "/ready").json()["journal"]["position"] >= last, "it is copied", 40)
            for one in (server, follower):
                assert request(one, "GET", f"/v1/views/availability?as_of={moment}").position == last, one.url
            answer = request(server, "POST", "/v1/clock", b"{}")
            assert answer.status == 409 and answer.json()["code"] == "clock-right", answer
            assert request(follower, "POST", "/v1/clock", b"{}").status == 421
            assert request(server, "PUT", "/v1/retention?prefix=", {"max_age_s": 1}).status == 200
            time.sleep(1.1)  # what is to be older than a second
            report = request(server, "POST", "/v1/scavenge?dry_run=1").status
            assert report == 202, report
            state = wait_for(lambda: (lambda s: s.get("state") != "running" and s)(request(server, "GET", "/v1/scavenge").json()), "it has run")
            assert state["young"] == 0, state
        server.stop()
        code, out, err = daybook("restore", "--until", moment, server.data, place / "restored")
        assert code == 0 and f"positions 1 to {last} " in out, (code, out, err)
        for data in (server.data, place / "restored"):
            assert daybook("verify", data)[0] == 0
        assert daybook("backup", server.data, place / "copy")[0] == 0
        with Server(app=HOTEL, data=place / "copy") as copy:
            assert request(copy, "GET", f"/v1/views/availability?as_of={moment}").position == last
        server.start()


@tap.test
def a_clock_that_is_right_is_not_corrected():
    with Server() as server:
        assert request(server, "POST", "/v1/append", {"events": [{"type": "A", "data": {}}]}).status == 201
        code, out, err = daybook("clock", "correct", url=server.url)
        assert code == 1 and "nothing to correct" in err, (code, out, err)
        assert request(server, "GET", "/v1/events?system=1").json()["head"] == 1


tap.main()
