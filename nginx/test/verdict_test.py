#!/usr/bin/env python3
"""What counts as what: each verdict with a real nginx and a service that misbehaves (BREAKER.md §5, points 1, 3, 5, 6)."""
import socket
import sys

from harness import Upstream, free_port, site, test, wait_for

# Trips at the third failure; nothing else trips it, and it stays open for the whole test.
THREE = "window=10s min_calls=3 failure_rate=50% consecutive=3 open=60s open_max=60s"


def proxied(u, extra="", breaker=THREE, location="/"):
    return site(breaker, f"""
        location {location} {{
            breaker_use b;
            proxy_pass http://127.0.0.1:{u.port};
            {extra}
        }}""")


def trips_with(scene, mode, reason, extra=""):
    """Three requests in that mode open the breaker, and the log says why."""
    u = scene.upstream(mode=mode)
    n = scene.nginx(proxied(u, extra))
    for _ in range(3):
        assert n.state() == "closed"
        n.get("/")
    assert n.state() == "open", n.breaker("b")
    seen = u.count()
    a = n.get("/")
    assert a.status == 503 and u.count() == seen, a
    n.logged(f"reason={reason}")


@test
def a_single_server_that_answers_502_trips(scene):
    trips_with(scene, "502", "http_502")


@test
def a_500_counts_though_proxy_next_upstream_does_not_name_it(scene):
    trips_with(scene, "500", "http_500")


@test
def a_connection_that_is_closed_without_an_answer_counts(scene):
    trips_with(scene, "close", "error")


@test
def a_reset_connection_counts(scene):
    trips_with(scene, "reset", "error")


@test
def a_service_that_hangs_counts_as_a_timeout(scene):
    trips_with(scene, "hang", "timeout", "proxy_read_timeout 300ms;")


@test
def an_answer_that_is_not_http_counts(scene):
    trips_with(scene, "garbage", "invalid_header")      # nonsense_test.py has every kind of it


@test
def a_body_cut_short_counts_though_its_status_was_200(scene):
    trips_with(scene, "truncate", "truncated")


@test
def a_body_cut_short_counts_when_it_is_not_buffered(scene):
    trips_with(scene, "truncate", "truncated", "proxy_buffering off;")


@test
def a_port_that_refuses_counts(scene):
    u = scene.upstream()
    n = scene.nginx(proxied(u))
    u.stop()
    for _ in range(3):
        assert n.get("/").status == 502
    assert n.state() == "open"


@test
def the_last_try_of_several_servers_counts_once(scene):
    one, two = scene.upstream("one", "503"), scene.upstream("two", "503")
    n = scene.nginx(site(THREE, """
        location / { breaker_use b; proxy_pass http://pair; proxy_next_upstream error http_503; }""",
        upstreams=f"upstream pair {{ server 127.0.0.1:{one.port} max_fails=0; server 127.0.0.1:{two.port} max_fails=0; }}"))
    assert n.get("/").status == 503
    assert one.count() + two.count() == 2
    b = n.breaker("b")
    assert b["state"] == "closed" and b["calls"]["failure"] == 1, b
    n.get("/"), n.get("/")
    assert n.state() == "open"


@test
def having_no_live_server_left_counts(scene):
    one, two = scene.upstream("one", "close"), scene.upstream("two", "close")
    n = scene.nginx(site(THREE, "location / { breaker_use b; proxy_pass http://pair; }",
        upstreams=f"upstream pair {{ server 127.0.0.1:{one.port}; server 127.0.0.1:{two.port}; }}"))
    for _ in range(3):
        assert n.get("/").status == 502
    assert n.state() == "open" and n.get("/").status == 503


@test
def a_try_that_another_server_heals_is_a_success(scene):
    one, two = scene.upstream("one", "close"), scene.upstream("two")
    n = scene.nginx(site(THREE, "location / { breaker_use b; proxy_pass http://pair; }",
        upstreams=f"upstream pair {{ server 127.0.0.1:{one.port} max_fails=0; server 127.0.0.1:{two.port}; }}"))
    for _ in range(6):
        assert n.get("/").status == 200
    b = n.breaker("b")
    assert b["state"] == "closed" and b["calls"]["failure"] == 0 and b["calls"]["ok"] == 6, b


@test
def answers_that_error_page_replaces_still_count(scene):
    u = scene.upstream(mode="500")
    n = scene.nginx(site(THREE, f"""
        location / {{
            breaker_use b; proxy_pass http://127.0.0.1:{u.port};
            proxy_intercept_errors on; error_page 500 = @other;
        }}
        location @other {{ return 200 "other"; }}"""))
    for _ in range(3):
        assert n.get("/").body == b"other"
    assert n.state() == "open"


