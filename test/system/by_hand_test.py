"""docs/breaking-by-hand.md, step by step: its commands as they stand there, and what it says that happens.

Each block of shell in that page is run by one of these tests; one that no test runs is a failure.
"""
import os
import re
import signal
import subprocess
import threading

from daybook_test import ROOT, Tap, folder, request, wait_for
from run_hotel_test import Hotel

PAGE = ROOT / "docs" / "breaking-by-hand.md"
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.M | re.S)
LOOPS = 3           # the page has one; more of them need less patience
HANG_SECONDS_MAX = 60

tap = Tap()
walked = set()


class Walk:
    """A hotel, its reader's shell, and the loop that the page keeps running."""

    def __init__(self, run, *options):
        self.run = run
        self.hotel = Hotel(run / "run", "--empty", "--restart-after", "4", *options)

    def __enter__(self):
        self.hotel.__enter__()
        wait_for(lambda: request(self.hotel.follower, "GET", "/v1/views").status == 200, "service 2 has its views")
        self.one = str(self.hotel.pid_of("service 1, leader"))
        self.answers, self.threads, self.loops = [], [], []
        return self

    def __exit__(self, *error):
        for loop in self.loops:
            os.killpg(loop.pid, signal.SIGTERM)
        for thread in self.threads:
            thread.join()
        self.hotel.__exit__(*error)

    def start(self, block):
        text = block.replace("127.0.0.1:8080", f"127.0.0.1:{self.hotel.port}").replace(
            "tools/spoil.py", f"tools/spoil.py --at {self.run}/run/spoil")
        return subprocess.Popen(["bash", "-c", text], cwd=ROOT, env={**os.environ, "ONE": self.one}, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, start_new_session=True)

    def step(self, words):
        """The block of the page that holds these words; what it printed."""
        block = block_with(words)
        shell = self.start(block)
        printed = shell.communicate(timeout=HANG_SECONDS_MAX)[0]
        assert shell.returncode == 0, (block, printed)
        return printed

    def keep_reading(self):
        for _ in range(LOOPS):
            loop = self.start(block_with("while :"))
            thread = threading.Thread(target=lambda loop=loop: self.answers.extend(line.split() for line in loop.stdout))
            thread.start()
            self.loops.append(loop)
            self.threads.append(thread)
        self.until_answered_by("leader")

    def until_answered_by(self, role, quick=False):
        begin = len(self.answers)
        wait_for(lambda: any(one[1] == role and (not quick or float(one[2]) < 1) for one in self.answers[begin:]),
                 f"the loop is answered by the {role}", HANG_SECONDS_MAX)

    def breaker(self):
        breakers = request(self.hotel.port, "GET", "/breakers").json()["breakers"]
        return next(one for one in breakers if one["name"] == "service1")

    def until(self, state):
        wait_for(lambda: self.breaker()["state"] == state, f"the breaker is {state}", HANG_SECONDS_MAX)

    def no_line_shows_an_error(self):
        assert {one[0] for one in self.answers} == {"200"}, [one for one in self.answers if one[0] != "200"]

    def reasons(self):
        return [event["reason"] for event in self.breaker()["events"] if event["to"] == "open"]


def block_with(words):
    block = next((one for one in BLOCKS if words in one), None)
    assert block, f"the page has no block with {words}"
    walked.add(block)
    return block


@tap.test
def stopped_service_1_is_answered_for_by_service_2_and_comes_back():
    with folder() as run, Walk(run) as walk:
        walk.keep_reading()
        walk.step("kill $ONE")
        walk.until_answered_by("follower")
        walk.until("open")
        rooms = {"hotel": "Ours", "room_type": "A", "rooms": 3}
        answer = request(walk.hotel.port, "POST", "/v1/commands/AddRooms", rooms)
        assert answer.status == 503 and int(answer.headers["Retry-After"]) >= 1, answer
        assert answer.headers["Content-Type"] == "application/problem+json" and answer.json()["code"] == "breaker-open", answer
        walk.until("closed")
        walk.until_answered_by("leader")
        assert request(walk.hotel.port, "POST", "/v1/commands/AddRooms", rooms).status == 201
        assert walk.reasons()[0] == "consecutive", walk.reasons()
        walk.no_line_shows_an_error()


@tap.test
def hanging_service_1_costs_its_first_callers_a_timeout_and_nobody_after_that():
    with folder() as run, Walk(run) as walk:
        walk.keep_reading()
        walk.step("kill -STOP $ONE")
        walk.until("open")
        begin = len(walk.answers)
        walk.until_answered_by("follower", quick=True)
        assert any(4.5 < float(one[2]) < 8 for one in walk.answers[:begin + LOOPS]), walk.answers
        assert os.path.exists(f"/proc/{walk.one}")
        walk.step("kill -CONT $ONE")
        walk.until("closed")
        walk.until_answered_by("leader", quick=True)
        walk.no_line_shows_an_error()


@tap.test
def slow_service_1_is_left_alone_though_no_call_fails():
    with folder() as run, Walk(run, "--spoil") as walk:
        printed = walk.step("spoil.py slow 3").splitlines()
        answers = [line.split() for line in printed if line[:1].isdigit()]
        assert len(answers) == 24 and {one[0] for one in answers} == {"200"}, printed
        assert all(one[1] == "leader" and float(one[2]) >= 3 for one in answers[:12]), answers
        assert all(one[1] == "follower" and float(one[2]) < 2 for one in answers[12:]), answers
        assert walk.reasons() == ["slow_rate"], walk.breaker()
        assert walk.breaker()["latency"]["p50_ms"] > 2000, walk.breaker()["latency"]
        walk.step("spoil.py well")
        walk.keep_reading()
        walk.until("closed")


@tap.test
def service_1_that_answers_500_is_replaced_before_anyone_sees_it():
    with folder() as run, Walk(run, "--spoil") as walk:
        walk.keep_reading()
        walk.step("spoil.py 500")
        walk.until("open")
        walk.until_answered_by("follower", quick=True)
        assert walk.reasons()[0] == "consecutive", walk.reasons()
        walk.step("spoil.py well")
        walk.until("closed")
        walk.until_answered_by("leader", quick=True)
        walk.no_line_shows_an_error()


@tap.test
def orders_open_and_reset_it():
    with folder() as run, Walk(run) as walk:
        walk.step("service1/open")
        assert walk.breaker()["state"] == "closed" and [e["to"] for e in walk.breaker()["events"]] == ["forced_open", "closed"]


@tap.test
def no_block_of_the_page_was_left_out():
    left = [block for block in BLOCKS if block not in walked]
    assert BLOCKS and not left, left


if __name__ == "__main__":
    tap.main()
