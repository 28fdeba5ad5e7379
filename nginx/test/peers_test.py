#!/usr/bin/env python3
"""One breaker for each server of an upstream block, under every balancer (BREAKER.md §5, points 2, 6)."""
import itertools
import sys
import threading
import time

from harness import site, test, wait_for

THREE = "window=10s min_calls=3 consecutive=3 open=60s open_max=60s ramp=0"
QUICK = "window=10s min_calls=3 consecutive=3 open=300ms open_max=300ms jitter=0% probes=3 probe_ok=2 ramp=0"


def pool(scene, servers, balancer="", breaker=THREE, peers="breaker_peers b;", location="", next_upstream="off", **kw):
    """nginx in front of these upstreams, one breaker for each."""
    lines = " ".join(f"server 127.0.0.1:{u.port} max_fails=0 {'backup' if u.name == 'backup' else ''};" for u in servers)
    return scene.nginx(site(breaker, f"""
        location / {{ {location} proxy_pass http://pool; proxy_next_upstream {next_upstream};
                      proxy_http_version 1.1; proxy_set_header Connection ""; proxy_read_timeout 1s; }}""",
        upstreams=f"upstream pool {{ {balancer} {lines} {peers} }}"), **kw)


def state_of(n, u):
    """closed as long as no call was made"""
    for b in n.get("/breakers").json["breakers"]:
        if b["name"] == f"b:127.0.0.1:{u.port}":
            return b["state"]
    return "closed"


def ejects(scene, balancer, keepalive=""):
    """One of three servers fails: its breaker opens, and it gets no more calls; each failure counts for it alone."""
    bad, good, better = scene.upstream("bad", "500"), scene.upstream("good"), scene.upstream("better")
    n = pool(scene, [bad, good, better], balancer + " zone pool 64k;", peers=f"breaker_peers b; {keepalive}")
    paths = itertools.count()       # new ones until enough of them are hashed to the bad server
    wait_for(lambda: [n.get(f"/{next(paths)}") for _ in range(12)] and state_of(n, bad) == "open",
             f"not ejected: {balancer}")
    seen = bad.count()
    assert seen == 3, seen
    for _ in range(20):
        assert n.get(f"/{next(paths)}").status == 200
    assert bad.count() == seen and state_of(n, good) == "closed" and state_of(n, better) == "closed"


@test
def round_robin_leaves_out_a_server_that_fails(scene):
    ejects(scene, "")


@test
def least_conn_leaves_out_a_server_that_fails(scene):
    ejects(scene, "least_conn;")


@test
def hash_leaves_out_a_server_that_fails(scene):
    ejects(scene, "hash $uri;")


@test
def consistent_hash_leaves_out_a_server_that_fails(scene):
    ejects(scene, "hash $uri consistent;")


@test
def random_leaves_out_a_server_that_fails(scene):
    ejects(scene, "random;")


@test
def random_two_leaves_out_a_server_that_fails(scene):
    ejects(scene, "random two least_conn;")


@test
def keepalive_before_and_after_the_directive_works_alike(scene):
    ejects(scene, "", keepalive="keepalive 8;")
    ejects(scene, "keepalive 8;")


@test
def kept_connections_to_an_ejected_server_are_closed_not_leaked(scene):
    bad, good = scene.upstream("bad"), scene.upstream("good")
    n = pool(scene, [bad, good], peers="breaker_peers b; keepalive 8;", workers=1)
    for i in range(6):
        n.get("/x")
    n.order(f"b:127.0.0.1:{bad.port}", "open")
    for i in range(10):
        a = n.get("/x")
        assert a.status == 200 and a.json["service"] == "good", a
    wait_for(lambda: not bad.connections, "a connection to the ejected server stays open")


@test
def a_backup_server_answers_when_all_others_are_ejected(scene):
    one, two, backup = scene.upstream("one", "500"), scene.upstream("two", "500"), scene.upstream("backup")
    n = pool(scene, [one, two, backup])
    for _ in range(6):
        n.get("/x")
    for _ in range(5):
        a = n.get("/x")
        assert a.status == 200 and a.json["service"] == "backup", a
    assert one.count() == 3 and two.count() == 3


@test
def a_retry_goes_to_another_server_and_each_attempt_is_counted(scene):
    bad, good = scene.upstream("bad", "500"), scene.upstream("good")
    n = pool(scene, [bad, good], next_upstream="error http_500")
    for _ in range(12):
        assert n.get("/x").status == 200
    assert bad.count() == 3 and good.count() == 12
    assert state_of(n, bad) == "open" and n.breaker(f"b:127.0.0.1:{bad.port}")["calls"]["failure"] == 3


