#!/usr/bin/env python3
"""Who answers when a call fails: every method, every end of a call, everything that might answer instead (BREAKER.md §5).

What was sent and may not be done twice goes to nobody else, and then the service's own answer passes.
"""
import http.client
import itertools
import json
import socket
import struct
import sys
import threading

from harness import WAIT_S, Upstream, free_port, late, site, test, two, wait_for

# Nothing trips it: what is looked at is one call at a time.
NEVER = "window=10s min_calls=100000 failure_rate=100% consecutive=0 open=60s open_max=60s"

IDEMPOTENT = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
OTHERS = ("POST", "PATCH", "LOCK", "FROB")      # a method that nobody knows may do anything
METHODS = IDEMPOTENT + OTHERS

OWN = b'{"type":"urn:own","why":"the service says so"}'


class Ends:
    """A service whose calls end as the port says that was asked: one port for each end."""

    ENDS = ("refused", "unconnected", "hang", "500", "503", "close", "reset", "half a header", "invalid", "half a body")
    SENT = ("hang", "500", "503", "close", "reset", "half a header", "invalid", "half a body")

    def __init__(self):
        self.ports, self.listeners, self.held, self.seen = {"refused": free_port()}, [], [], []
        for end in self.ENDS[1:]:
            listener = socket.socket()
            listener.bind(("127.0.0.1", 0))
            listener.listen(0 if end == "unconnected" else 512)
            self.ports[end] = listener.getsockname()[1]
            self.listeners.append(listener)
            if end != "unconnected":
                threading.Thread(target=self.accept, args=(listener, end), daemon=True).start()
        for _ in range(4):      # its queue is full: who connects now hears nothing
            c = socket.socket()
            c.setblocking(False)
            c.connect_ex(("127.0.0.1", self.ports["unconnected"]))
            self.held.append(c)

    def accept(self, listener, end):
        while True:
            try:
                c, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(c, end), daemon=True).start()

    def serve(self, c, end):
        with c:
            f = c.makefile("rb")
            line, size = f.readline(), 0
            for header in iter(f.readline, b"\r\n"):
                if header.lower().startswith(b"content-length:"):
                    size = int(header.split(b":")[1])
            f.read(size)
            self.seen.append((end, line.decode().split(" ")[0]))
            head = "Content-Type: application/problem+json\r\nX-Own: yes\r\nRetry-After: 7\r\n"
            if end == "hang":
                self.held.append(c)
                c.recv(1)
            elif end == "half a header":
                c.sendall(b"HTTP/1.1 200 OK\r\nConte")
            elif end == "invalid":
                c.sendall(b"HTTP/1.1 200 OK\r\nBad\x01Header: x\r\n\r\n")
                c.recv(1)
            elif end == "half a body":
                c.sendall(f"HTTP/1.1 200 OK\r\n{head}Content-Length: 1000\r\n\r\nhalf".encode())
            elif end.isdigit():
                body = b"" if line.startswith(b"HEAD") else OWN
                c.sendall(f"HTTP/1.1 {end} Own\r\n{head}Connection: close\r\nContent-Length: {len(OWN)}\r\n\r\n".encode() + body)
            if end in ("reset", "half a header", "half a body"):
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def stop(self):
        for one in self.listeners + self.held:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()


OTHER = {
    "none": "",
    "service": "breaker_fallback @two;",
    "static": "breaker_fallback 503=/sorry.json;",
    "dead": "breaker_fallback @dead;",
}


