#!/usr/bin/env python3
"""Kinds of traffic: cached answers, feeds, upgrades, HTTP/2, TLS, crowds (BREAKER.md §5, points 2, 3, 7)."""
import shutil
import socket
import subprocess
import sys
import threading

from harness import WAIT_S, ONE, certificate, free_port, site, test, together, two, wait_for

CACHE = """proxy_cache_path @DIR@/cache levels=1 keys_zone=c:1m use_temp_path=off;"""


def cached(scene, extra="", mode="ok"):
    u = scene.upstream("one", mode)
    u.headers = {"Cache-Control": "max-age=3"}
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
    # nginx puts the copy in its place after the last byte of the answer: who asks in between misses too.
    wait_for(lambda: n.get("/x").headers["Cache-Status"] == "HIT", "never a hit", 5)
    asked = u.count()
    assert n.get("/x").headers["Cache-Status"] == "HIT"
    assert u.count() == asked and n.breaker("b")["calls"]["ok"] == asked, n.breaker("b")
    n.order("b", "open")
    a = wait_for(lambda: (lambda a: a if a.headers["Cache-Status"] == "STALE" else None)(n.get("/x")), "never stale", 5)
    assert a.status == 200 and a.json["service"] == "one" and u.count() == asked, a
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
    u.headers = {"Cache-Control": "max-age=100"}
    n.order("b", "auto")
    n.order("b", "reset")
    wait_for(lambda: n.get("/x").headers["Cache-Status"] == "HIT", "not updated", 5)
    assert 2 <= u.count() <= 3, u.count()       # 3: an update that was refused may be tried once more while it is let in again
    assert n.breaker("b")["calls"]["ok"] >= 1 and n.breaker("b")["probes"]["out"] == 0, n.breaker("b")


def feed(n, path="/feed"):
    s = socket.create_connection(("127.0.0.1", n.port), timeout=WAIT_S)
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
def a_feed_that_breaks_later_is_no_failure_of_its_server_either(scene):
    u = scene.upstream(mode="feed")
    n = scene.nginx(site(ONE, """
        location / { breaker_use b; breaker_class $class; proxy_pass http://pool; proxy_read_timeout 100ms; proxy_buffering off; }""",
        upstreams=f"upstream pool {{ server 127.0.0.1:{u.port} max_fails=0; breaker_peers s; }}",
        http=f"breaker s {ONE}; map $uri $class {{ default ''; /log feed; }}"))
    for path in ("/feed", "/log"):      # the second is one by its class alone
        u.decide = lambda method, path, headers: "feed" if path == "/feed" else "trickle:0.5"
        for _ in range(3):
            try:
                assert n.get(path).status == 200, path
            except OSError:
                pass        # cut after its header
        for name in ("b", f"s:127.0.0.1:{u.port}"):
            b = n.breaker(name)
            assert b["state"] == "closed" and b["calls"]["failure"] == 0 and b["in_flight"] == 0, (path, b)
    assert u.count() == 6


