#!/usr/bin/env python3
"""What the client gets: refusals, fallback chains, feeds (BREAKER.md §5, points 2, 6, 7, 10)."""
import socket
import sys

from harness import site, test, together, wait_for

# One failure opens it, for the whole test.
ONE = "window=10s min_calls=1 failure_rate=100% consecutive=1 open=60s open_max=60s jitter=0%"


@test
def a_refusal_is_503_problem_json_with_retry_after(scene):
    u = scene.upstream(mode="500")
    n = scene.nginx(site(ONE, f"location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; }}"))
    n.get("/")
    a = n.get("/")
    assert a.status == 503 and a.headers["Content-Type"] == "application/problem+json", a
    assert 50 <= int(a.headers["Retry-After"]) <= 60, a
    p = a.json
    assert p["status"] == 503 and p["code"] == "breaker-open" and p["breaker"] == "b" and p["state"] == "open", p
    assert p["title"] == "Service Unavailable" and p["retry_after"] == int(a.headers["Retry-After"]), p
    assert u.count() == 1


@test
def a_refusal_writes_no_error_into_the_log(scene):
    u = scene.upstream(mode="500")
    n = scene.nginx(site(ONE, f"location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; }}"))
    n.get("/")
    for _ in range(5):
        assert n.get("/").status == 503
    bad = [l for l in n.error_log().splitlines() if "[error]" in l or "[crit]" in l or "no live upstreams" in l]
    assert not bad, bad


@test
def a_refused_head_and_a_refused_post_are_answered_too(scene):
    u = scene.upstream(mode="500")
    n = scene.nginx(site(ONE, f"location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; }}"))
    n.get("/")
    a = n.get("/", method="HEAD")
    assert a.status == 503 and a.headers["Retry-After"] and a.body == b"", a
    a = n.get("/", method="POST", body=b"x" * 100000)
    assert a.status == 503 and a.json["code"] == "breaker-open", a


@test
def a_connection_outlives_a_refusal(scene):
    u = scene.upstream(mode="500")
    n = scene.nginx(site(ONE, f"location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; }}"))
    n.get("/")
    import http.client
    c = http.client.HTTPConnection("127.0.0.1", n.port, timeout=5)
    for method in ("GET", "POST", "HEAD", "GET"):
        c.request(method, "/", body=b"x" if method == "POST" else None)
        r = c.getresponse()
        assert r.status == 503, r.status
        r.read()
        assert not r.will_close
    c.close()


@test
def error_page_503_may_replace_a_refusal_and_keeps_its_retry_after(scene):
    u = scene.upstream(mode="500")
    n = scene.nginx(site(ONE, f"""
        error_page 503 @sorry;
        location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; }}
        location @sorry {{ default_type text/plain; return 503 "sorry"; }}"""))
    n.get("/")
    a = n.get("/")
    assert a.status == 503 and a.body == b"sorry" and int(a.headers["Retry-After"]) > 50, a


@test
def an_error_page_for_502_never_sees_a_refusal(scene):
    u = scene.upstream(mode="500")
    n = scene.nginx(site(ONE, f"""
        error_page 502 @other;
        location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; }}
        location @other {{ return 200 "other"; }}"""))
    n.get("/")
    assert n.get("/").json["code"] == "breaker-open"


def two(scene, chain, extra="", breaker=ONE, mode="500", more=""):
    one, other = scene.upstream("one", mode), scene.upstream("two")
    n = scene.nginx(site(breaker, f"""
        location / {{
            breaker_use b; breaker_fallback {chain}; proxy_pass http://127.0.0.1:{one.port};
            proxy_read_timeout 300ms; {extra}
        }}
        location @service2 {{ proxy_pass http://127.0.0.1:{other.port}; }}
        location = /sorry.json {{ internal; root @DIR@; default_type application/json; }}
        {more}"""))
    with open(n.dir + "/sorry.json", "w") as f:
        f.write('{"sorry":true}')
    return n, one, other


@test
def a_refused_read_is_answered_by_the_other_service(scene):
    n, one, other = two(scene, "@service2", mode="ok")
    n.order("b", "open")
    a = n.get("/rooms?x=1")
    assert a.status == 200 and a.json == {"service": "two", "path": "/rooms?x=1", "method": "GET"}, a
    assert a.headers["Daybook-Role"] == "two" and "Retry-After" not in a.headers, a
    assert one.count() == 0 and other.count() == 1
    n.logged("decision=refused reason=forced", "fallback=@service2")


@test
def every_kind_of_failure_before_the_first_byte_falls_back(scene):
    for mode in ("500", "502", "close", "reset", "hang"):
        n, one, other = two(scene, "@service2", mode=mode)
        a = n.get("/x")
        assert a.status == 200 and a.json["service"] == "two", (mode, a)
        assert one.count() == 1 and n.state() == "open", mode
        assert n.get("/x").json["service"] == "two" and one.count() == 1, mode


