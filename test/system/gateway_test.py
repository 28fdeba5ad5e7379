"""The hotel's gateway as a process, for tests that run the whole hotel.

    with Server(app=HOTEL) as leader, Server(app=HOTEL, follow=leader) as follower, Gateway(leader, follower) as gateway:
        request(gateway, "GET", "/v1/views/availability")

`gateway.breaker("service1")` is what /breakers says of one breaker; open, open_max, ramp and workers overrule the
times of nginx/gateway/hotel.conf.in. Run by itself, it tests the gateway against two services made of Python.
"""
import http.server
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "nginx" / "gateway"))

import gateway as nginx_gateway
from daybook_test import BUILD, Process, Tap, request, wait_for


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Gateway(Process):
    """nginx with our module in front of a leader and a follower (a Server or a port each). Keeps its port."""

    def __init__(self, leader, follower, port=0, folder=None, open="200ms", open_max="1s", ramp="0", workers=2):
        self.own_folder = None if folder else tempfile.mkdtemp(prefix="daybook-gateway-")
        if self.own_folder:
            os.chmod(self.own_folder, 0o711)        # for nginx's workers, who are not root
        self.folder = pathlib.Path(folder or self.own_folder)
        self.services = (leader, follower)
        self.port = port
        self.rules = {"open": open, "open_max": open_max, "ramp": ramp, "workers": workers}
        super().__init__(nginx_gateway.command(self.folder), nginx_gateway.READY, nginx_gateway.environment(BUILD))

    def start(self):
        self.port = self.port or free_port()
        leader, follower = (getattr(service, "port", service) for service in self.services)
        nginx_gateway.write(self.folder, build=BUILD, port=self.port, leader=leader, follower=follower, **self.rules)
        return super().start()

    def kill(self):
        """At once, and with its workers: nginx's workers would outlive a master that is killed."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                pass
        super().kill()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def breakers(self):
        return {one["name"]: one for one in request(self, "GET", "/breakers").json()["breakers"]}

    def breaker(self, name="service1"):
        return self.breakers()[name]

    def wait_state(self, state, name="service1", seconds=15.0):
        wait_for(lambda: self.breaker(name)["state"] == state, f"{name} is {state}", seconds)

    def access_log(self):
        path = self.folder / "access.log"
        return path.read_text().splitlines() if path.exists() else []

    def __exit__(self, kind, value, trace):
        super().__exit__(kind, value, trace)
        if self.own_folder:
            shutil.rmtree(self.own_folder, ignore_errors=True)


class Service:
    """A service made of Python that says who it is."""

    def __init__(self, role, port=0):
        self.role, self.port = role, port
        self.dies_on = None     # a path: the connection is reset when it is asked for
        self.server = None

    def __enter__(self):
        service, role, self.connections, self.headers = self, self.role, [], []
        connections, headers = self.connections, self.headers

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                connections.append(self.connection)

            def do_GET(self):
                headers.append(self.headers)
                if self.path == service.dies_on:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                    self.close_connection = True
                    return
                size = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(size)
                if "text/event-stream" in self.headers.get("Accept", ""):
                    return self.feed()
                body = f"{role} {self.command} {self.path} {len(body)}".encode()
                self.send_response(200)
                self.send_header("Daybook-Role", role)
                self.send_header("Daybook-Position", "7")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else body)

            do_POST = do_PUT = do_DELETE = do_HEAD = do_GET

            def feed(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Daybook-Role", role)
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(b"data: one\n\n")
                self.wfile.flush()
                self.connection.recv(1)         # until the other side leaves

            def log_message(self, *_):
                pass

        class Threads(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

        self.server = Threads(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        for connection in self.connections:     # a process that dies takes its connections with it
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


tap = Tap()


@tap.test
def reads_go_to_service_1_and_tell_role_and_position():
    with Service("leader") as one, Service("follower") as two, Gateway(one, two) as gateway:
        for method in ("GET", "HEAD"):
            answer = request(gateway, method, "/v1/views/availability?hotel=eq.Ours")
            assert answer.status == 200 and answer.headers["Daybook-Role"] == "leader", answer
            assert answer.headers["Daybook-Position"] == "7"
        answer = request(gateway, "POST", "/v1/commands/BookRoom", {"a": 1})
        assert answer.body == b"leader POST /v1/commands/BookRoom 8", answer


@tap.test
def the_services_see_the_name_the_client_used_and_an_id():
    with Service("leader") as one, Service("follower") as two, Gateway(one, two) as gateway:
        for method, body in (("GET", None), ("POST", {"a": 1})):
            request(gateway, method, "/v1/commands/X" if body else "/v1/views/x", body, headers={"Host": "localhost:1234", "traceparent": "00-1-2-03"})
            seen = one.headers[-1]
            assert seen["Host"] == "localhost:1234" and len(seen["X-Request-Id"]) == 32, seen
            assert seen["traceparent"] == "00-1-2-03", seen


@tap.test
def service_1_dies_reads_go_on_at_service_2_and_commands_get_503_until_it_is_back():
    with Service("follower") as two:
        one = Service("leader").__enter__()
        with Gateway(one, two, open="1s", open_max="1s") as gateway:
            assert request(gateway, "GET", "/v1/events").headers["Daybook-Role"] == "leader"
            one.__exit__()

            for _ in range(8):
                answer = request(gateway, "GET", "/v1/events")
                assert answer.status == 200 and answer.headers["Daybook-Role"] == "follower", answer
            assert gateway.breaker()["state"] != "closed", gateway.breaker()

            answer = request(gateway, "POST", "/v1/commands/BookRoom", {"a": 1})
            assert answer.status == 503 and int(answer.headers["Retry-After"]) >= 1, answer
            assert answer.headers["Content-Type"] == "application/problem+json", answer.headers
            assert answer.json()["code"] == "breaker-open" and answer.json()["breaker"] == "service1", answer

            with Service("leader", one.port):
                wait_for(lambda: request(gateway, "GET", "/v1/events").headers["Daybook-Role"] == "leader", "probes")
                wait_for(lambda: request(gateway, "GET", "/") and gateway.breaker()["state"] == "closed", "closed again")
                assert request(gateway, "POST", "/v1/commands/BookRoom", {"a": 1}).status == 200


@tap.test
def without_both_services_reads_get_503_too():
    gone = free_port()
    with Gateway(gone, gone) as gateway:
        answers = [request(gateway, method, "/v1/commands/X" if method == "POST" else "/x")
                   for method in ("POST", "GET", "GET", "POST") + ("GET",) * 6]
        assert answers[-1].status == 503 and answers[-1].headers["Retry-After"], answers[-1]
        assert all(answer.status in (502, 503) for answer in answers), answers
        assert all(answer.headers["Content-Type"] == "application/problem+json" for answer in answers), answers


@tap.test
def a_command_whose_service_dies_under_it_gets_a_problem_and_is_not_repeated():
    with Service("leader") as one, Service("follower") as two, Gateway(one, two) as gateway:
        one.dies_on = "/v1/commands/BookRoom"
        answer = request(gateway, "POST", "/v1/commands/BookRoom", {"a": 1}, headers={"Idempotency-Key": "k"})
        assert answer.status == 502 and answer.json()["status"] == 502, answer
        assert answer.headers["Content-Type"] == "application/problem+json", answer.headers
        assert len(one.headers) == 1 and not two.headers, (one.headers, two.headers)


@tap.test
def a_feed_passes_event_by_event_and_moves_to_service_2():
    with Service("follower") as two:
        one = Service("leader").__enter__()
        with Gateway(one, two) as gateway:
            for role in ("leader", "follower"):
                feed = socket.create_connection(("127.0.0.1", gateway.port), timeout=5)
                feed.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
                head = b""
                while b"data: one" not in head:
                    part = feed.recv(4096)
                    assert part, head
                    head += part
                assert f"Daybook-Role: {role}".encode() in head, head
                feed.close()
                if role == "leader":
                    one.__exit__()


@tap.test
def the_breakers_have_a_page_that_runs_nothing_but_its_own_scripts():
    with Service("leader") as one, Service("follower") as two, Gateway(one, two) as gateway:
        page = request(gateway, "GET", "/breakers/dashboard/")
        assert page.status == 200 and page.headers["Content-Type"] == "text/html", page
        assert "default-src 'self'" in page.headers["Content-Security-Policy"], page.headers
        for name in re.findall(rb'(?:src|href)="([^"]+)"', page.body) + [b"card.js", b"words.js"]:
            part = request(gateway, "GET", "/breakers/dashboard/" + name.decode())
            assert part.status == 200 and part.body, (name, part)
        answer = request(gateway, "POST", "/breakers/service1/open", {})
        assert answer.json()["state"] == "forced_open", answer
        assert request(gateway, "GET", "/x").headers["Daybook-Role"] == "follower"
        assert request(gateway, "POST", "/breakers/service1/reset", {}).json()["state"] == "closed"


@tap.test
def a_gateway_that_is_killed_leaves_no_worker_behind():
    gateway = Gateway(free_port(), free_port()).start()
    workers = [int(line.split()[-1]) for line in gateway.lines if "start worker process " in line]
    gateway.kill()
    assert workers
    wait_for(lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in workers), f"{workers} are gone")
    gateway.__exit__(None, None, None)


@tap.test
def what_nginx_says_by_itself_is_a_problem_too():
    with Service("leader") as one, Service("follower") as two, Gateway(one, two) as gateway:
        for sent, status in ((b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
                             (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 40000 + b"\r\n\r\n", 400),
                             (b"GET /" + b"z" * 70000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
                             (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", 413),
                             (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: odd\r\n\r\n", 501),
                             (b"GET /v1/log HTTP/1.1\r\nHost: x\r\n\r\n", 404),
                             (b"GET /../../x HTTP/1.1\r\nHost: x\r\n\r\n", 400)):
            connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=5)
            connection.sendall(sent)
            connection.settimeout(5)
            answer = b""
            while b"}" not in answer:
                part = connection.recv(65536)
                assert part, (sent[:60], answer)
                answer += part
            connection.close()
            assert f" {status} ".encode() in answer.split(b"\r\n")[0], (sent[:60], answer)
            assert b"application/problem+json" in answer and b'"status":' + str(status).encode() in answer, answer


if __name__ == "__main__":
    tap.main()