@test
def a_route_and_its_servers_count_each_for_itself(scene):
    bad, good = scene.upstream("bad", "500"), scene.upstream("good")
    n = pool(scene, [bad, good], next_upstream="error http_500", location="breaker_use b;")
    for _ in range(12):
        assert n.get("/x").status == 200
    b = n.breaker("b")
    assert b["calls"]["ok"] == 12 and b["calls"]["failure"] == 0, b


@test
def all_servers_ejected_is_a_refusal(scene):
    one, two = scene.upstream("one", "500"), scene.upstream("two", "500")
    n = pool(scene, [one, two])
    for _ in range(6):
        assert n.get("/x").status == 500
    for _ in range(3):
        a = n.get("/x")
        assert a.status == 503 and a.json["reason"] == "servers" and int(a.headers["Retry-After"]) > 40, a
    assert one.count() == 3 and two.count() == 3
    assert "no live upstreams" not in n.error_log()
    n.logged("decision=refused reason=servers", "upstream=- ")


@test
def a_single_server_is_ejected_too(scene):
    one = scene.upstream("one", "500")
    n = pool(scene, [one], peers="breaker_peers b; keepalive 2;")
    for _ in range(3):
        assert n.get("/x").status == 500
    assert n.get("/x").status == 503 and one.count() == 3


@test
def a_fallback_works_with_server_breakers_alone(scene):
    one, two = scene.upstream("one", "500"), scene.upstream("two")
    n = scene.nginx(site(THREE, f"""
        location / {{ breaker_fallback @two; proxy_pass http://pool; }}
        location @two {{ proxy_pass http://127.0.0.1:{two.port}; }}""",
        upstreams=f"upstream pool {{ server 127.0.0.1:{one.port}; breaker_peers b; }}"))
    for _ in range(6):
        assert n.get("/x").json["service"] == "two"
    assert one.count() == 3


@test
def no_more_than_max_ejected_stay_away(scene):
    servers = [scene.upstream(str(i), "500") for i in range(4)]
    n = pool(scene, servers, peers="breaker_peers b max_ejected=50%;")
    for _ in range(16):
        n.get("/x")
    assert [state_of(n, u) for u in servers] == ["open"] * 4
    for u in servers:
        u.forget()
    for _ in range(12):
        assert n.get("/x").status == 500
    away, used = servers[:2], servers[2:]
    assert sum(u.count() for u in away) == 0 and sum(u.count() for u in used) == 12, [u.count() for u in servers]
    assert all(u.count() for u in used)


@test
def an_order_ejects_whatever_max_ejected_says(scene):
    one, two = scene.upstream("one"), scene.upstream("two")
    n = pool(scene, [one, two], peers="breaker_peers b max_ejected=0%;")
    n.get("/x"), n.get("/x")
    n.order(f"b:127.0.0.1:{one.port}", "open")
    one.forget()
    for _ in range(6):
        assert n.get("/x").json["service"] == "two"
    assert one.count() == 0


@test
def retries_have_a_budget(scene):
    one, two = scene.upstream("one", "500"), scene.upstream("two", "500")
    n = pool(scene, [one, two], peers="", location="breaker_use b;", next_upstream="error http_500", workers=1,
             breaker="failure_rate=0 consecutive=0 retry_budget=10%")
    began = time.monotonic()
    for _ in range(100):
        assert n.get("/x").status in (500, 502)
    retries = one.count() + two.count() - 100
    # ten are there to begin with, one comes with each ten calls and one with each second
    assert 15 <= retries <= 25 + time.monotonic() - began, retries


@test
def a_server_that_comes_back_is_probed_and_used_again(scene):
    bad, good = scene.upstream("bad", "500"), scene.upstream("good")
    n = pool(scene, [bad, good], breaker=QUICK)
    for _ in range(8):
        n.get("/x")
    assert state_of(n, bad) == "open"
    bad.mode = "ok"
    wait_for(lambda: n.get("/x") and state_of(n, bad) == "closed", "not used again")
    bad.forget()
    wait_for(lambda: n.get("/x").status == 200 and bad.count() >= 3, "closed, and left out")


@test
def a_server_that_hangs_is_ejected_and_the_balancer_keeps_its_counts(scene):
    bad, good = scene.upstream("bad", "hang"), scene.upstream("good")
    n = pool(scene, [bad, good], "least_conn; zone pool 64k;", next_upstream="error timeout")

    def is_ejected():
        threads = [threading.Thread(target=lambda: n.get("/x")) for _ in range(12)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return state_of(n, bad) == "open"

    wait_for(is_ejected, "not ejected")
    seen = bad.count()
    for _ in range(10):
        assert n.get("/x").status == 200
    assert bad.count() == seen


if __name__ == "__main__":
    sys.exit(test.run())
