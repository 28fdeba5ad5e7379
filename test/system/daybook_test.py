"""What the tests that use real processes share: servers, requests, waiting, TAP.

    from daybook_test import Server, Tap, request, wait_for

    tap = Tap()

    @tap.test
    def an_append_answers_its_position():
        with Server() as server:
            answer = request(server, "POST", "/v1/append", {"events": [{"type": "A", "data": 1}]})
            assert answer.status == 201, answer

    tap.main()

The name of a test is its function's name, a sentence. A test fails by an exception. Nothing sleeps to wait: wait_for()
asks again until a condition holds, with a limit. Servers listen on 127.0.0.1, on a port of their own choosing, and are
ended by their own process id. Where things are comes from the environment: DAYBOOK_BUILD (the build folder),
DAYBOOK_SHARED (the shared test data).
"""
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("DAYBOOK_BUILD", ROOT / "build")).resolve()
SHARED = pathlib.Path(os.environ.get("DAYBOOK_SHARED", ROOT.parent / "shared")).resolve()
DAYBOOK = BUILD / "daybook"
HOTEL = BUILD / "examples" / "hotel"
START_SECONDS = 30


class Skip(Exception):
    """Raised by a test that cannot run here; its text says why."""


def wait_for(condition, what, seconds=10.0, every=0.01):
    """Ask until condition() is true and return that; AssertionError naming `what` when it takes longer."""
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(every)


class Answer:
    """A whole HTTP answer. `headers` finds names in any case."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    @property
    def position(self):
        return int(self.headers.get("Daybook-Position", 0))

    def __repr__(self):
        return f"<{self.status} {self.body[:400]!r}>"


def request(where, method, path, body=None, headers=None, timeout=15.0):
    """One request on a connection of its own. `where` is a Server, a port, or an open http.client connection."""
    if isinstance(where, http.client.HTTPConnection):
        connection = where
    else:
        connection = http.client.HTTPConnection("127.0.0.1", getattr(where, "port", where), timeout=timeout)
    headers = dict(headers or {})
    if body is not None and not isinstance(body, (bytes, str)):
        body = json.dumps(body, ensure_ascii=False).encode()
    if (body is not None or method == "POST") and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "application/json"
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        if connection is not where:
            connection.close()


class Process:
    """A program that says in one line when it is ready, and is ended by its own process id."""

    def __init__(self, command, ready, environment=None, cwd=None):
        self.command, self.ready = [str(part) for part in command], re.compile(ready)
        self.environment = {**os.environ, **(environment or {})}
        self.cwd = cwd
        self.process = None
        self.lines = []
        self.match = None

    def start(self):
        self.match = None
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, env=self.environment, cwd=self.cwd)
        reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        reader.start()
        try:
            wait_for(lambda: self.match or self.process.poll() is not None, f"{self.command[0]} is ready", START_SECONDS)
            if not self.match:
                reader.join(5)
                raise AssertionError("it ended instead of getting ready")
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{' '.join(self.command)}: {error}\n" + "".join(self.lines[-30:])) from None
        return self

    def _read(self, process):
        for line in process.stdout:
            text = line.decode(errors="replace")
            self.lines.append(text)
            self.match = self.match or self.ready.search(text)
        process.stdout.close()

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        """SIGKILL, and wait until it is gone."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()

    def stop(self, seconds=20):
        """SIGTERM, and the exit code; SIGKILL when it takes longer."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.command[0]} did not stop within {seconds} s of SIGTERM") from None

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.stop()
        else:
            self.kill()
            sys.stdout.write("".join(f"# {line.rstrip()}\n" for line in self.lines[-20:]))


class Server(Process):
    """`daybook serve`. Without `data` it has a folder of its own that goes with it. Keeps its port over restarts."""

    def __init__(self, app=None, data=None, follow=None, options=(), port=0):
        self.own_folder = None if data else tempfile.mkdtemp(prefix="daybook-test-")
        self.data = pathlib.Path(data or self.own_folder)
        self.app, self.follow, self.options, self.port = app, follow, list(options), port
        super().__init__([], r"http://[0-9.]+:(\d+)")

    def start(self):
        self.command = [str(DAYBOOK), "serve", "--data", str(self.data), "--listen", f"127.0.0.1:{self.port}"]
        if self.follow:
            self.command += ["--follow", self.follow if isinstance(self.follow, str) else self.follow.url]
        self.command += self.options + ([str(self.app)] if self.app else [])
        super().start()
        self.port = int(self.match.group(1))
        return self

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def __exit__(self, kind, value, trace):
        was_running = self.is_running()
        super().__exit__(kind, value, trace)
        self.remove()
        if kind is None and was_running:  # a leak or a race that a sanitizer found shows here
            code = self.process.returncode
            assert code == 0, f"the server ended with {code}\n" + "".join(self.lines[-60:])

    def remove(self):
        if self.own_folder:
            shutil.rmtree(self.own_folder, ignore_errors=True)


def raw(server, data, timeout=15.0, pieces=0.0, shut=False):
    """Send bytes as they are on a connection of its own; everything the server sends until it closes. With `pieces`, byte
    by byte with that many seconds between two; with `shut`, say afterwards that nothing more will come."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as connection:
        try:
            for piece in ([data[i:i + 1] for i in range(len(data))] if pieces else [data]):
                connection.sendall(piece)
                time.sleep(pieces)
            if shut:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has closed before all was sent: what it said still counts
        received = b""
        try:
            while True:
                piece = connection.recv(65536)
                if not piece:
                    return received
                received += piece
        except ConnectionResetError:
            return received


