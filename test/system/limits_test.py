"""Every row of the tables of limits, exceeded once: each is answered clearly, as its sentence says, and the server goes on.

The list of rows comes from `daybook serve --limits`; a row without a test here fails the last test."""
import http.client
import json
import socket
import threading
import time

from daybook_test import Server, Subscription, Tap, daybook, raw, request, wait_for

tap = Tap()
tested = set()


def limited(name, value, **more):
    tested.add(name)
    return Server(options=["--limit", f"{name}={value}" + "".join(f",{key}={other}" for key, other in more.items())])


def get(path, *fields):
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *fields, "", ""]).encode()


def is_refused(answer, status, code):
    assert answer.startswith(b"HTTP/1.1 %d " % status) and b'"code":"%s"' % code.encode() in answer, answer[:400]


def append(server, *data):
    answer = request(server, "POST", "/v1/append", {"events": [{"type": "A", "data": one} for one in data]})
    assert answer.status == 201, answer
    return answer


def metric(server, name):
    for line in request(server, "GET", "/metrics").body.decode().splitlines():
        if line.startswith(f"daybook_{name} "):
            return float(line.split()[1])
    raise AssertionError(f"no metric {name}")


@tap.test
def header_size_max():
    with limited("header_size_max", 2000) as server:
        is_refused(raw(server, get("/v1/events", "X: " + "a" * 2000)), 431, "header-too-large")
        assert raw(server, get("/v1/events", "X: " + "a" * 1000)).startswith(b"HTTP/1.1 200")


@tap.test
def header_count_max():
    with limited("header_count_max", 5) as server:
        is_refused(raw(server, get("/v1/events", *["X: a"] * 4)), 431, "too-many-header-fields")
        assert raw(server, get("/v1/events", *["X: a"] * 3)).startswith(b"HTTP/1.1 200")


@tap.test
def target_size_max():
    with limited("target_size_max", 100) as server:
        is_refused(raw(server, get("/v1/events?tag=" + "a" * 86)), 414, "target-too-long")
        assert raw(server, get("/v1/events?tag=" + "a" * 85)).startswith(b"HTTP/1.1 200")


@tap.test
def parameter_count_max():
    with limited("parameter_count_max", 3) as server:
        is_refused(raw(server, get("/v1/events?tag=a&tag=b&tag=c&tag=d")), 400, "too-many-parameters")
        assert raw(server, get("/v1/events?tag=a&tag=b&tag=c")).startswith(b"HTTP/1.1 200")


