"""Clients that mean no good, or cannot do better: each gets a clear answer or is let go, and the others go on."""
import http.client
import os
import resource
import socket
import threading
import time

from daybook_test import Server, Tap, raw, request, wait_for

tap = Tap()
# Long enough for an honest client on a busy machine, short enough to wait for.
SHORT = ["--limit", "header_ms_max=2000,body_ms_max=2000,idle_ms_max=2000,write_ms_max=1000"]


def status(answer):
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else None


def still_serves(server):
    assert server.is_running()
    assert request(server, "POST", "/v1/append", {"events": [{"type": "A", "data": 1}]}).status == 201


def text(line, *fields, body=b""):
    return "\r\n".join([line, "Host: localhost", "Connection: close", *fields, "", ""]).encode("latin-1") + body


@tap.test
def rubbish_is_answered_or_closed_never_left_hanging():
    with Server(options=SHORT) as server:
        for data, wanted in [
            (b"\x00\x01\x02\xff\xfe\r\n\r\n", {None, 400, 408}),
            (b"hello\r\n\r\n", {None, 400}),
            (b"GET /health\r\n\r\n", {400}),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {505}),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), {None, 400, 408}),
            (text("GET /health HTTP/0.9"), {505}),
            (text("GET /health HTTP/1.1", "no colon here"), {400}),
            (text("GET /v1/events HTTP/1.1", "X Y: z"), {400}),
            (text("GET /v1/events HTTP/1.1", "Host: other"), {400}),
            (text("POST /v1/append HTTP/1.1", "Content-Type: application/json", "Content-Length: abc"), {400}),
            (text("POST /v1/append HTTP/1.1", "Content-Type: application/json", "Content-Length: -1"), {400}),
            (text("POST /v1/append HTTP/1.1", "Content-Type: application/json", "Content-Length: " + "9" * 30), {413}),
            (text("POST /v1/append HTTP/1.1", "Content-Type: application/json", "Transfer-Encoding: chunked",
                  body=b"zz\r\n\r\n"), {400}),
            (text("POST /v1/append HTTP/1.1", "Content-Type: application/json", "Transfer-Encoding: gzip"), {501}),
            (text("POST /v1/append HTTP/1.1", "Content-Type: application/json", "Transfer-Encoding: chunked",
                  "Content-Length: 5", body=b"0\r\n\r\n"), {400}),
            (b"GET /v1/events HTTP/1.1\r\nConnection: close\r\n\r\n", {400}),
        ]:
            answer = raw(server, data)
            assert status(answer) in wanted, (data[:60], answer[:200])
        still_serves(server)