@test
def a_connection_stays_usable_over_fallbacks(scene):
    import http.client
    n, one, other = two(scene, "@service2")
    c = http.client.HTTPConnection("127.0.0.1", n.port, timeout=5)
    for _ in range(5):
        c.request("GET", "/y")
        r = c.getresponse()
        assert r.status == 200 and b"two" in r.read() and not r.will_close
    c.close()


@test
def a_large_fallback_answer_arrives_whole(scene):
    n, one, other = two(scene, "@big", more="location @big { root @DIR@; try_files /big =404; }")
    with open(n.dir + "/big", "wb") as f:
        f.write(b"0123456789" * 500_000)
    for _ in range(3):
        a = n.get("/x")
        assert a.status == 200 and len(a.body) == 5_000_000, (a.status, len(a.body))


@test
def a_post_that_was_sent_is_not_repeated_elsewhere_and_a_refused_one_is(scene):
    n, one, other = two(scene, "@service2", mode="close")
    a = n.get("/book", method="POST", body=b'{"a":1}')
    assert a.status == 502 and other.count() == 0, a
    a = n.get("/book", method="POST", body=b'{"a":1}')
    assert a.status == 200 and a.json["method"] == "POST", a
    assert other.requests[0][3] == b'{"a":1}', other.requests


@test
def a_post_to_a_dead_port_was_never_sent_and_may_go_elsewhere(scene):
    n, one, other = two(scene, "@service2")
    one.stop()
    assert n.get("/book", method="POST", body=b"x" * 50000).json["service"] == "two"


@test
def a_static_answer_ends_the_chain(scene):
    n, one, other = two(scene, "@service2 503=/sorry.json")
    a = n.get("/x")
    assert a.status == 200 and a.json["service"] == "two", a
    n, one, other = two(scene, "503=/sorry.json")
    for _ in range(2):
        a = n.get("/x", method="POST", body=b"x")
        assert a.status == 503 and a.json == {"sorry": True}, a
    assert a.headers["Retry-After"], a
    n.logged("fallback=503=/sorry.json")


@test
def a_chain_goes_on_when_the_other_service_is_refused_too(scene):
    one, other = scene.upstream("one", "500"), scene.upstream("two", "500")
    n = scene.nginx(site(ONE, f"""
        location / {{ breaker_use b; breaker_fallback @service2; proxy_pass http://127.0.0.1:{one.port}; }}
        location @service2 {{ breaker_use c; breaker_fallback 503=/sorry.json;
                              proxy_pass http://127.0.0.1:{other.port}; }}
        location = /sorry.json {{ internal; return 200 "sorry"; }}""",
        http=f"breaker c {ONE};"))
    for _ in range(3):
        a = n.get("/x")
        assert a.body == b"sorry", a
    assert one.count() == 1 and other.count() == 1
    assert n.state("b") == "open" and n.state("c") == "open"


@test
def two_services_that_fall_back_to_each_other_do_not_loop(scene):
    one, other = scene.upstream("one", "500"), scene.upstream("two", "500")
    n = scene.nginx(site(ONE, f"""
        location / {{ return 404; }}
        location /x {{ breaker_use b; breaker_fallback @a; proxy_pass http://127.0.0.1:{one.port}; }}
        location @a {{ breaker_use b; breaker_fallback @b; proxy_pass http://127.0.0.1:{other.port}; }}
        location @b {{ breaker_use c; breaker_fallback @a @b; proxy_pass http://127.0.0.1:{other.port}; }}""",
        http=f"breaker c {ONE};"))
    for _ in range(3):
        a = n.get("/x")
        assert a.status in (500, 503), a
    assert other.count() <= 2


@test
def fallbacks_have_a_limit_of_their_own(scene):
    n, one, other = two(scene, "@service2", breaker=ONE + " max_fallbacks=2", mode="ok")
    n.order("b", "open")
    other.mode = "hold"
    import threading
    results = []
    ts = [threading.Thread(target=lambda: results.append(n.get("/x").status)) for _ in range(2)]
    for t in ts:
        t.start()
    wait_for(lambda: other.count() == 2, "two fallbacks are not under way")
    a = n.get("/x")
    assert a.status == 503 and a.json["code"] == "breaker-open", a
    other.release()
    for t in ts:
        t.join()
    assert results == [200, 200], results
    assert n.get("/x").status == 200


CACHE = """proxy_cache_path @DIR@/cache levels=1 keys_zone=c:1m use_temp_path=off;"""


def cached(scene, extra="", mode="ok"):
    u = scene.upstream("one", mode)
    u.headers = {"Cache-Control": "max-age=1"}
    n = scene.nginx(site(ONE, f"""
        location / {{
            breaker_use b; breaker_fallback cache 503=/sorry.json; proxy_pass http://127.0.0.1:{u.port};
            proxy_cache c; proxy_cache_use_stale error timeout http_500 updating; {extra}
            add_header Cache-Status $upstream_cache_status always;
        }}
        location = /sorry.json {{ internal; return 200 "sorry"; }}""", http=CACHE))
    return n, u