@tap.test
def body_size_max_and_discard_size_max():
    with limited("body_size_max", 1000, discard_size_max=5000) as server:
        tested.add("discard_size_max")
        for size in (900, 4000):
            body = json.dumps({"events": [{"type": "A", "data": "x" * size}]})
            answer = request(server, "POST", "/v1/append", body, {"Content-Type": "application/json"})
            assert answer.status == (201 if size == 900 else 413), (size, answer)
        endless = b"POST /v1/append HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" \
                  b"Transfer-Encoding: chunked\r\n\r\n" + (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 20
        is_refused(raw(server, endless), 413, "body-too-large")
        append(server, 1)


@tap.test
def header_ms_max():
    with limited("header_ms_max", 1000) as server:
        is_refused(raw(server, b"GET /v1/ev"), 408, "header-timeout")


@tap.test
def body_ms_max():
    with limited("body_ms_max", 200) as server:
        is_refused(raw(server, b"POST /v1/append HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                               b"Content-Length: 9\r\n\r\n{"), 408, "body-timeout")


@tap.test
def idle_ms_max():
    with limited("idle_ms_max", 200) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        assert request(connection, "GET", "/health").status == 200
        assert connection.sock.recv(1) == b""


@tap.test
def write_ms_max():
    with limited("write_ms_max", 300) as server:
        for _ in range(20):
            append(server, "x" * 800000)
        lazy = socket.socket()
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect(("127.0.0.1", server.port))
        lazy.sendall(get("/v1/events", "Accept: application/x-ndjson"))
        wait_for(lambda: metric(server, "http_requests_open") == 2, "the lazy client is served")
        wait_for(lambda: metric(server, "http_requests_open") == 1, "the lazy client is cut")
        lazy.close()


@tap.test
def connection_count_max():
    with limited("connection_count_max", 3) as server:
        idle = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=10) for _ in range(3)]
        for connection in idle:
            assert request(connection, "GET", "/health").status == 200
        feeds = [Subscription(server) for _ in range(3)]  # each takes the place of one that is not used
        for feed in feeds:
            assert feed.next()
        for connection in idle:
            assert connection.sock.recv(1) == b""
        answer = request(server, "GET", "/health")
        assert answer.status == 503 and answer.json()["code"] == "too-many-connections", answer
        assert answer.headers["Retry-After"] == "1"
        for feed in feeds:
            feed.close()
        wait_for(lambda: request(server, "GET", "/health").status == 200, "there is room again")


@tap.test
def bodies_size_max():
    with limited("bodies_size_max", 200000) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as stopped:
            stopped.sendall(b"POST /v1/append HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                            b"Content-Length: 140000\r\n\r\n" + b" " * 100000)
            wait_for(lambda: metric(server, "http_bodies_bytes") >= 100000, "half a body has come")
            answer = request(server, "POST", "/v1/append", {"events": [{"type": "A", "data": "x" * 70000}]})
            assert answer.status == 503 and answer.json()["code"] == "too-many-bodies", answer
            assert answer.headers["Retry-After"] == "1" and metric(server, "http_bodies_refused_total") == 1
            append(server, 1)
        wait_for(lambda: metric(server, "http_bodies_bytes") == 0, "the body is forgotten with its client")
        append(server, "x" * 70000)


@tap.test
def answers_size_max():
    with limited("answers_size_max", 70000) as server:
        append(server, *["x" * 50000] * 2)
        page = "/v1/events?limit=2"
        whole = request(server, "GET", page)
        assert whole.status == 200 and len(whole.json()["events"]) == 2, whole  # in pieces: it is larger than that
        for n in range(40):
            append(server, *["x" * 40000] * 20)
        lazy = []
        for _ in range(12):
            lazy.append(socket.socket())
            lazy[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy[-1].connect(("127.0.0.1", server.port))
            lazy[-1].sendall(get("/v1/events?limit=10000"))

        def refused():
            answer = request(server, "GET", page)
            return answer if answer.status == 503 else None

        answer = wait_for(refused, "answers that nobody takes fill it")
        assert answer.json()["code"] == "too-many-answers" and answer.headers["Retry-After"] == "1", answer
        assert answer.headers["Cache-Control"] == "no-store", answer.headers
        append(server, 1)
        for one in lazy:
            one.close()
        wait_for(lambda: request(server, "GET", page).status == 200, "there is room again")


@tap.test
def a_page_in_pieces_says_what_a_page_in_one_says():
    """Where memory is tight a page is read twice; every byte of it is as in one piece."""
    for options in ([], ["--limit", "answers_size_max=600000"]):
        with Server(options=options) as server:
            for n in range(30):
                answer = request(server, "POST", "/v1/append", {"events": [
                    {"stream": f"s-{n % 2}", "type": "A", "data": f"{m}" * 9000} for m in range(10)]})
                assert answer.status == 201, answer
            pages = []
            for path in ("/v1/events?limit=150", "/v1/events?limit=10000", "/v1/events?limit=50&direction=backward",
                         "/v1/events?after=100&before=200&limit=1000", "/v1/streams/s-1?limit=100",
                         "/v1/streams/s-1?from=20&to=90&direction=backward&limit=50", "/v1/streams/s-0?from=140&limit=50"):
                answer = request(server, "GET", path)
                body = answer.json()
                assert answer.status == 200, (path, answer)
                for event in body["events"]:
                    del event["time"], event["id"]
                pages.append((path, answer.status, body, answer.headers["Link"], answer.headers["Daybook-Position"]))
        if not options:
            whole = pages
    for one, other in zip(whole, pages):
        assert one == other, (one[0], str(one)[:300], str(other)[:300])


@tap.test
def worker_count_and_worker_queue_count_max():
    tested.add("worker_count")
    with limited("worker_queue_count_max", 1, worker_count=1) as server:
        for _ in range(30):
            append(server, *["x" * 1000] * 100)
        statuses, lock = [], threading.Lock()

        def ask():
            answer = request(server, "GET", "/v1/events?limit=3000", timeout=30)
            with lock:
                statuses.append((answer.status, answer.headers.get("Retry-After")))

        def ask_all():
            threads = [threading.Thread(target=ask) for _ in range(24)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return any(status == 503 for status, _ in statuses)

        wait_for(ask_all, "a request meets a full queue", 30)
        assert {status for status, _ in statuses} == {200, 503}, statuses
        assert all(after == "1" for status, after in statuses if status == 503), statuses
        assert request(server, "GET", "/v1/events?limit=1").status == 200
    code, _, error = daybook("serve", "--listen", "127.0.0.1:0", "--limit", "worker_count=0")
    assert code == 2 and "worker_count" in error, error


@tap.test
def drain_ms_max():
    with limited("drain_ms_max", 300) as server:
        half = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        half.sendall(b"POST /v1/append HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     b"Content-Length: 9\r\n\r\n{")
        wait_for(lambda: metric(server, "http_requests_open") == 2, "the half request has begun")
        began = time.monotonic()
        assert server.stop() == 0 and time.monotonic() - began < 9
        half.close()


@tap.test
def subscription_count_max():
    with limited("subscription_count_max", 1) as server, Subscription(server):
        answer = request(server, "GET", "/v1/events", headers={"Accept": "text/event-stream"})
        assert answer.status == 429 and answer.json()["code"] == "too-many-subscriptions", answer


@tap.test
def follower_count_max():
    with limited("follower_count_max", 0) as server:
        answer = request(server, "GET", "/v1/log")
        assert answer.status == 429 and answer.json()["code"] == "too-many-followers", answer


@tap.test
def subscription_buffer_size_max():
    with limited("subscription_buffer_size_max", 3000) as server, Subscription(server) as feed:
        assert feed.next()["event"] == "daybook.caught-up"
        for number in range(50):
            append(server, "x" * 500)
        assert [frame["data"]["position"] for frame in feed.events(50)] == list(range(1, 51))
        assert metric(server, "subscription_buffer_bytes") <= 3000


@tap.test
def heartbeat_ms():
    with limited("heartbeat_ms", 100) as server, Subscription(server) as feed:
        assert feed.next()["event"] == "daybook.caught-up"
        assert feed.next()["event"] == "comment"
    for value in (0, 15001):
        code, _, error = daybook("serve", "--listen", "127.0.0.1:0", "--limit", f"heartbeat_ms={value}")
        assert code == 2 and "heartbeat_ms" in error, error


@tap.test
def checkpoint_count():
    with limited("checkpoint_count", 5) as server, Subscription(server, "/v1/events?type=B") as feed:
        assert feed.next()["event"] == "daybook.caught-up"
        append(server, *range(5))
        assert feed.next()["event"] == "daybook.checkpoint"


@tap.test
def page_size_max():
    with limited("page_size_max", 2000) as server:
        append(server, *["x" * 500] * 10)
        seen, after = 0, 0
        while True:
            page = request(server, "GET", f"/v1/events?limit=100&after={after}").json()
            assert len(page["events"]) <= 4, len(page["events"])
            seen, after = seen + len(page["events"]), page["after"]
            if not page["more"]:
                break
        assert seen == 10, seen


@tap.test
def page_cache_size_max():
    for size, hits in ((0, 0), (1 << 20, 9)):
        with limited("page_cache_size_max", size) as server:
            append(server, 1, 2, 3)
            bodies = {request(server, "GET", "/v1/events?type=A").body for _ in range(10)}
            assert len(bodies) == 1 and metric(server, "page_cache_hits_total") == hits, (size, bodies)


@tap.test
def stream_piece_size_max():
    with limited("stream_piece_size_max", 1000) as server:
        append(server, *["x" * 300] * 50)
        lines = request(server, "GET", "/v1/events", headers={"Accept": "application/x-ndjson"}).body.splitlines()
        assert len(lines) == 50
        with Subscription(server) as feed:
            assert len(feed.events(50)) == 50


@tap.test
def limits_of_what_is_appended():
    with Server() as server:
        for body, status in [
            ({"events": [{"type": "A", "data": 1}] * 1001}, 422),
            ({"events": [{"type": "A" * 257, "data": 1}]}, 422),
            ({"events": [{"type": "A", "data": 1, "stream": "s" * 257}]}, 422),
            ({"events": [{"type": "A", "data": 1, "tags": [f"t:{n}" for n in range(513)]}]}, 422),
            ({"events": [{"type": "A", "data": "x" * 950000}]}, 413),
            ({"events": [{"type": "A", "data": 1}], "condition": {"failIfEventsMatch": {"items": [
                {"types": ["A"]}] * 101}}}, 422),
        ]:
            answer = request(server, "POST", "/v1/append", body)
            assert answer.status == status, (status, answer)
        tags = [f"t:{n}" for n in range(512)]
        assert request(server, "POST", "/v1/append", {"events": [{"type": "A", "data": 1, "tags": tags}]}).status == 201
        assert request(server, "POST", "/v1/append", {"events": [{"type": "A", "data": n} for n in range(1000)]}).status == 201


@tap.test
def consumer_groups_have_their_limits():
    with limited("group_count_max", 1) as server:
        assert request(server, "POST", "/v1/groups/a", {}).status == 201
        answer = request(server, "POST", "/v1/groups/b", {})
        assert answer.status == 409 and answer.json()["code"] == "too-many-groups", answer
    with limited("group_waiting_count_max", 0) as server:
        assert request(server, "POST", "/v1/groups/a", {}).status == 201
        answer = request(server, "POST", "/v1/groups/a/fetch", {"consumer": "c"})
        assert answer.status == 429 and answer.json()["code"] == "too-many-consumers", answer
    with limited("group_wait_seconds_max", 2) as server:
        assert request(server, "POST", "/v1/groups/a", {}).status == 201
        answer = request(server, "POST", "/v1/groups/a/fetch", {"consumer": "c", "wait_seconds": 3})
        assert answer.status == 422 and "to 2" in answer.json()["violations"][0]["detail"], answer


@tap.test
def acknowledgements_are_written_together_within_their_delay():
    with limited("group_ack_delay_ms", 600000) as server:
        assert request(server, "POST", "/v1/groups/a", {"types": ["A"]}).status == 201
        append(server, 1, 2)
        batch = request(server, "POST", "/v1/groups/a/fetch", {"consumer": "c"}).json()["events"]
        for one in batch:
            assert request(server, "POST", "/v1/groups/a/ack", {"tokens": [one["token"]]}).status == 200
        own = "/v1/events?system=1&type=$GroupAcked"
        assert request(server, "GET", own).json()["events"] == []
        assert server.stop() == 0  # the end does not wait for it
        server.start()
        assert len(request(server, "GET", own).json()["events"]) == 1


@tap.test
def every_limit_has_its_test():
    code, text, _ = daybook("serve", "--limits", "--json")
    names = {row["name"] for row in json.loads(text)}
    assert code == 0 and names - tested == set(), names - tested
    assert tested - names == set(), tested - names


tap.main()
