#!/usr/bin/env python3
"""Each ready configuration against each route of docs/reference/http.md: what is promised there is not cut by a gateway."""
import json
import sys
import threading

from harness import BUILD, Service, test, wait_for
from ready import Ready

TOKEN = {"Authorization": "Bearer any", "Host": "hotel.example"}
SSE, LINES = {"Accept": "text/event-stream"}, {"Accept": "application/x-ndjson"}
SECONDS, HURRY = 3.2, 10        # of silence, as if it were 32: longer than a heartbeat, a wait, a lease of patience

# What is silent by agreement: method, path, headers, how the service behaves; on the page's side of the hotel, or not.
WAITING = [
    ("GET", "/v1/events", SSE, f"feed:{SECONDS}", True),
    ("GET", "/v1/streams/room-1", SSE, f"feed:{SECONDS}", True),
    ("POST", "/v1/events/query", SSE, f"feed:{SECONDS}", True),
    ("GET", "/v1/events", LINES, f"trickle:{SECONDS}", True),
    ("POST", "/v1/events/query", LINES, f"trickle:{SECONDS}", True),
    ("GET", "/v1/views/rooms?min_position=9", {"Prefer": "wait=30"}, f"slow:{SECONDS}", True),
    ("GET", "/v1/views/rooms?min_position=9", {}, f"slow:{SECONDS}", True),
    ("GET", "/v1/views/rooms?limit=1&as_of=3", {}, f"slow:{SECONDS}", True),
    ("GET", "/v1/queries/free?as_of=3", {}, f"slow:{SECONDS}", True),
    ("POST", "/v1/groups/g/fetch", {}, f"slow:{SECONDS}", False),
    ("DELETE", "/v1/subjects/guest-1", {}, f"slow:{SECONDS}", False),
    ("POST", "/v1/compact", {}, f"slow:{SECONDS}", False),
    ("GET", "/v1/log", {}, f"trickle:{SECONDS}", False),
    ("GET", "/v1/log?after=9", {}, f"trickle:{SECONDS}", False),
]
WRITES = [("POST", "/v1/append"), ("POST", "/v1/streams/s"), ("PUT", "/v1/retention?prefix=x"), ("DELETE", "/v1/retention?prefix=x"),
          ("POST", "/v1/commands/X"), ("POST", "/v1/groups/g"), ("POST", "/v1/groups/g/fetch"), ("DELETE", "/v1/subjects/s"),
          ("POST", "/v1/scavenge"), ("POST", "/dcb/append"), ("PATCH", "/x"), ("FROB", "/x")]
READS = [("GET", "/v1/events", {}), ("HEAD", "/v1/events", {}), ("POST", "/v1/events/query", {}), ("GET", "/v1/events", SSE),
         ("POST", "/v1/events/query", SSE), ("GET", "/v1/views/rooms?as_of=1", {})]


class Place:
    """One configuration in front of services that do as they are told."""

    def __init__(self, scene, name, **values):
        self.name, self.one, self.two = name, scene.upstream("one"), scene.upstream("two")
        one, two = (f"127.0.0.1:{u.port}" for u in (self.one, self.two))
        if name == "api":
            auth = scene.upstream("auth", "204")
            auth.headers = {"Daybook-Roles": "reader,writer,operator"}
            values = {"hotel": one, "replica": two, "ledger": one, "auth": f"127.0.0.1:{auth.port}", "open": "60s", **values}
        elif name == "hotel":
            values = {"leader": self.one.port, "follower": self.two.port, "open": "60s", "open_max": "60s", **values}
        else:
            name = "../sidecar/sidecar"
            values = {"service": one, "payments": two, "payments_name": "x", "open": "10s",
                      "trusted": "/etc/ssl/certs/ca-certificates.crt", **values}
        self.nginx = scene.add(Ready(name, **values))
        self.breaker = {"api": "hotel", "hotel": "service1"}.get(self.name, "ingress")

    def get(self, method, path, headers=None, body=None):
        body = body or (b"{}" if method not in ("GET", "HEAD", "DELETE") else None)
        more = {**TOKEN, **(headers or {}), **({"Content-Type": "application/json"} if body else {})}
        if self.name == "hotel":
            more["Host"] = "localhost"
        return self.nginx.get(path, method=method, headers=more, body=body)

    def state(self):
        return self.nginx.get("/breakers", tls=self.name != "sidecar").json["breakers"]

    def order(self, order):
        return self.nginx.get(f"/breakers/{self.breaker}/{order}", method="POST", body="{}", tls=self.name != "sidecar",
                              headers={"Content-Type": "application/json"})