@test
def a_fresh_hit_costs_no_permit_and_a_stale_copy_answers_a_refusal(scene):
    n, u = cached(scene)
    assert n.get("/x").headers["Cache-Status"] == "MISS"
    assert n.get("/x").headers["Cache-Status"] == "HIT"
    assert n.breaker("b")["calls"]["ok"] == 1, n.breaker("b")
    n.order("b", "open")
    a = wait_for(lambda: (lambda a: a if a.headers["Cache-Status"] == "STALE" else None)(n.get("/x")), "never stale", 5)
    assert a.status == 200 and a.json["service"] == "one" and u.count() == 1, a
    n.logged("fallback=cache", "decision=refused")
    assert n.get("/not-cached").body == b"sorry"


@test
def a_background_update_that_is_refused_gives_its_permit_back(scene):
    n, u = cached(scene, "proxy_cache_background_update on;")
    n.get("/x")
    n.order("b", "open")
    for status in ("HIT", "STALE", "STALE"):
        a = wait_for(lambda: (lambda a: a if a.headers["Cache-Status"] == status else None)(n.get("/x")), status, 5)
        assert a.status == 200 and a.json["service"] == "one", a
    assert u.count() == 1
    n.order("b", "auto")
    n.order("b", "reset")
    u.headers = {"Cache-Control": "max-age=100"}
    wait_for(lambda: n.get("/x").headers["Cache-Status"] == "HIT", "not updated", 5)
    assert u.count() == 2 and n.breaker("b")["calls"]["ok"] >= 1, n.breaker("b")


def feed(n, path="/feed"):
    s = socket.create_connection(("127.0.0.1", n.port), timeout=5)
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode())
    return s, s.recv(65536)


@test
def feeds_are_reported_at_their_header_and_leave_max_in_flight_alone(scene):
    u = scene.upstream(mode="ok")
    u.modes["/feed"] = "feed"
    n = scene.nginx(site(ONE + " max_in_flight=2 max_streams=4", f"""
        location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; proxy_buffering off; }}"""))
    open_feeds = []
    for _ in range(4):
        s, head = feed(n)
        assert b"200 OK" in head, head
        while b"data: first" not in head:
            head += s.recv(65536)
        open_feeds.append(s)
    b = n.breaker("b")
    assert b["calls"]["ok"] == 4 and b["in_flight"] == 0, b
    assert n.breaker("b.streams")["in_flight"] == 4
    assert n.get("/x").status == 200
    s, head = feed(n)
    assert b" 503 " in head and b"Retry-After: 1" in head, head
    s.close()
    for s in open_feeds:
        s.close()
    wait_for(lambda: n.breaker("b.streams")["in_flight"] == 0, "feeds that are gone still hold places")
    assert n.state() == "closed" and n.breaker("b")["calls"]["failure"] == 0


@test
def a_feed_that_breaks_later_is_no_failure(scene):
    u = scene.upstream(mode="feed")
    n = scene.nginx(site(ONE, f"location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; "
                              "proxy_buffering off; proxy_read_timeout 200ms; }"))
    s, _ = feed(n)
    while s.recv(65536):
        pass
    assert n.state() == "closed" and n.breaker("b")["calls"]["ok"] == 1, n.breaker("b")


@test
def max_in_flight_refuses_the_call_that_is_too_many(scene):
    u = scene.upstream(mode="hold")
    n = scene.nginx(site(ONE + " max_in_flight=3", f"location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; }}"))
    import threading
    results = []
    ts = [threading.Thread(target=lambda: results.append(n.get("/x").status)) for _ in range(3)]
    for t in ts:
        t.start()
    wait_for(lambda: u.count() == 3, "three calls are not under way")
    a = n.get("/x")
    assert a.status == 503 and a.json["reason"] == "full", a
    u.release()
    for t in ts:
        t.join()
    assert results == [200] * 3 and n.breaker("b")["in_flight"] == 0


@test
def shadow_reports_and_refuses_nothing(scene):
    u = scene.upstream(mode="500")
    n = scene.nginx(site(ONE, f"location / {{ breaker_use b shadow; proxy_pass http://127.0.0.1:{u.port}; }}"))
    for _ in range(3):
        assert n.get("/x").status == 500
    assert u.count() == 3
    n.logged("decision=shadow reason=open")


@test
def the_services_retry_after_is_taken_as_the_open_time(scene):
    u = scene.upstream(mode="503")
    u.headers = {"Retry-After": "30"}
    n = scene.nginx(site("window=10s min_calls=1 consecutive=1 open=1s open_max=60s jitter=0%",
                         f"location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; }}"))
    n.get("/x")
    a = n.get("/x")
    assert a.status == 503 and 25 <= int(a.headers["Retry-After"]) <= 30, a


@test
def a_hundred_clients_at_once_all_get_an_answer_while_it_opens(scene):
    n, one, other = two(scene, "@service2", breaker="window=10s min_calls=5 consecutive=5 open=60s open_max=60s",
                        mode="close")
    for a in together(60, lambda: n.get("/x")):
        assert not isinstance(a, Exception) and a.status == 200 and a.json["service"] == "two", a
    assert n.state() == "open" and n.breaker("b")["in_flight"] == 0


if __name__ == "__main__":
    sys.exit(test.run())
