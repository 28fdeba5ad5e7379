"""`make run`: the script behind it, with processes, ports and a folder of its own."""
import os
import pathlib
import re
import signal
import subprocess
import sys

from daybook_test import BUILD, DAYBOOK, ROOT, Process, Skip, Tap, folder, request, wait_for
from gateway_test import free_port

SCRIPT = ROOT / "tools" / "run_hotel.py"
FILL_SECONDS_MAX = 240

tap = Tap()


class Hotel(Process):
    """The script until the hotel is open; stop() is Ctrl-C."""

    def __init__(self, run, *options, ports=None):
        if not DAYBOOK.exists():
            raise Skip("build/daybook is not built")
        self.run = pathlib.Path(run)
        self.port, self.leader, self.follower = ports or (free_port(), free_port(), free_port())
        super().__init__([sys.executable, SCRIPT, "--build", BUILD, "--run", run, "--port", self.port, "--leader-port",
                          self.leader, "--follower-port", self.follower, *options], r"The hotel is open: +http://127.0.0.1:\d+/")

    @property
    def ports(self):
        return self.port, self.leader, self.follower

    def said(self):
        return "".join(self.lines)

    def pid_of(self, service):
        return int(re.findall(rf"{service}\b.*process (\d+)", self.said())[-1])

    def stop(self, seconds=60):
        if self.process.poll() is None:
            self.signal(signal.SIGINT)
        return self.process.wait(seconds)


def is_gone(pid):
    return not pathlib.Path(f"/proc/{pid}").exists()


@tap.test
def the_hotel_opens_whole_and_ctrl_c_leaves_nothing_behind():
    with folder() as run, Hotel(run / "run", "--empty") as hotel:
        pids = [hotel.pid_of("service 1, leader"), hotel.pid_of("service 2, follower"),
                int((run / "run" / "gateway" / "nginx.pid").read_text())]
        page = request(hotel.port, "GET", "/")
        assert page.status == 200 and b"<!doctype html>" in page.body.lower(), page
        assert page.headers["Daybook-Role"] == "leader", page.headers
        assert request(hotel.port, "GET", "/breakers/dashboard/").status == 200
        assert request(hotel.follower, "GET", "/health").headers["Daybook-Role"] == "follower"
        workers = pathlib.Path(f"/proc/{pids[2]}/task/{pids[2]}/children").read_text().split()
        assert workers and all(pathlib.Path(f"/proc/{pid}").stat().st_uid != 0 for pid in workers), "nginx's workers are root"
        assert hotel.stop() == 0
        assert all(is_gone(pid) for pid in pids), pids
        assert "Closed." in hotel.said()


@tap.test
def a_second_start_keeps_the_data():
    rooms = {"hotel": "Ours", "room_type": "A", "rooms": 3}
    with folder() as run:
        with Hotel(run / "run", "--empty") as hotel:
            assert request(hotel.port, "POST", "/v1/commands/AddRooms", rooms).status == 201
            assert hotel.stop() == 0
        with Hotel(run / "run", "--empty", ports=hotel.ports) as hotel:
            events = request(hotel.port, "GET", "/v1/events").json()["events"]
            assert [event["type"] for event in events] == ["RoomsAdded"], events


@tap.test
def one_folder_holds_one_hotel_and_a_port_in_use_is_a_clear_error():
    with folder() as run, Hotel(run / "run", "--empty") as hotel:
        free = str(free_port())
        for options, words in ((["--run", run / "run"], "open already"),
                               (["--run", run / "other", "--port", str(hotel.port)], f"Port {hotel.port}, meant for the gateway"),
                               (["--run", run / "other", "--port", str(free_port()), "--leader-port", str(hotel.leader)],
                                f"Port {hotel.leader}, meant for service 1"),
                               (["--run", run / "other", "--port", free, "--leader-port", free], "for the gateway and for service 1"),
                               (["--run", run / "other", "--port", "65536"], "from 1 to 65535"),
                               (["--run", "/proc/nowhere"], "/proc/nowhere")):
            done = subprocess.run([sys.executable, SCRIPT, "--build", BUILD, *options], capture_output=True, text=True, timeout=60)
            assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr, done
        assert request(hotel.port, "GET", "/").status == 200


@tap.test
def a_service_that_is_killed_is_answered_for_and_started_again():
    with folder() as run, Hotel(run / "run", "--empty", "--restart-after", "3") as hotel:
        killed = hotel.pid_of("service 1, leader")
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: request(hotel.port, "GET", "/v1/events").headers["Daybook-Role"] == "follower", "service 2 answers", 30)
        wait_for(lambda: "is back, process" in hotel.said(), "started again", 60)
        wait_for(lambda: request(hotel.port, "GET", "/v1/events").headers["Daybook-Role"] == "leader", "service 1 answers", 60)
        assert "signal 9, SIGKILL" in hotel.said(), hotel.said()


@tap.test
def nothing_is_left_when_the_script_itself_is_killed():
    with folder() as run, Hotel(run / "run", "--empty") as hotel:
        pids = [hotel.pid_of("service 1, leader"), hotel.pid_of("service 2, follower"),
                int((run / "run" / "gateway" / "nginx.pid").read_text())]
        hotel.kill()
        wait_for(lambda: all(is_gone(pid) for pid in pids), f"{pids} are gone", 60)


@tap.test
def the_first_start_fills_the_hotel_and_the_second_does_not():
    if "long" not in os.environ.get("DAYBOOK_SUITES", ""):
        raise Skip("a long test: DAYBOOK_SUITES=long")
    import daybook_test
    daybook_test.START_SECONDS = FILL_SECONDS_MAX
    with folder() as run:
        with Hotel(run / "run") as hotel:
            head = request(hotel.port, "GET", "/v1/events?limit=1").json()["head"]
            assert head > 4000 and "Filling the hotel" in hotel.said(), hotel.said()
            assert hotel.stop() == 0
        with Hotel(run / "run", ports=hotel.ports) as hotel:
            assert request(hotel.port, "GET", "/v1/events?limit=1").json()["head"] == head
            assert "Filling" not in hotel.said()


if __name__ == "__main__":
    tap.main()