@test
def an_upgraded_connection_is_reported_at_its_header_too(scene):
    u = scene.upstream(mode="upgrade")
    n = scene.nginx(site(ONE + " max_in_flight=1 max_streams=2", f"""
        location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; proxy_http_version 1.1;
                      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }}"""))
    s = socket.create_connection(("127.0.0.1", n.port), timeout=WAIT_S)
    s.sendall(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
    assert b" 101 " in s.recv(4096)
    s.sendall(b"hello")
    assert s.recv(4096) == b"hello"
    assert n.breaker("b")["calls"]["ok"] == 1 and n.breaker("b")["in_flight"] == 0
    assert n.breaker("b.streams")["in_flight"] == 1
    s.close()
    wait_for(lambda: n.breaker("b.streams")["in_flight"] == 0, "its place is still held")


@test
def a_page_with_parts_shows_the_fallback_of_the_part_that_failed(scene):
    n, one, other = two(scene, "@service2", more="""
        location = /page { ssi on; default_type text/html; root @DIR@; try_files /page.html =404; }
        location /page.html { internal; ssi on; root @DIR@; }""")
    with open(n.dir + "/page.html", "w") as f:
        f.write('<p><!--# include virtual="/part" --></p><p><!--# include virtual="/part" --></p>')
    for _ in range(3):
        a = n.get("/page")
        assert a.status == 200 and a.body.count(b'"service": "two"') == 2 and a.body.endswith(b"</p>"), a
    assert one.count() <= 2 and n.breaker("b")["in_flight"] == 0


def post_in_parts(n):
    """A connection over which the beginning of a long body was sent."""
    s = socket.create_connection(("127.0.0.1", n.port), timeout=WAIT_S)
    s.sendall(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc")
    return s


@test
def a_body_that_is_still_coming_goes_nowhere_else(scene):
    n, one, other = two(scene, "@service2 503=/sorry.json", extra="proxy_request_buffering off;", mode="ok")
    one.stop()
    s = post_in_parts(n)
    answer = s.recv(65536)
    assert b" 503 " in answer and other.count() == 0, answer
    s.close()


@test
def a_body_that_no_one_has_read_yet_goes_to_the_other_service_whole(scene):
    n, one, other = two(scene, "@service2 503=/sorry.json", extra="proxy_request_buffering off;", mode="ok")
    n.order("b", "open")
    s = post_in_parts(n)
    s.sendall(b"x" * (100000 - 3))
    assert b" 200 " in s.recv(65536)
    assert [len(r[3]) for r in other.requests] == [100000] and one.count() == 0
    s.close()


@test
def a_call_that_is_refused_holds_nothing_while_its_body_comes(scene):
    n, one, other = two(scene, "503=/sorry.json", breaker=ONE + " max_in_flight=1", mode="ok")
    n.order("b", "open")
    s = post_in_parts(n)
    assert b" 503 " in s.recv(65536)
    n.order("b", "close")
    assert n.get("/x").status == 200 and n.breaker("b")["in_flight"] == 0
    s.close()


@test
def http_2_streams_fall_back_and_are_refused_one_by_one(scene):
    one, other = scene.upstream("one", "500"), scene.upstream("two")
    folder = certificate()
    port = free_port()
    n = scene.nginx(site(ONE, f"""
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
        location / {{ breaker_use b; breaker_fallback @service2; proxy_pass http://127.0.0.1:{one.port}; }}
        location @service2 {{ proxy_pass http://127.0.0.1:{other.port}; }}
        location /closed {{ breaker_use b; proxy_pass http://127.0.0.1:{one.port}; }}"""))
    urls = [f"https://127.0.0.1:{port}{path}" for path in ["/x"] * 10 + ["/closed"] * 5]
    text = subprocess.run(["curl", "-sk", "--http2", "-w", "%{http_version} ", *urls], capture_output=True, text=True,
                          timeout=20).stdout
    shutil.rmtree(folder)
    assert text.count('"service": "two"') == 10 and text.count("breaker-open") == 5 and text.count("2 ") >= 15, text
    assert one.count() == 1


@test
def tls_to_the_service_keeps_its_sessions_and_connections(scene):
    folder = certificate()
    port = free_port()
    n = scene.nginx(site(ONE, """
        location / { breaker_use b; proxy_pass https://secure; proxy_http_version 1.1; proxy_set_header Connection ""; }""",
        upstreams=f"upstream secure {{ server 127.0.0.1:{port}; keepalive 2; breaker_peers b; }}",
        http=f"""server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/cert.pem;
                 ssl_certificate_key {folder}/key.pem; ssl_session_cache shared:tls:1m;
                 location /bad {{ return 500; }}
                 location / {{ return 200 "$ssl_session_reused $connection_requests"; }} }}"""), workers=1)
    seen = [n.get("/x").body.decode() for _ in range(3)]
    assert seen == [". 1", ". 2", ". 3"], seen
    assert n.get("/bad").status == 500
    assert n.get("/x").status == 503
    n.order("b", "reset"), n.order(f"b:127.0.0.1:{port}", "reset")
    assert n.get("/x").status == 200
    n.order(f"b:127.0.0.1:{port}", "open")      # a kept TLS connection is given up
    assert n.get("/x").json["reason"] == "servers"
    n.order(f"b:127.0.0.1:{port}", "reset")
    assert n.get("/x").body == b"r 1", n.get("/x")
    shutil.rmtree(folder)


@test
def max_in_flight_refuses_the_call_that_is_too_many(scene):
    u = scene.upstream(mode="hold")
    n = scene.nginx(site(ONE + " max_in_flight=3", f"location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; }}"))
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