@test
def a_404_is_a_success_and_a_429_is_neutral(scene):
    u = scene.upstream(mode="404")
    n = scene.nginx(proxied(u))
    for _ in range(4):
        assert n.get("/").status == 404
    u.mode = "429"
    for _ in range(4):
        assert n.get("/").status == 429
    b = n.breaker("b")
    assert b["state"] == "closed" and b["calls"]["ok"] == 4 and b["calls"]["neutral"] == 4, b


@test
def a_401_of_the_gateway_takes_no_permit(scene):
    u = scene.upstream()
    n = scene.nginx(proxied(u, "deny all;"))
    assert n.get("/").status == 403
    b = n.breaker("b")
    assert sum(b["calls"].values()) == 0, b


@test
def who_may_not_enter_gets_no_fallback_and_no_probe_either(scene):
    u, other = scene.upstream(), scene.upstream("two")
    n = scene.nginx(site(THREE, f"""
        location / {{ breaker_use b; breaker_fallback @two; deny all; proxy_pass http://127.0.0.1:{u.port}; }}
        location /variable {{ breaker_use b; breaker_fallback @two; deny all; set $at 127.0.0.1; proxy_pass http://$at:{u.port}; }}
        location @two {{ proxy_pass http://127.0.0.1:{other.port}; }}"""))
    n.order("b", "open")
    assert n.get("/").status == 403 and n.get("/variable").status == 403
    n.order("b", "auto")        # the next call that is allowed is a probe
    assert n.get("/").status == 403 and n.get("/variable").status == 403
    b = n.breaker("b")
    assert b["probes_granted"] == 0 and sum(b["refused"].values()) == 0 and sum(b["calls"].values()) == 0, b
    assert u.count() == other.count() == 0


@test
def breaker_class_overrules_the_status(scene):
    u = scene.upstream(mode="500")
    n = scene.nginx(site(THREE, f"""
        location / {{ breaker_use b; breaker_class $class; proxy_pass http://127.0.0.1:{u.port}; }}""",
        http="map $arg_class $class { default ''; ok ok; neutral neutral; failure failure; }"))
    for _ in range(3):
        n.get("/?class=ok"), n.get("/?class=neutral")
    b = n.breaker("b")
    assert b["state"] == "closed" and b["calls"]["ok"] == 3 and b["calls"]["neutral"] == 3, b
    u.mode = "200"
    for _ in range(4):
        n.get("/?class=failure")
    assert n.state() == "open"


@test
def breaker_failure_and_neutral_name_what_counts(scene):
    u = scene.upstream(mode="500")
    n = scene.nginx(proxied(u, "breaker_failure http_4xx; breaker_neutral http_500;"))
    for _ in range(4):
        n.get("/")
    assert n.state() == "closed" and n.breaker("b")["calls"]["neutral"] == 4, n.breaker("b")
    u.mode = "418"
    for _ in range(3):
        n.get("/")
    assert n.state() == "open"


def abort(n, path="/"):
    s = socket.create_connection(("127.0.0.1", n.port))
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return s


@test
def a_client_that_leaves_is_neutral(scene):
    u = scene.upstream(mode="hold")
    n = scene.nginx(proxied(u, "proxy_read_timeout 20s;"))
    for i in range(4):
        s = abort(n)
        wait_for(lambda: u.count() == i + 1, "the request did not arrive")
        s.close()
    wait_for(lambda: n.breaker("b")["calls"]["neutral"] == 4, "aborts are not neutral")
    assert n.state() == "closed"


@test
def a_client_that_leaves_after_slow_call_is_a_slow_sample(scene):
    u = scene.upstream(mode="hold")
    n = scene.nginx(proxied(u, "proxy_read_timeout 20s;",
                            "window=10s min_calls=2 consecutive=0 failure_rate=0 slow_call=50ms slow_rate=50% open=60s"
                            " open_max=60s"))
    for i in range(2):
        s = abort(n)
        wait_for(lambda: u.count() == i + 1, "the request did not arrive")
        import time
        time.sleep(0.1)      # the law is about time: longer than slow_call
        s.close()
    n.wait_state("open")
    assert n.breaker("b")["reason"] == "slow_rate", n.breaker("b")


