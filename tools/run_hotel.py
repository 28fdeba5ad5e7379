#!/usr/bin/env python3
"""Start the hotel whole: the daybook server, its follower, and nginx with the breaker in front. Ctrl-C ends it.

    tools/run_hotel.py [--build build] [--run run] [--port 8080] [--leader-port 7070] [--follower-port 7071]

Everything listens on 127.0.0.1 and keeps its data under ./run/. The first start fills the hotel with an invented year
of bookings; a later one keeps what is there. A service that ends by itself, or that you end to see what happens, is
started again after --restart-after seconds.

Exit: 0 ended by Ctrl-C, 2 used wrongly (a port in use), 3 something would not start.
"""
import argparse
import ctypes
import datetime
import fcntl
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "nginx" / "gateway"))

import gateway  # noqa: E402  (found by the line above)

USED_WRONGLY, FAILED = 2, 3
START_SECONDS_MAX = 60      # replaying a journal takes a while
STOP_SECONDS_MAX = 20       # draining
SEED = 7
PR_SET_PDEATHSIG = 1
LINES_SHOWN = 15

libc = ctypes.CDLL(None)


class Trouble(Exception):
    """Ends the run. Its text is for the person at the terminal."""

    def __init__(self, text, code=FAILED):
        super().__init__(text)
        self.code = code


def say(text=""):
    print(text, flush=True)


class Service:
    """One process: what starts it, the line that says it is ready, and a file with what it says."""

    def __init__(self, name, what, command, ready, log, environment=None):
        self.name, self.what, self.log = name, what, log
        self.command = [str(part) for part in command]
        self.ready = re.compile(ready)
        self.environment = {**os.environ, **(environment or {})}
        self.process = None
        self.started = 0.0

    def start(self):
        with open(self.log, "ab") as out:
            begins = out.tell()
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=subprocess.STDOUT, env=self.environment, start_new_session=True,
                                            preexec_fn=end_with_parent)
        self.started = time.monotonic()
        while not self.ready.search(self.said(begins)):
            if self.process.poll() is not None:
                raise Trouble(f"{self.what} did not start:\n{self.last_lines(begins)}")
            if time.monotonic() > self.started + START_SECONDS_MAX:
                raise Trouble(f"{self.what} was not ready within {START_SECONDS_MAX} s; see {self.log}")
            time.sleep(0.02)

    def said(self, begins):
        with open(self.log, "rb") as file:
            file.seek(begins)
            return file.read().decode(errors="replace")

    def last_lines(self, begins=0):
        return "\n".join("    " + line for line in self.said(begins).splitlines()[-LINES_SHOWN:])

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGCONT)    # it may have been stopped by hand
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            say(f"{self.what} does not stop; it is killed")
            self.process.kill()
            self.process.wait()


def end_with_parent():
    """In the child: when this script is killed, nothing of the hotel is left behind."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def port_number(text):
    """A port as an option takes it."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text}")
    return int(text)


def check_ports(arguments):
    taken = {}
    for port, what, option in ((arguments.port, "the gateway", "--port"),
                               (arguments.leader_port, "service 1", "--leader-port"),
                               (arguments.follower_port, "service 2", "--follower-port")):
        if port in taken:
            raise Trouble(f"Port {port} is meant for {taken[port]} and for {what}; choose another with {option} PORT.",
                          USED_WRONGLY)
        taken[port] = what
        check_port(port, what, option)