def place(scene, more=""):
    """nginx with a location for each end and each other: /END/OTHER, by address, and /late/END/OTHER, by a variable."""
    ends, spare = scene.add(Ends()), scene.upstream("two")
    locations, upstreams = "", ""
    for end, port in ends.ports.items():
        name = end.replace(" ", "-")
        # nginx's own other: a second server, and whatever it takes to ask it
        upstreams += f"""upstream {name} {{ server 127.0.0.1:{port} max_fails=0; server 127.0.0.1:{spare.port} backup; }}\n"""
        for other, chain in {**OTHER, "next": "proxy_next_upstream error timeout invalid_header http_500 http_503;"}.items():
            to = name if other == "next" else f"127.0.0.1:{port}"
            chain += " proxy_read_timeout 500ms;" if end == "hang" else ""
            locations += f"location /{name}/{other} {{ {chain} proxy_pass http://{to}; }}\n"
            if other != "next":
                locations += f"location /late/{name}/{other} {{ breaker_use b; {chain} set $to {to}; proxy_pass http://$to; }}\n"
    n = scene.nginx(site(NEVER, f"""
        breaker_use b; proxy_connect_timeout 500ms; {more}
        {locations}
        location @two  {{ breaker_use off; proxy_pass http://127.0.0.1:{spare.port}; }}
        location @dead {{ breaker_use off; proxy_pass http://127.0.0.1:{ends.ports["refused"]}; }}
        location = /sorry.json {{ internal; default_type application/json; return 200 '{{"sorry":true}}'; }}""",
        upstreams=upstreams), workers=1)
    return n, ends, spare


def call(n, method, path):
    """The answer: (status, who made it, its headers)."""
    c = http.client.HTTPConnection("127.0.0.1", n.port, timeout=WAIT_S)
    c.request(method, path, body=b'{"a":1}' if method in ("PUT",) + OTHERS else None, headers={"Connection": "close"})
    r = c.getresponse()
    try:
        body = r.read()
    except http.client.IncompleteRead as short:
        body = short.partial
    c.close()
    if r.headers.get("Daybook-Role"):
        return r.status, "two", r.headers
    if r.headers.get("X-Own"):
        assert method == "HEAD" or body in (OWN, b"half", b""), body      # a reset takes what it meets
        return r.status, "own", r.headers
    return r.status, "static" if b"sorry" in body else "nginx", r.headers


def expected(method, end, other, repeatable):
    """Who is to answer, by the law alone; None: either will do (a HEAD shows no body)."""
    if end == "half a body":
        return "own"                                    # the header is out: there is nothing to replace any more
    may = end not in Ends.SENT or repeatable
    if other == "static" or (other in ("service", "next", "dead") and may):
        return {"static": "static", "dead": "nginx"}.get(other, "two")
    return "own" if end.isdigit() else "nginx"


def check(n, repeatable, others, prefix=""):
    wrong, threads, limit = [], [], threading.Semaphore(24)

    def one(method, end, other):
        with limit:
            path = f"{prefix}/{end.replace(' ', '-')}/{other}"
            try:
                status, who, headers = call(n, method, path)
                wanted = expected(method, end, other, repeatable(method, other))
                right = who == wanted or (method == "HEAD" and wanted == "static" and who == "nginx" and status == 503)
                if wanted == "own" and end.isdigit():
                    right = right and status == int(end) and headers["Retry-After"] == "7" \
                        and headers["Content-Type"] == "application/problem+json"
                if wanted == "nginx":
                    asked = other == "dead" and (end not in Ends.SENT or repeatable(method, other))
                    right = right and status == (504 if end in ("hang", "unconnected") and not asked else 502)
                if not right:
                    wrong.append((method, path, status, who, "wanted", wanted))
            except Exception as e:
                wrong.append((method, path, repr(e)))

    for method, end, other in itertools.product(METHODS, Ends.ENDS, others):
        threads.append(threading.Thread(target=one, args=(method, end, other)))
        threads[-1].start()
    for t in threads:
        t.join()
    assert not wrong, "\n".join(str(w) for w in sorted(wrong))


def by_method(method, other):
    if other == "next":     # nginx's own rule: what it does not know it repeats
        return method in IDEMPOTENT + ("FROB",)
    return method in IDEMPOTENT


@test
def every_method_and_every_end_of_a_call_is_answered_by_who_may(scene):
    n, ends, spare = place(scene)
    check(n, by_method, [*OTHER, "next"])


