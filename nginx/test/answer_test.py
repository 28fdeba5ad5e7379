#!/usr/bin/env python3
"""What the client gets: refusals and fallback chains (BREAKER.md §5, points 2, 6, 10)."""
import http.client
import inspect
import sys
import threading

from harness import WAIT_S, ONE, late, site, test, two, wait_for


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
    c = http.client.HTTPConnection("127.0.0.1", n.port, timeout=WAIT_S)
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
    n, one, other = two(scene, "@service2")
    c = http.client.HTTPConnection("127.0.0.1", n.port, timeout=WAIT_S)
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
        assert a.status in (500, 502, 503), a
    assert other.count() <= 2 and "redirection cycle" not in n.error_log(), n.error_log()


@test
def fallbacks_have_a_limit_of_their_own(scene):
    n, one, other = two(scene, "@service2", breaker=ONE + " max_fallbacks=2", mode="ok")
    n.order("b", "open")
    other.mode = "hold"
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


for each in list(test.tests):
    if ".order(" not in inspect.getsource(each):    # a key's breaker is there from its first call on
        test(late(each))


if __name__ == "__main__":
    sys.exit(test.run())