def check_port(port, what, option):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Trouble(f"Port {port}, meant for {what}, cannot be had: {error.strerror}.\n"
                          f"Something else listens there; choose another with {option} PORT.", USED_WRONGLY) from None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def lock(folder):
    """Only one hotel for each folder. The file stays open, and locked, as long as we run."""
    file = open(folder / "lock", "a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        raise Trouble(f"The hotel in {folder} is open already (process {file.read().strip()}).", USED_WRONGLY) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def services_of(arguments, folder):
    """Service 1, service 2 and the gateway, in the order in which they start."""
    build = pathlib.Path(arguments.build).resolve()
    daybook, hotel = build / "daybook", build / "examples" / "hotel"
    for needed in (daybook, hotel / "app.so", gateway.module(build)):
        if not needed.exists():
            raise Trouble(f"{needed} is missing: `make` builds it.", USED_WRONGLY)

    def serve(name, port, *more):
        return [daybook, "serve", "--data", folder / name, "--listen", f"127.0.0.1:{port}", *more, hotel]

    url = r"http://[0-9.]+:\d+"
    spoilt = free_port() if arguments.spoil else None
    spoiler = [Service("spoiler", "what spoils service 1", [ROOT / "tools" / "spoil.py", "--listen", spoilt, "--to",
                                                            arguments.leader_port, "--at", folder / "spoil"],
                       "^spoils ", folder / "spoiler.log")] if spoilt else []
    gateway.write(folder / "gateway", build=build, port=arguments.port, leader=spoilt or arguments.leader_port,
                  follower=arguments.follower_port)
    return [
        Service("leader", "service 1 (the leader)", serve("leader", arguments.leader_port), url, folder / "leader.log"),
        Service("follower", "service 2 (the follower)",
                serve("follower", arguments.follower_port, "--follow", f"http://127.0.0.1:{arguments.leader_port}"), url,
                folder / "follower.log"),
        *spoiler,
        Service("gateway", "the gateway (nginx)", gateway.command(folder / "gateway"), gateway.READY,
                folder / "gateway.log", gateway.environment(build)),
    ]


def fill(arguments, folder):
    """An invented year, once. Interrupted, it goes on where it was: `daybook import` remembers."""
    done, year = folder / "filled", folder / "year.ndjson"
    if done.exists() or arguments.empty:
        return
    build = pathlib.Path(arguments.build).resolve()
    if not year.exists():
        say("Inventing a year of bookings …")
        draft = folder / "year.ndjson.draft"
        with open(draft, "wb") as out:
            subprocess.run([build / "examples" / "hotel" / "generate-year", "--today",
                            datetime.date.today().isoformat(), "--seed", str(SEED)], stdout=out, check=True)
        draft.rename(year)
    with open(year, "rb") as file:
        say(f"Filling the hotel with {sum(1 for _ in file):,} commands …")
    code = subprocess.run([build / "daybook", "import", year],
                          env={**os.environ, "DAYBOOK_URL": f"http://127.0.0.1:{arguments.leader_port}"}).returncode
    if code not in (0, 1):      # 1: some commands were refused, which is for the hotel to say
        raise Trouble("The hotel could not be filled; start again to go on.")
    done.touch()


def tell(arguments, services):
    one = services[0].process.pid
    say(f"""
  The hotel is open:   http://127.0.0.1:{arguments.port}/
  Its breakers:        http://127.0.0.1:{arguments.port}/breakers/dashboard/

  service 1, leader    http://127.0.0.1:{arguments.leader_port}/    process {one}
  service 2, follower  http://127.0.0.1:{arguments.follower_port}/    process {services[1].process.pid}

  Break it:  kill -STOP {one}  lets service 1 hang, kill -CONT {one} heals it, kill {one} ends it
             (it is started again after {arguments.restart_after:g} s). Ctrl-C closes the hotel; its data stays in {arguments.run}/.
""")
    if arguments.spoil:
        say("  Spoil it:  tools/spoil.py slow, 500, hang or well\n")


def watch(arguments, services):
    """Until Ctrl-C: a service that ended is started again after a while, long enough to see the breaker work."""
    ended = {}
    while True:
        now = time.monotonic()
        for service in services:
            if service.process.poll() is None:
                continue
            if service.name not in ended:
                ended[service.name] = now
                say(f"{service.what} ended ({how(service.process.returncode)}); "
                    f"it is started again in {arguments.restart_after:g} s.")
            elif now - ended[service.name] >= arguments.restart_after:
                del ended[service.name]
                service.start()
                say(f"{service.what} is back, process {service.process.pid}.")
        time.sleep(0.2)


def how(code):
    return f"signal {-code}, {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def run(arguments):
    folder = pathlib.Path(arguments.run).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = lock(folder)
    except OSError as error:
        raise Trouble(f"The data cannot be kept in {folder}: {error.strerror}; choose another folder with --run FOLDER.",
                      USED_WRONGLY) from None
    check_ports(arguments)
    services = services_of(arguments, folder)
    try:
        for service in services:
            say(f"Starting {service.what} …")
            service.start()
        fill(arguments, folder)
        tell(arguments, services)
        watch(arguments, services)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        say("Closing the hotel …")
        for service in reversed(services):
            service.stop()
        gateway.forget(folder / "gateway")
        held.close()


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="where daybook was built (build)")
    parser.add_argument("--run", default="run", help="where the data is kept (run)")
    parser.add_argument("--port", type=port_number, default=8080, help="the gateway's port: what a browser opens (8080)")
    parser.add_argument("--leader-port", type=port_number, default=7070, help="service 1 (7070)")
    parser.add_argument("--follower-port", type=port_number, default=7071, help="service 2 (7071)")
    parser.add_argument("--restart-after", type=float, default=20.0, metavar="SECONDS",
                        help="when a service that ended is started again (20)")
    parser.add_argument("--spoil", action="store_true",
                        help="put something before service 1 that tools/spoil.py makes slow, or answer 500")
    parser.add_argument("--empty", action="store_true", help="open an empty hotel")
    return parser.parse_args()


def main():
    os.chdir(ROOT)
    for ends in (signal.SIGINT, signal.SIGTERM):    # also when a shell had SIGINT ignored, as it does behind a `&`
        signal.signal(ends, signal.default_int_handler)
    try:
        run(parse())
    except KeyboardInterrupt:
        say("Closed.")
        return 0
    except Trouble as trouble:
        print(f"run_hotel: {trouble}", file=sys.stderr)
        return trouble.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