@test
def a_variable_host_is_answered_for_by_the_same_law(scene):
    n, ends, spare = place(scene)
    check(n, by_method, OTHER, "/late")


@test
def what_is_declared_idempotent_goes_on_whatever_its_method(scene):
    n, ends, spare = place(scene, "breaker_idempotent on;")
    check(n, lambda method, other: other != "next" or by_method(method, other), [*OTHER, "next"])
    check(n, lambda method, other: True, OTHER, "/late")
    bodies = {r[3] for r in spare.requests if r[0] == "POST"}
    assert bodies == {b'{"a":1}'}, bodies        # whole, though it was sent to another before


@test
def what_is_declared_to_change_something_is_sent_once_whatever_its_method(scene):
    n, ends, spare = place(scene, "breaker_idempotent off;")
    check(n, lambda method, other: other == "next" and by_method(method, other), [*OTHER, "next"])


@test
def a_variable_declares_some_and_leaves_the_others_to_their_method(scene):
    n, one, other = two(scene, "@service2", breaker=NEVER, extra="breaker_idempotent $declared;",
                        http="map $arg_it $declared { default ''; on on; off off; odd maybe; }")
    for method, it, service in (("POST", "on", "two"), ("POST", "off", "one"), ("POST", "", "one"), ("POST", "odd", "one"),
                                ("GET", "off", "one"), ("GET", "", "two"), ("GET", "odd", "two"), ("GET", "on", "two")):
        a = n.get(f"/x?it={it}", method=method, body=b"x" if method == "POST" else None)
        assert a.json["service"] == service and a.status == (500 if service == "one" else 200), (method, it, a)


@test
def a_large_body_that_was_sent_goes_whole_to_the_other_service_when_it_is_a_read(scene):
    n, one, other = two(scene, "@service2", breaker=NEVER, mode="hang", extra="breaker_idempotent on; client_body_buffer_size 8k;")
    body = b"0123456789" * 50_000
    a = n.get("/query", method="POST", body=body)
    assert a.status == 200 and a.json["service"] == "two" and other.requests[0][3] == body, a


@test
def a_post_that_is_a_read_may_be_a_probe(scene):
    u = scene.upstream()
    n = scene.nginx(site("consecutive=1 min_calls=1 open=300ms open_max=300ms jitter=0% probes=1 probe_ok=1 ramp=0", f"""
        location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; }}
        location /query {{ breaker_use b; breaker_idempotent on; proxy_pass http://127.0.0.1:{u.port}; }}"""), workers=1)
    u.mode = "500"
    n.get("/x")
    assert n.state() == "open"
    u.mode = "ok"
    wait_for(lambda: n.get("/query", method="POST", body=b"x").status == 200, "no probe")
    assert n.state() == "closed", n.breaker("b")
    n.logged("POST /query 200", "decision=probe")


@test
def a_class_that_calls_an_answer_good_lets_it_pass(scene):
    n, one, other = two(scene, "@service2", breaker=NEVER, extra="breaker_class $class;",
                        http="map $arg_class $class { default ''; ok ok; neutral neutral; no_slow no_slow; failure failure; }")
    one.headers = {"Retry-After": "7"}
    for word in ("ok", "neutral"):
        a = n.get(f"/x?class={word}")
        assert a.status == 500 and a.json["service"] == "one" and a.headers["Retry-After"] == "7", (word, a)
    for word in ("", "no_slow", "failure"):
        assert n.get(f"/x?class={word}").json["service"] == "two", word
    one.mode = "200"        # … and one that calls it a failure has it replaced, whatever its status
    assert n.get("/x?class=failure").json["service"] == "two"
    assert n.get("/x?class=failure", method="POST", body=b"x").json["service"] == "one"
    b = n.breaker("b")
    assert b["calls"]["failure"] == 5 and b["calls"]["neutral"] == 1 and b["calls"]["ok"] == 1, b


