"""Real nginx processes and a scriptable upstream, for the tests in this folder.

A test file is a list of functions whose names are sentences; main() runs them and speaks TAP. Everything listens on
127.0.0.1, lives in a temporary folder and is ended by its own process id.
"""
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
MODULE = os.environ.get("BREAKER_MODULE", os.path.join(HERE, "../../build/nginx/ngx_http_breaker_module.so"))
NGINX = os.environ.get("NGINX_PROGRAM", shutil.which("nginx") or "/usr/sbin/nginx")
BUILD = pathlib.Path(MODULE).resolve().parents[1]
# The module may be built with sanitizers; the program that loads it is not, so their runtimes come first.
PRELOAD = os.environ.get("BREAKER_PRELOAD", "")
# What nginx is run by, e.g. "valgrind --log-file=@DIR@/valgrind.%p"; BREAKER_STATIC: the module is part of the program.
WRAPPER = os.environ.get("BREAKER_WRAPPER", "").split()
STATIC = bool(os.environ.get("BREAKER_STATIC"))
WAIT_S = float(os.environ.get("BREAKER_TEST_WAIT_S", "10"))


# What sanitizers and valgrind write when something is wrong; a worker that was killed leaves no summary.
WRONG = re.compile(r"ERROR: \w+Sanitizer|runtime error|Invalid (read|write|free)|uninitialised value|Mismatched free"
                   r"|overlap in|Process terminating with default action of signal (?!9 )|ERROR SUMMARY: [1-9]")


def wrapper(folder):
    """The words that go before nginx's own; their logs lie in folder."""
    return [part.replace("@DIR@", folder) for part in WRAPPER]


def environment(folder):
    """What a sanitized module needs in a program that is not; its reports lie in folder."""
    env = {**os.environ, "ASAN_OPTIONS": f"detect_leaks=0:abort_on_error=1:log_path={folder}/asan",
           "UBSAN_OPTIONS": f"halt_on_error=1:print_stacktrace=1:log_path={folder}/ubsan"}
    if PRELOAD:
        env["LD_PRELOAD"] = PRELOAD
    return env


def problems(folder):
    """The reports in folder that tell of something wrong."""
    reports = [open(os.path.join(folder, name), errors="replace").read() for name in os.listdir(folder)
               if name.startswith(("asan", "ubsan", "valgrind"))]
    return [report for report in reports if WRONG.search(report)]