@tap.test
def random_bytes_do_no_harm():
    import random
    chance = random.Random(7)
    with Server(options=SHORT) as server:
        good = text("POST /v1/append?x=1 HTTP/1.1", "Content-Type: application/json", "Content-Length: 20",
                    body=b'{"events":[{"a":1}]}')
        for _ in range(150):
            data = bytearray(good)
            for _ in range(chance.randrange(1, 8)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            answer = raw(server, bytes(data[:chance.randrange(1, len(data) + 1)]), shut=True)
            assert answer == b"" or status(answer) is not None, answer[:100]
        still_serves(server)


@tap.test
def who_sends_a_byte_now_and_then_is_told_and_let_go():
    with Server(options=SHORT) as server:
        header = raw(server, text("GET /v1/events HTTP/1.1"), pieces=0.2)
        assert status(header) == 408 and b"header-timeout" in header, header
        body = raw(server, text("POST /v1/append HTTP/1.1", "Content-Type: application/json", "Content-Length: 50",
                                body=b'{"ev'))
        assert status(body) == 408 and b"body-timeout" in body, body
        assert raw(server, b"") == b""
        still_serves(server)


@tap.test
def a_connection_kept_alive_and_unused_is_closed():
    with Server(options=SHORT) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        assert request(connection, "GET", "/health").status == 200
        assert connection.sock.recv(1) == b""


@tap.test
def a_client_that_does_not_take_its_answer_is_cut():
    with Server(options=SHORT) as server:
        for _ in range(40):
            request(server, "POST", "/v1/append", {"events": [{"type": "A", "data": "x" * 400000}]})
        lazy = socket.socket()
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect(("127.0.0.1", server.port))
        lazy.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-ndjson\r\n\r\n")
        wait_for(lambda: b"daybook_http_requests_open 1\n" in request(server, "GET", "/metrics").body,
                 "the lazy client is cut, and only the question itself is open")
        lazy.close()
        still_serves(server)


@tap.test
def a_huge_header_target_or_body_is_refused_by_its_name():
    with Server() as server:
        for data, wanted in [
            (text("GET /v1/events HTTP/1.1", "X: " + "a" * 17000), 431),
            (text("GET /v1/events HTTP/1.1", "X: " + "a" * 300000), 431),
            (text("GET /v1/events HTTP/1.1", *[f"X{n}: a" for n in range(200)]), 431),
            (text("GET /v1/events HTTP/1.1", *[f"X{n}: a" for n in range(20000)]), 431),
            (text("GET /" + "a" * 9000 + " HTTP/1.1"), 414),
            (text("GET /" + "a" * 300000 + " HTTP/1.1"), 414),
            (text("GET /v1/events?" + "&".join(["a=1"] * 2000) + " HTTP/1.1"), 400),
            (text("POST /v1/append HTTP/1.1", "Content-Type: application/json", "Content-Length: 9000000",
                  body=b"x" * 9000000), 413),
            (text("POST /v1/append HTTP/1.1", "Content-Type: application/json", "Content-Length: 900000000000"), 413),
            (text("POST /v1/append HTTP/1.1", "Content-Type: application/json", "Content-Length: 9000000",
                  "Expect: 100-continue"), 413),
            (text("POST /v1/append HTTP/1.1", "Content-Type: application/json", "Transfer-Encoding: chunked",
                  body=b"ffffff\r\n" + b"x" * 0xffffff + b"\r\n0\r\n\r\n"), 413),
        ]:
            answer = raw(server, data)
            assert status(answer) == wanted, (data[:60], answer[:300])
        still_serves(server)


@tap.test
def half_open_and_broken_connections_leave_nothing_behind():
    with Server(options=SHORT) as server:
        for _ in range(50):
            left = socket.create_connection(("127.0.0.1", server.port))
            left.sendall(b"POST /v1/append HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
            left.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            left.close()  # a reset
        half = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        half.sendall(text("GET /health HTTP/1.1"))
        half.shutdown(socket.SHUT_WR)
        assert half.recv(100).startswith(b"HTTP/1.1 200")
        half.close()
        wait_for(lambda: b"daybook_http_requests_open 1\n" in request(server, "GET", "/metrics").body,
                 "only the question itself is open")
        still_serves(server)


@tap.test
def requests_sent_in_one_go_are_answered_one_after_another():
    with Server() as server:
        one = b"POST /v1/append HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
        body = b'{"events":[{"type":"A","data":1}]}'
        answer = raw(server, (one % (len(body), body)) * 50 + text("GET /v1/events?limit=1 HTTP/1.1"))
        assert answer.count(b"HTTP/1.1 201") == 50 and answer.count(b"HTTP/1.1 200") == 1, answer[:500]
        firsts = [int(piece.split(b",")[0]) for piece in answer.split(b'{"first":')[1:]]
        assert firsts == list(range(1, 51)), firsts


@tap.test
def without_descriptors_new_connections_wait_and_the_others_go_on():
    with Server() as server:
        old = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        assert request(old, "GET", "/health").status == 200
        pid = server.process.pid
        room = len(os.listdir(f"/proc/{pid}/fd")) + 3
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (room, before[1]))
        crowd = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(20)]
        for one in crowd:
            one.sendall(text("GET /health HTTP/1.1"))
        assert request(old, "GET", "/v1/events").status == 200
        for one in crowd:  # each gives its place to the next
            assert one.recv(100).startswith(b"HTTP/1.1 200")
            one.close()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        still_serves(server)


@tap.test
def three_hundred_connections_at_once_are_served():
    with Server() as server:
        connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=20) for _ in range(300)]
        for connection in connections:
            connection.connect()
        for connection in connections:
            assert request(connection, "GET", "/health").status == 200
        for connection in connections:
            connection.close()


@tap.test
def any_number_of_clients_writes_at_once_without_a_stall():
    for clients in (127, 128, 129):
        with Server() as server:
            failures = []

            def work():
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
                try:
                    for _ in range(5):
                        if request(connection, "POST", "/v1/append",
                                   {"events": [{"type": "A", "data": 1}]}).status != 201:
                            failures.append("not 201")
                except OSError as error:
                    failures.append(error)
                connection.close()

            threads = [threading.Thread(target=work) for _ in range(clients)]
            began = time.monotonic()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not failures, failures[:3]
            assert request(server, "GET", "/v1/events?limit=1").json()["head"] == clients * 5
            print(f"# {clients} clients: {clients * 5 / (time.monotonic() - began):.0f} appends/s")


tap.main()