@test
def the_services_own_answer_passes_when_all_places_of_fallbacks_are_taken(scene):
    n, one, other = two(scene, "@service2", breaker=NEVER + " max_fallbacks=1")
    other.mode, answers = "hold", []
    t = threading.Thread(target=lambda: answers.append(n.get("/x").status))
    t.start()
    wait_for(lambda: other.count() == 1, "the fallback is not under way")
    a = n.get("/y")
    assert a.status == 500 and a.json["service"] == "one", a
    other.release()
    t.join()
    assert answers == [200]
    wait_for(lambda: n.get("/x").status == 200, "the place is free again")


@test
def a_feed_that_is_too_many_is_not_asked_for_elsewhere_by_a_post_that_was_sent(scene):
    n, one, other = two(scene, "@service2", breaker=NEVER + " max_streams=1", mode="feed", extra="proxy_buffering off;")
    held = socket.create_connection(("127.0.0.1", n.port), timeout=WAIT_S)
    held.sendall(b"GET /feed HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 200 " in held.recv(4096)
    assert n.get("/feed").json["service"] == "two"
    a = n.get("/feed", method="POST", body=b"x")
    assert a.status == 503 and a.json["reason"] == "streams" and a.headers["Retry-After"] and other.count() == 1, a
    held.close()


def pair(scene, breaker, peers="", modes=("503", "503"), location=""):
    one, other = scene.upstream("one", modes[0]), scene.upstream("two", modes[1])
    for u in (one, other):
        u.headers = {"Retry-After": "7"}
    n = scene.nginx(site(breaker, f"""
        location / {{ breaker_use b; proxy_pass http://pair; proxy_next_upstream error timeout http_503; {location} }}""",
        upstreams=f"""upstream pair {{ server 127.0.0.1:{one.port} max_fails=0; server 127.0.0.1:{other.port} max_fails=0;
                      {peers} }}"""), workers=1)
    return n, one, other


@test
def the_services_own_answer_passes_when_no_other_server_may_be_asked(scene):
    n, one, other = pair(scene, NEVER, "breaker_peers b;")
    n.get("/x")
    assert one.count() == other.count() == 1        # both breakers closed: nginx asks the second
    n.order(f"b:127.0.0.1:{other.port}", "open")
    for _ in range(4):
        a = n.get("/x")
        assert a.status == 503 and a.json["service"] == "one" and a.headers["Retry-After"] == "7", a
    assert other.count() == 1


@test
def the_services_own_answer_passes_when_the_budget_of_retries_is_used_up(scene):
    n, one, other = pair(scene, NEVER + " retry_budget=1%")
    for _ in range(40):
        a = n.get("/x")
        assert a.status == 503 and a.headers["Retry-After"] == "7" and a.json["service"] in ("one", "two"), a
    assert 40 < one.count() + other.count() < 80


@test
def a_refused_client_that_waits_to_send_its_body_is_told_to_by_who_takes_it(scene):
    n, one, other = two(scene, "@service2")
    n.order("b", "open")
    with socket.create_connection(("127.0.0.1", n.port), timeout=WAIT_S) as s:
        s.sendall(b"POST /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert s.recv(1000).startswith(b"HTTP/1.1 100 Continue")
        s.sendall(b"hello")
        assert s.recv(1000).startswith(b"HTTP/1.1 200 ") and other.requests[0][3] == b"hello"


@test
def a_read_that_fails_everywhere_is_answered_by_the_last_that_did(scene):
    n, one, other = two(scene, "@service2", breaker=NEVER)
    other.mode = "503"
    a = n.get("/x")
    assert a.status == 503 and a.json["service"] == "two", a


for each in (a_variable_declares_some_and_leaves_the_others_to_their_method, a_post_that_is_a_read_may_be_a_probe,
             a_class_that_calls_an_answer_good_lets_it_pass):
    test(late(each))


if __name__ == "__main__":
    sys.exit(test.run())