def wait_for(condition, what, limit=WAIT_S):
    """Until condition() is true; its value. Never sleeps longer than it must."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {limit:g} s in vain: {what}")
        time.sleep(0.005)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Skip(Exception):
    """Raised by a test that cannot run here; its text says why."""


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {dict(self.headers)} {self.body[:200]!r}>"


class Upstream:
    """A service that does what `self.mode` says; a path's own mode (modes["/x"]) goes first.

    ok · 200…599 (that status) · reset · close (without an answer) · hang · garbage · truncate · slow:SECONDS ·
    trickle:SECONDS (the header at once, the body later) · feed · feed:SECONDS (so long silent before its last event) ·
    hold (until release()) · once-then-close (answers, keeps the connection, drops it when the next request comes) ·
    upgrade (101, then an echo)
    """

    def __init__(self, name="one", mode="ok"):
        self.name, self.mode, self.modes = name, mode, {}
        self.decide = None      # a function (method, path, headers) that says the mode
        self.headers = {}
        self.requests = []
        self.lock = threading.Lock()
        self.gate = threading.Event()
        self.listener = None
        self.port = free_port()
        self.connections = set()
        self.start()

    def start(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(512)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def stop(self):
        """The process is gone: the port refuses, connections break."""
        if self.listener:
            # a thread in accept() would keep the port open
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None
        self.gate.set()
        with self.lock:
            left, self.connections = self.connections, set()
        for c in left:
            try:
                c.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def count(self, path=None):
        with self.lock:
            return sum(1 for r in self.requests if path is None or r[1] == path)

    def forget(self):
        with self.lock:
            self.requests = []

    def release(self):
        self.gate.set()

    def _accept(self, listener):
        while True:
            try:
                c, _ = listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections.add(c)
            threading.Thread(target=self._serve, args=(c,), daemon=True).start()

    def _serve(self, c):
        served = 0
        try:
            f = c.makefile("rb")
            while True:
                line = f.readline()
                if not line:
                    return
                method, path, _ = line.decode().split(" ", 2)
                headers = {}
                while True:
                    h = f.readline().decode().strip()
                    if not h:
                        break
                    k, v = h.split(":", 1)
                    k = k.lower()       # said twice, both are seen
                    headers[k] = f"{headers[k]}, {v.strip()}" if k in headers else v.strip()
                body = f.read(int(headers.get("content-length", "0")))
                mode = self.modes.get(path.split("?")[0], self.mode)
                if self.decide:
                    mode = self.decide(method, path, headers)
                if mode == "once-then-close" and served:
                    return
                with self.lock:
                    self.requests.append((method, path, headers, body))
                served += 1
                if not self._answer(c, method, path, mode):
                    return
        except (OSError, ValueError):
            pass
        finally:
            with self.lock:
                self.connections.discard(c)
            c.close()

    def _answer(self, c, method, path, mode):
        """True: the connection goes on."""
        status = 200
        if mode.startswith("slow:"):
            time.sleep(float(mode[5:]))
        elif mode.isdigit():
            status = int(mode)
        elif mode == "reset":
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        elif mode == "close":
            return False
        elif mode == "hang":
            self.gate.wait(30)
            return False
        elif mode == "garbage":
            c.sendall(b"this is not HTTP\r\n\r\n")
            time.sleep(0.2)
            return False
        elif mode == "hold":
            self.gate.wait(30)
        elif mode == "upgrade":
            c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
            while True:
                data = c.recv(4096)
                if not data:
                    return False
                c.sendall(data)
        elif mode.startswith("feed"):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
                      b"Connection: close\r\n\r\ndata: first\n\n")
            self.gate.wait(float(mode[5:] or 30))
            c.sendall(b"data: last\n\n")
            return False
        body = json.dumps({"service": self.name, "path": path, "method": method}).encode()
        head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\nDaybook-Role: {self.name}\r\n"
        for k, v in self.headers.items():
            head += f"{k}: {v}\r\n"
        if status == 204:
            c.sendall((head + "\r\n").encode())
            return True
        if mode == "truncate":
            c.sendall((head + f"Content-Length: {len(body) + 1000}\r\n\r\n").encode() + body)
            return False
        if mode.startswith("trickle:"):
            c.sendall((head + f"Content-Length: {len(body)}\r\n\r\n").encode())
            time.sleep(float(mode[8:]))
            c.sendall(body)
            return True
        c.sendall((head + f"Content-Length: {len(body)}\r\n\r\n").encode() + (b"" if method == "HEAD" else body))
        return True


def ask(port, path, method="GET", headers=None, body=None, timeout=WAIT_S, host=None):
    """One request over a connection of its own."""
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    h = {"Connection": "close", **(headers or {})}
    if host:
        h["Host"] = host
    try:
        c.request(method, path, body=body, headers=h)
        r = c.getresponse()
        try:
            data = r.read()
        except http.client.IncompleteRead as e:
            data = e.partial
        return Answer(r.status, r.headers, data)
    finally:
        c.close()


class Nginx:
    """One nginx with the module, in a folder of its own."""

    def __init__(self, http, workers=2, main="", check=True):
        self.dir = tempfile.mkdtemp(prefix="daybook-nginx-")
        os.chmod(self.dir, 0o755)
        self.port = free_port()
        self.workers, self.main = workers, main
        self.process = None
        self.write(http)
        if check:
            self.start()

    def write(self, http):
        user = "user root;" if os.geteuid() == 0 else ""
        conf = f"""
{"" if STATIC else f"load_module {os.path.abspath(MODULE)};"}
{user}
daemon off;
pid {self.dir}/nginx.pid;
error_log {self.dir}/error.log {os.environ.get("BREAKER_LOG", "info")};
worker_processes {self.workers};
worker_shutdown_timeout 2s;
{self.main}
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {self.dir}/body;
    proxy_temp_path {self.dir}/proxy;
    fastcgi_temp_path {self.dir}/fastcgi;
    uwsgi_temp_path {self.dir}/uwsgi;
    scgi_temp_path {self.dir}/scgi;
    log_format t '$request_method $uri $status name=$breaker_name state=$breaker_state decision=$breaker_decision '
                 'reason=$breaker_reason retry=$breaker_retry_after fallback=$breaker_fallback '
                 'upstream=$upstream_addr upstream_status=$upstream_status';
    access_log {self.dir}/access.log t;
{http.replace("@DIR@", self.dir).replace("@PORT@", str(self.port))}
}}
"""
        with open(f"{self.dir}/nginx.conf", "w") as f:
            f.write(conf)

    def command(self, *more):
        return [*wrapper(self.dir), NGINX, *more, "-e", f"{self.dir}/error.log", "-p", self.dir, "-c", f"{self.dir}/nginx.conf"]

    def test(self):
        """nginx -t: (is it right, what it says)"""
        p = subprocess.run(self.command("-t"), env=environment(self.dir),
                           capture_output=True, text=True, timeout=60)
        return p.returncode == 0, p.stderr + p.stdout + self.error_log()

    def start(self):
        self.process = subprocess.Popen(self.command(), env=environment(self.dir),
                                        stdout=subprocess.DEVNULL, stderr=open(f"{self.dir}/stderr", "w"))
        wait_for(self._listens, f"nginx does not listen: {open(self.dir + '/stderr').read()}")

    def _listens(self):
        if self.process.poll() is not None:
            raise AssertionError("nginx ended: " + open(self.dir + "/stderr").read() + self.error_log())
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0 and len(self.worker_pids()) >= self.workers

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(10)
        found = problems(self.dir)
        alerts = [l for l in self.error_log().splitlines() if "[alert]" in l or "[emerg]" in l or "exited on signal" in l
                  and "signal 9" not in l]
        alerts = [l for l in alerts if "signal 9" not in l]
        shutil.rmtree(self.dir, ignore_errors=True)
        assert not found, found[0]
        assert not alerts, "nginx complained: " + "\n".join(alerts)

    def stop_quietly(self):
        """It was never started: nginx -t alone."""
        found = problems(self.dir)
        shutil.rmtree(self.dir, ignore_errors=True)
        assert not found, found[0]

    def worker_pids(self):
        try:
            children = open(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read().split()
        except FileNotFoundError:
            return []
        found = []
        for pid in children:
            if WRAPPER:             # the title is inside of the wrapper
                found.append(int(pid))
                continue
            try:
                if "worker process" in open(f"/proc/{pid}/cmdline").read() \
                        and "shutting" not in open(f"/proc/{pid}/cmdline").read():
                    found.append(int(pid))
            except (FileNotFoundError, ProcessLookupError):   # it ended meanwhile, or while it was read
                pass
        return found

    def reload(self, http=None):
        if http is not None:
            self.write(http)
        before = set(self.worker_pids())
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: len(set(self.worker_pids()) - before) >= self.workers and not before & set(self.worker_pids()),
                 "no new workers after SIGHUP")

    def error_log(self):
        try:
            return open(f"{self.dir}/error.log", errors="replace").read()
        except FileNotFoundError:
            return ""

    def access_log(self):
        try:
            return open(f"{self.dir}/access.log", errors="replace").read().splitlines()
        except FileNotFoundError:
            return []

    def logged(self, *words):
        """Until a line of the access log holds all words: nginx writes it after the answer."""
        return wait_for(lambda: any(all(w in line for w in words) for line in self.access_log()),
                        f"no line with {words}")

    def get(self, path, method="GET", headers=None, body=None, timeout=WAIT_S, host=None):
        return ask(self.port, path, method, headers, body, timeout, host)

    def breaker(self, name):
        """What breaker_status says of one breaker."""
        for b in self.get("/breakers").json["breakers"]:
            if b["name"] == name + (":test.example" if is_late and name == "b" else ""):
                return b
        raise AssertionError(f"no breaker {name} in /breakers")

    def state(self, name="b"):
        return self.breaker(name)["state"]

    def wait_state(self, state, name="b", limit=WAIT_S):
        wait_for(lambda: self.state(name) == state, f"{name} is not {state}", limit)

    def order(self, name, order, **kw):
        headers = {"Content-Type": "application/json"}
        headers.update(kw.pop("headers", {}))
        name += ":test.example" if is_late and name == "b" else ""
        return self.get(f"/breakers/{name}/{order}", method="POST", headers=headers, body="{}", **kw)


class Service:
    """Another program with a folder and a port of its own (@DIR@ and @PORT@ in its words), ready when it prints `ready`."""

    def __init__(self, command, ready, settings="", **environment):
        self.dir, self.port = tempfile.mkdtemp(prefix="daybook-service-"), free_port()
        with open(f"{self.dir}/settings", "w") as f:
            f.write(settings)
        words = [str(word).replace("@DIR@", self.dir).replace("@PORT@", str(self.port)) for word in command]
        with open(f"{self.dir}/log", "w") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir,
                                            env={**os.environ, **environment})
        wait_for(lambda: self._is_ready(ready), f"{command[0]} is not ready: {self.said()}")

    def _is_ready(self, ready):
        assert self.process.poll() is None, self.said()
        return re.search(ready, self.said())

    def said(self):
        return open(f"{self.dir}/log", errors="replace").read()

    def get(self, path, **more):
        return ask(self.port, path, **more)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        said = self.said()
        shutil.rmtree(self.dir, ignore_errors=True)
        assert "ERROR: Address" not in said and "runtime error" not in said, said


ADMIN = """
        location = /breakers { breaker_status; access_log off; }
        location /breakers/  { breaker_control; allow 127.0.0.1; deny all; }
