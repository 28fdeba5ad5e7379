"""The example says what its README says, and processes beside the one that writes see what it wrote."""
import pathlib
import re
import subprocess
import sys

from daybook_test import Process, Tap, folder, wait_for

GUESTS = sys.argv.pop(1)
README = pathlib.Path(__file__).with_name("README.md").read_text()
tap = Tap()


def guests(*arguments):
    done = subprocess.run([GUESTS, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@tap.test
def it_prints_what_the_readme_says():
    session = re.search(r"```\n(\$ guests.*?)```", README, re.S).group(1)
    steps = re.findall(r"^\$ guests \./book ?(.*)\n((?:\d.*\n)+)", session, re.M)
    assert len(steps) == 3, session
    with folder() as place:
        for names, expected in steps:
            assert guests(place, *names.split()) == expected, names


@tap.test
def processes_that_read_see_what_another_writes_in_order_and_whole():
    with folder() as place:
        guests(place, "first")
        readers = [Process([GUESTS, place, "--watch", 60], "watching").start() for _ in range(3)]
        for number in range(20):
            guests(place, *(f"n-{number}-{part}" for part in range(3)))
        expected = [f"{2 + number * 3 + part} n-{number}-{part}" for number in range(20) for part in range(3)]
        for reader in readers:
            wait_for(lambda: not reader.is_running(), "it has seen all of them", 60)
            assert reader.process.returncode == 0, reader.lines
            assert [line.strip() for line in reader.lines if line[0].isdigit()] == expected, reader.lines


tap.main()