class Subscription:
    """A client of server-sent events. next() gives one frame: {"id", "event", "data"}; comments are counted."""

    def __init__(self, server, path="/v1/events", last=None, timeout=15.0, headers=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", getattr(server, "port", server), timeout=timeout)
        self.connection.request("GET", path, headers={"Accept": "text/event-stream", **(headers or {}),
                                                      **({"Last-Event-ID": last} if last else {})})
        self.answer = self.connection.getresponse()
        self.comments, self.retry, self.last = 0, None, last

    def next(self):
        frame = {"event": None, "data": None}
        while True:
            line = self.answer.readline()
            if not line:
                raise EOFError("the subscription has ended")
            line = line.decode().rstrip("\n")
            if line.startswith(":"):
                self.comments += 1
                return {"event": "comment", "data": None}
            if line == "" and (frame["data"] is not None or frame["event"]):
                self.last = frame.get("id", self.last)
                return frame
            name, _, value = line.partition(": ")
            if name == "retry":
                self.retry = int(value)
            elif name == "data":
                frame["data"] = json.loads(value)
            elif name:
                frame[name] = value

    def events(self, count):
        """The next `count` events, without the server's own frames."""
        found = []
        while len(found) < count:
            frame = self.next()
            if frame["event"] is None or not (frame["event"].startswith("daybook.") or frame["event"] == "comment"):
                found.append(frame)
        return found

    def close(self):
        self.answer.close()
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def daybook(*arguments, input=None, timeout=120, url=None):
    """Run a subcommand to its end: (exit code, standard output, standard error)."""
    environment = {**os.environ, **({"DAYBOOK_URL": url} if url else {})}
    done = subprocess.run([str(DAYBOOK), *map(str, arguments)], input=input, capture_output=True, text=True,
                          timeout=timeout, env=environment)
    return done.returncode, done.stdout, done.stderr


@contextlib.contextmanager
def folder():
    """A folder that is gone afterwards."""
    path = tempfile.mkdtemp(prefix="daybook-test-")
    try:
        yield pathlib.Path(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Tap:
    """Collects tests and runs them, one TAP line each. With arguments, only those whose names contain one of them."""

    def __init__(self):
        self.tests = []

    def test(self, function):
        self.tests.append(function)
        return function

    def main(self):
        wanted = sys.argv[1:]
        tests = [test for test in self.tests if not wanted or any(word in test.__name__ for word in wanted)]
        failed = 0
        print(f"1..{len(tests)}", flush=True)
        for number, test in enumerate(tests, 1):
            name = test.__name__.replace("_", " ")
            began = time.monotonic()
            try:
                test()
                print(f"ok {number} - {name}", flush=True)
            except Skip as reason:
                print(f"ok {number} - {name} # SKIP {reason}", flush=True)
            except Exception:
                failed += 1
                print("".join(f"# {line}\n" for line in traceback.format_exc().splitlines()), end="")
                print(f"not ok {number} - {name}", flush=True)
            print(f"# {time.monotonic() - began:.1f} s", flush=True)
        sys.exit(1 if failed else 0)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