"""


# A breaker that is surely open is asked before the content phase, all others at peer.get. With one key for all requests it is
# always peer.get: late() runs a test that way too.
is_late = False


def late(function):
    """The same test with the breaker asked at peer.get."""
    def run(scene):
        global is_late
        is_late = True
        try:
            function(scene)
        finally:
            is_late = False

    run.__name__ = function.__name__ + "_also_when_asked_at_peer_get"
    return run


def site(breaker, locations, upstreams="", http=""):
    """The http block of most tests: one breaker b, one server."""
    return f"""
    breaker_zone breakers 2m;
    breaker b {breaker}{" key=$server_name" if is_late else ""};
    {upstreams}
    {http}
    server {{
        listen 127.0.0.1:@PORT@;
        server_name test.example;
        {locations}
        {ADMIN}
    }}
"""


# One failure opens it, for the whole test.
ONE = "window=10s min_calls=1 failure_rate=100% consecutive=1 open=60s open_max=60s jitter=0%"


def two(scene, chain, extra="", breaker=ONE, mode="500", more="", http=""):
    one, other = scene.upstream("one", mode), scene.upstream("two")
    n = scene.nginx(site(breaker, f"""
        location / {{
            breaker_use b; breaker_fallback {chain}; proxy_pass http://127.0.0.1:{one.port};
            proxy_read_timeout 1s; {extra}
        }}
        location @service2 {{ proxy_pass http://127.0.0.1:{other.port}; }}
        location = /sorry.json {{ internal; root @DIR@; default_type application/json; }}
        {more}""", http=http))
    with open(n.dir + "/sorry.json", "w") as f:
        f.write('{"sorry":true}')
    return n, one, other


def certificate(kind="ec"):
    """A folder with cert.pem and key.pem, for tests that need TLS; kind: ec or rsa."""
    folder = tempfile.mkdtemp(prefix="daybook-cert-")
    option = "ec_paramgen_curve:prime256v1" if kind == "ec" else "rsa_keygen_bits:2048"
    subprocess.run(["openssl", "req", "-x509", "-newkey", kind, "-pkeyopt", option, "-nodes",
                    "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem", "-days", "2", "-subj",
                    "/CN=localhost"], check=True, capture_output=True)
    return folder


class Plan:
    """Runs tests and speaks TAP. Each gets a Scene that ends what it started."""

    def __init__(self):
        self.tests = []

    def __call__(self, function):
        self.tests.append(function)
        return function

    def run(self):
        only = sys.argv[1:]
        tests = [t for t in self.tests if not only or any(o in t.__name__ for o in only)]
        if not STATIC and not os.path.exists(MODULE):
            print(f"Bail out! no module {MODULE}: build it, or name it in BREAKER_MODULE")
            return 1
        print(f"1..{len(tests)}", flush=True)
        failed = 0
        for n, test in enumerate(tests, 1):
            scene = Scene()
            name = test.__name__.replace("_", " ")
            try:
                try:
                    test(scene)
                except Skip:
                    raise
                except BaseException:
                    scene.tell()
                    raise
                finally:
                    scene.end()
                print(f"ok {n} - {name}", flush=True)
            except Skip as reason:
                print(f"ok {n} - {name} # SKIP {reason}", flush=True)
            except Exception:
                failed += 1
                print(f"not ok {n} - {name}")
                for line in traceback.format_exc().splitlines():
                    print("#   " + line)
                sys.stdout.flush()
        return 1 if failed else 0


class Scene:
    def __init__(self):
        self.running = []

    def upstream(self, name="one", mode="ok"):
        u = Upstream(name, mode)
        self.running.append(u)
        return u

    def nginx(self, http, **kw):
        n = Nginx(http, **kw)
        self.running.append(n)
        return n

    def add(self, what):
        """Whatever has a stop()."""
        self.running.append(what)
        return what

    def end(self):
        problem = None
        for r in reversed(self.running):
            try:
                r.stop()
            except Exception as e:
                problem = problem or e
        if problem:
            raise problem

    def tell(self):
        for r in self.running:
            if isinstance(r, Nginx):
                for line in r.error_log().splitlines()[-15:]:
                    print("#   " + line)
                for line in r.access_log()[-8:]:
                    print("#   " + line)


test = Plan()


def together(count, function, *args):
    """function(*args) in `count` threads at once; their results."""
    results = [None] * count
    barrier = threading.Barrier(count)

    def one(i):
        barrier.wait()
        try:
            results[i] = function(*args)
        except Exception as e:
            results[i] = e

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


if __name__ == "__main__":  # does nginx start in this environment, with the module?
    tried = Nginx("server { listen 127.0.0.1:@PORT@; }")
    tried.stop()
    print(f"1..0 # SKIP nginx starts, on port {tried.port}")