def everywhere(scene, names=("api", "hotel", "sidecar"), **values):
    return [Place(scene, name, **values) for name in names]


def at_once(calls):
    """Each of (function, arguments) in a thread of its own; what they answered, in that order."""
    results = [None] * len(calls)

    def run(i, function, arguments):
        try:
            results[i] = function(*arguments)
        except Exception as e:
            results[i] = e

    threads = [threading.Thread(target=run, args=(i, *call)) for i, call in enumerate(calls)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


@test
def what_is_silent_by_agreement_is_not_cut_and_opens_no_breaker(scene):
    places = everywhere(scene, hurry=HURRY)
    calls = [(p, w) for p in places for w in WAITING if w[4] or p.name != "hotel"]
    for p in places:
        modes = {(method, path.split("?")[0], headers.get("Accept")): mode for method, path, headers, mode, _ in WAITING}
        p.one.decide = lambda method, path, headers: modes.get((method, path.split("?")[0], headers.get("accept")), "599")
    # more than `consecutive` of each breaker
    answers = at_once([(p.get, w[:3]) for p, w in calls])
    wrong = [(p.name, *w[:3], a) for (p, w), a in zip(calls, answers)
             if isinstance(a, Exception) or a.status != 200 or not (b"last" in a.body or b'"one"' in a.body)]
    assert not wrong, "\n".join(map(str, wrong))
    for p in places:
        assert p.one.count() == sum(1 for q, _ in calls if q is p) and p.two.count() == 0, p.name
        bad = [b for b in p.state() if b["trips"] or b["calls"]["failure"] or b["calls"]["timeout"] or b["calls"]["slow"]]
        assert not bad, (p.name, bad)


@test
def a_log_through_a_gateway_holds_no_place_among_the_calls(scene):
    for p in everywhere(scene, ("api", "sidecar")):
        p.one.decide = lambda method, path, headers: "trickle:3"
        t = threading.Thread(target=p.get, args=("GET", "/v1/log"))
        t.start()
        wait_for(lambda: any(b["calls"]["ok"] for b in p.state() if b["name"] == p.breaker), "not judged at its header")
        assert t.is_alive(), "judged at its end"
        assert all(b["in_flight"] == 0 for b in p.state() if not b["name"].endswith(".streams")), p.state()
        t.join()


@test
def while_a_breaker_is_open_what_changes_something_gets_503_and_when_to_come_back(scene):
    for p in everywhere(scene):
        p.order("open")
        for method, path in WRITES:
            if p.name == "hotel" and "commands" not in path:
                continue
            a = p.get(method, path)
            assert a.status == 503 and int(a.headers["Retry-After"]) >= 1 and a.json["code"] == "breaker-open", (p.name, path, a)
            assert a.headers["Content-Type"] == "application/problem+json", a
        assert p.one.count() == p.two.count() == 0, p.name


@test
def while_a_breaker_is_open_all_reads_are_answered_by_the_other_service(scene):
    for p in everywhere(scene, ("api", "hotel")):
        p.order("open")
        p.two.decide = lambda method, path, headers: "feed:0" if "event-stream" in headers.get("accept", "") else "ok"
        for method, path, headers in READS:
            a = p.get(method, path, headers)
            assert a.status == 200 and p.two.requests[-1][0] == method, (p.name, method, path, a)
        assert p.one.count() == 0 and p.two.count() == len(READS), p.name


@test
def a_query_with_a_body_goes_to_the_other_service_when_the_first_hangs_or_fails(scene):
    for p in everywhere(scene, ("api", "hotel"), hurry=HURRY):
        for mode in ("hang", "500", "close"):
            p.one.mode = mode
            a = p.get("POST", "/v1/events/query", body=b'{"query":{"items":[]}}')
            assert a.status == 200 and a.json["service"] == "two", (p.name, mode, a)
            assert p.two.requests[-1][3] == b'{"query":{"items":[]}}'


@test
def a_services_own_error_to_a_write_reaches_the_client_as_it_is(scene):
    for p in everywhere(scene):
        for status in ("500", "503", "507"):
            p.one.mode = status
            for method, path in (("POST", "/v1/commands/X"), ("POST", "/v1/append"), ("POST", "/v1/groups/g/fetch")):
                if p.name == "hotel" and "commands" not in path:
                    continue
                a = p.get(method, path)
                assert a.status == int(status) and a.json["service"] == "one", (p.name, path, a)
                assert a.headers["Content-Type"] == "application/json", a
        assert p.two.count() == 0


@test
def a_body_of_the_servers_own_limit_passes_and_one_beyond_the_gateways_is_a_problem(scene):
    for p in everywhere(scene):
        path, limit = ("/v1/commands/X", 16 << 20) if p.name == "hotel" else ("/v1/append", 8 << 20)
        a = p.get("POST", path, body=b" " * limit)
        assert a.status == 200 and len(p.one.requests[-1][3]) == limit, (p.name, a)
        a = p.get("POST", path, body=b" " * (limit + 1))
        assert a.status == 413 and a.headers["Content-Type"] == "application/problem+json" and a.json["status"] == 413, (p.name, a)
        assert p.one.count() == 1


@test
def a_long_token_goes_in_and_a_long_link_comes_out(scene):
    for p in everywhere(scene):
        p.one.headers = {"Link": "<" + "x" * 8192 + '>; rel="next"'}
        for headers in ({}, SSE):
            p.one.mode = "ok"
            a = p.get("GET", "/v1/events", {"Authorization": "Bearer " + "t" * 8192, **headers})
            assert a.status == 200 and len(a.headers["Link"]) > 8192, (p.name, a.status)
            assert len(p.one.requests[-1][2]["authorization"]) == 8199


@test
def the_hotels_gateway_lets_through_what_its_page_asks_for_and_nothing_else(scene):
    server = scene.add(Service([BUILD / "daybook", "serve", "--data", "@DIR@/data", "--listen", "127.0.0.1:@PORT@"], "serves on",
                               ASAN_OPTIONS="detect_leaks=0"))
    p = Place(scene, "hotel")
    allowed = {("GET", "/v1/events"), ("POST", "/v1/events/query"), ("GET", "/v1/streams/{stream}"), ("GET", "/v1/views"),
               ("GET", "/v1/views/{view}"), ("GET", "/v1/queries/{name}"), ("POST", "/v1/commands/{name}")}
    routes = [(method.upper(), path) for path, methods in server.get("/openapi.json").json["paths"].items() for method in methods]
    assert allowed <= set(routes) and len(routes) > 35, routes
    for method, path in routes:
        p.one.forget()
        a = p.get(method, path.replace("{", "").replace("}", ""))
        if (method, path) in allowed:
            assert a.status == 200 and p.one.count() == 1, (method, path, a)
        else:
            assert a.status == 404 and a.json["code"] == "gateway" and p.one.count() == 0, (method, path, a)
    for method in ("GET", "HEAD"):
        for path in ("/", "/app.js", "/text-ko.js"):
            assert p.get(method, path).status == 200, path
    p.one.forget()
    for method, path in (("POST", "/"), ("PUT", "/v1/views/x"), ("POST", "/v1/views/x/rebuild"), ("DELETE", "/v1/streams/x"),
                         ("POST", "//v1//append"), ("POST", "/v1/%61ppend"), ("POST", "/x/../v1/append"), ("GET", "/v1/keys?after=0"),
                         ("POST", "/v1/commands/x%2F..%2F..%2Fappend"), ("GET", "/v1/keys/"), ("GET", "/x%2f..%2fv1%2fkeys"),
                         ("GET", "/v1/keys%0a"), ("POST", "/v1/append%0a"), ("GET", "/v1/streams/x/retention"), ("FROB", "/v1/events"),
                         ("GET", "/v1"), ("GET", "/metrics/"), ("GET", "/.problem"), ("POST", "/v1/scavenge?compact=1")):
        assert p.get(method, path).status == 404, (method, path)
    assert p.one.count() == p.two.count() == 0, p.one.requests


if __name__ == "__main__":
    sys.exit(test.run())