@test
def a_reused_connection_that_breaks_is_neutral(scene):
    u = scene.upstream(mode="once-then-close")
    n = scene.nginx(site(THREE, """
        location / { breaker_use b; proxy_pass http://kept; proxy_http_version 1.1; proxy_set_header Connection "";
                     proxy_next_upstream off; }""",
        upstreams=f"upstream kept {{ server 127.0.0.1:{u.port}; keepalive 4; }}"), workers=1)
    statuses = [n.get("/").status for _ in range(8)]
    assert 502 in statuses and 200 in statuses, statuses
    b = n.breaker("b")
    assert b["state"] == "closed" and b["calls"]["failure"] == 0 and b["calls"]["neutral"] == statuses.count(502), b
    n.logged("reason=keepalive_race")


@test
def a_slow_answer_is_judged_by_the_time_to_its_header(scene):
    u = scene.upstream(mode="slow:0.1")
    n = scene.nginx(proxied(u, "", "window=10s min_calls=2 consecutive=0 failure_rate=0 slow_call=50ms slow_rate=50% "
                                   "open=60s open_max=60s"))
    assert n.get("/").status == 200 and n.get("/").status == 200
    assert n.state() == "open" and n.breaker("b")["reason"] == "slow_rate", n.breaker("b")


@test
def a_body_that_takes_its_time_makes_no_call_slow(scene):
    u = scene.upstream(mode="trickle:0.3")
    n = scene.nginx(proxied(u, "", "window=10s min_calls=2 consecutive=0 failure_rate=0 slow_call=200ms slow_rate=50% "
                                   "open=60s open_max=60s"))
    assert [n.get("/").status for _ in range(3)] == [200] * 3
    b = n.breaker("b")
    assert b["state"] == "closed" and b["calls"]["ok"] == 3 and b["latency"]["max_ms"] < 250, b


@test
def no_slow_lets_a_request_wait_as_long_as_it_asked_for(scene):
    u = scene.upstream(mode="slow:0.1")
    n = scene.nginx(site("window=10s min_calls=2 consecutive=0 failure_rate=0 slow_call=50ms slow_rate=50% open=60s "
                         "open_max=60s",
                         f"location / {{ breaker_use b; breaker_class $class; proxy_pass http://127.0.0.1:{u.port}; }}",
                         http="map $http_prefer $class { default ''; ~wait= no_slow; }"))
    for _ in range(4):
        assert n.get("/", headers={"Prefer": "wait=1"}).status == 200
    assert n.state() == "closed"


@test
def an_upstream_with_a_variable_host_is_gated_and_judged(scene):
    u = scene.upstream(mode="500")
    n = scene.nginx(site(THREE, f"""
        location / {{ breaker_use b; set $to 127.0.0.1:{u.port}; proxy_pass http://$to; proxy_read_timeout 1s; }}"""))
    n.get("/")
    u.mode = "hang"
    n.get("/")
    u.stop()
    n.get("/")
    assert n.state() == "open", n.breaker("b")
    a = n.get("/")
    assert a.status == 503 and a.json["code"] == "breaker-open", a
    assert n.breaker("b")["calls"]["failure"] == 2 and n.breaker("b")["calls"]["timeout"] == 1, n.breaker("b")


@test
def a_variable_host_that_names_an_upstream_block_is_counted_once(scene):
    u = scene.upstream()
    n = scene.nginx(site(THREE, "location / { breaker_use b; set $to pool; proxy_pass http://$to; }",
                         upstreams=f"upstream pool {{ server 127.0.0.1:{u.port}; }}"))
    for _ in range(3):
        assert n.get("/").status == 200
    assert n.breaker("b")["calls"]["ok"] == 3 and n.breaker("b")["in_flight"] == 0, n.breaker("b")


@test
def an_auth_subrequest_gives_its_permit_back(scene):
    auth, u = scene.upstream("auth"), scene.upstream()
    n = scene.nginx(site("window=10s min_calls=3 consecutive=3 open=60s open_max=60s max_in_flight=2", f"""
        location / {{ auth_request /auth; proxy_pass http://127.0.0.1:{u.port}; }}
        location = /auth {{ internal; breaker_use b; proxy_pass http://127.0.0.1:{auth.port};
                            proxy_pass_request_body off; proxy_set_header Content-Length ""; }}"""))
    for _ in range(8):
        assert n.get("/").status == 200
    b = n.breaker("b")
    assert b["calls"]["ok"] == 8 and b["in_flight"] == 0, b
    auth.mode = "500"
    for _ in range(3):
        assert n.get("/").status == 500
    assert n.state() == "open"
    seen = auth.count()
    assert n.get("/").status == 500 and auth.count() == seen


if __name__ == "__main__":
    sys.exit(test.run())
