#!/usr/bin/env python3
"""States over time, processes and reloads (BREAKER.md §5, points 4, 6, 8, 9; per-key and per-server breakers)."""
import http.client
import os
import signal
import socket
import sys
import threading

from harness import WAIT_S, site, test, together, wait_for

# Opens at the third failure in a row, for 300 ms; two of three probes close it, at once.
QUICK = "window=10s min_calls=3 consecutive=3 open=300ms open_max=300ms jitter=0% probes=3 probe_ok=2 ramp=0"


def quick(scene, extra="", breaker=QUICK, workers=2, mode="500"):
    u = scene.upstream(mode=mode)
    n = scene.nginx(site(breaker, f"location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; {extra} }}"),
                    workers=workers)
    return n, u


def trip(n):
    for _ in range(3):
        n.get("/x")
    assert n.state() == "open"


@test
def a_service_that_comes_back_is_probed_and_closed(scene):
    n, u = quick(scene)
    trip(n)
    u.mode = "ok"
    wait_for(lambda: n.get("/x").status == 200, "no probe passed")
    n.get("/x"), n.get("/x")
    assert n.state() == "closed" and n.get("/x").status == 200
    n.logged("decision=probe")
    kinds = [e["to"] for e in n.breaker("b")["events"]]
    assert kinds == ["open", "half_open", "closed"], kinds


@test
def a_service_that_is_still_ill_stays_open(scene):
    n, u = quick(scene)
    trip(n)
    u.forget()
    wait_for(lambda: n.get("/x").status == 500, "no probe passed")
    wait_for(lambda: n.get("/x").status != 200 and n.state() == "open", "not open again")
    assert u.count() <= 3


@test
def exactly_three_probes_pass_over_all_workers(scene):
    n, u = quick(scene, workers=4, extra="proxy_read_timeout 20s;")
    trip(n)
    u.mode = "hold"
    u.forget()
    wait_for(lambda: n.breaker("b")["retry_after_ms"] == 0, "the open time does not end")
    answers = []
    def one():
        answers.append(n.get("/x", timeout=20).status)
    threads = [threading.Thread(target=one) for _ in range(40)]
    for t in threads:
        t.start()
    wait_for(lambda: len(answers) == 37, "37 of 40 are not refused")
    assert u.count() == 3 and answers == [503] * 37, (u.count(), answers)
    u.release()
    for t in threads:
        t.join()
    assert n.state() == "closed"


@test
def probes_are_reads_or_have_an_idempotency_key(scene):
    n, u = quick(scene, breaker=QUICK.replace("300ms", "2s"))
    trip(n)
    u.forget()
    u.mode = "ok"
    wait_for(lambda: n.breaker("b")["retry_after_ms"] == 0, "the open time does not end")
    assert n.get("/x", method="POST", body=b"x").status == 503
    assert u.count() == 0
    assert n.get("/x", method="POST", body=b"x", headers={"Idempotency-Key": "k"}).status == 200
    assert n.get("/x").status == 200


@test
def a_service_that_is_only_written_to_is_probed_by_writes_after_one_more_open_time(scene):
    n, u = quick(scene)
    trip(n)
    u.mode = "ok"
    wait_for(lambda: n.get("/x", method="POST", body=b"x").status == 200, "never probed")


@test
def a_probe_is_not_retried_on_another_server(scene):
    one, two = scene.upstream("one", "500"), scene.upstream("two", "500")
    n = scene.nginx(site(QUICK, "location / { breaker_use b; proxy_pass http://pair; proxy_next_upstream error http_500; }",
        upstreams=f"upstream pair {{ server 127.0.0.1:{one.port} max_fails=0; server 127.0.0.1:{two.port} max_fails=0; }}"))
    trip(n)
    assert one.count() + two.count() == 6
    wait_for(lambda: n.get("/x").status == 500, "no probe passed")
    assert one.count() + two.count() == 7


@test
def counts_survive_a_reload_and_new_rules_win(scene):
    n, u = quick(scene)
    n.get("/x"), n.get("/x")
    rules = open(n.dir + "/nginx.conf").read()
    n.reload()
    assert n.breaker("b")["window"]["failures"] == 2, n.breaker("b")
    n.get("/x")
    assert n.state() == "open"
    n.order("b", "reset")
    open(n.dir + "/nginx.conf", "w").write(rules.replace("consecutive=3", "consecutive=2"))
    n.reload()
    n.get("/x"), n.get("/x")
    assert n.state() == "open", n.breaker("b")


@test
def a_reload_with_an_error_changes_nothing(scene):
    n, u = quick(scene)
    rules = open(n.dir + "/nginx.conf").read()
    open(n.dir + "/nginx.conf", "w").write(rules.replace("consecutive=3", "consecutive=1 probes=999"))
    n.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "probes" in n.error_log(), "the mistake is not logged")
    n.get("/x")
    assert n.state() == "closed" and "consecutive=3" in n.breaker("b")["config"]
    open(n.dir + "/nginx.conf", "w").write(rules)
    open(n.dir + "/error.log", "w").write("")      # the mistake was meant


@test
def nothing_is_lost_when_workers_are_killed(scene):
    n, u = quick(scene, breaker=QUICK.replace("300ms", "60s") + " max_in_flight=4", workers=2)
    n.get("/x"), n.get("/x")
    u.mode = "hold"
    held = [threading.Thread(target=lambda: swallow(lambda: n.get("/x"))) for _ in range(4)]
    for t in held:
        t.start()
    wait_for(lambda: u.count() == 6, "four calls are not under way")
    assert n.breaker("b")["in_flight"] == 4
    before = n.worker_pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(n.worker_pids()) == 2 and not set(before) & set(n.worker_pids()), "no new workers")
    for t in held:
        t.join()
    wait_for(lambda: n.breaker("b")["in_flight"] == 0, "the killed workers still hold places")
    assert n.breaker("b")["window"]["consecutive"] == 2, n.breaker("b")
    u.mode = "500"
    u.release()
    n.get("/x")
    assert n.state() == "open"


def swallow(f):
    try:
        f()
    except Exception:
        pass


@test
def a_killed_worker_frees_its_probes_when_their_lease_ends(scene):
    n, u = quick(scene, breaker=QUICK + " probe_lease=1s", workers=1)
    trip(n)
    u.mode = "hold"
    u.forget()
    wait_for(lambda: n.breaker("b")["retry_after_ms"] == 0, "the open time does not end")
    held = [threading.Thread(target=lambda: swallow(lambda: n.get("/x"))) for _ in range(3)]
    for t in held:
        t.start()
    wait_for(lambda: u.count() == 3, "no probes")
    os.kill(n.worker_pids()[0], signal.SIGKILL)
    for t in held:
        t.join()
    u.mode = "ok"
    wait_for(lambda: n.get("/x").status == 200, "half-open for ever")
    wait_for(lambda: n.get("/x").status == 200 and n.state() == "closed", "not closed")


@test
def workers_share_one_breaker(scene):
    n, u = quick(scene, breaker="window=10s min_calls=20 failure_rate=50% consecutive=0 open=60s open_max=60s", workers=4)
    together(20, lambda: n.get("/x"))
    assert n.state() == "open", n.breaker("b")


@test
def each_key_has_a_breaker_of_its_own(scene):
    u = scene.upstream()
    u.modes["/bad"] = "500"
    n = scene.nginx(site(QUICK.replace("300ms", "60s") + " key=$arg_tenant",
                         f"location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; }}"))
    for _ in range(3):
        n.get("/bad?tenant=a")
    assert n.get("/good?tenant=a").status == 503
    assert n.get("/good?tenant=c").status == 200 and n.get("/good").status == 200
    assert n.state("b:a") == "open" and n.state("b:c") == "closed" and n.state("b") == "closed"


@test
def keys_that_find_no_room_share_one_breaker_and_the_log_says_so_once(scene):
    u = scene.upstream()
    conf = site(QUICK.replace("open=300ms open_max=300ms", "open=1h open_max=1h") + " key=$arg_tenant key_idle=1h",
                f"location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; }}")
    n = scene.nginx(conf.replace("breakers 2m", "breakers 512k"), workers=1)
    c = http.client.HTTPConnection("127.0.0.1", n.port, timeout=WAIT_S)

    def get(tenant):
        c.request("GET", f"/x?tenant={tenant}")
        r = c.getresponse()
        r.read()
        return r.status
    assert all(get(f"t{i}") == 200 for i in range(600))
    status = n.get("/breakers").json
    keys = status["keys"]
    assert 40 < keys["used"] == keys["room"] < 600, keys
    assert keys["shared"] == 600 - keys["room"] and status["untracked"] == 0, status
    assert n.error_log().count("is full") == 1, n.error_log()
    u.mode = "500"
    answers = [get(f"strange{i}") for i in range(9)]
    assert answers == [500] * 3 + [503] * 6, answers
    u.mode = "ok"
    assert get("t1") == 200, "who has a breaker keeps it"
    assert n.state("b") == "open"
    metrics = n.get("/breakers?format=prometheus").body.decode()
    assert f"breaker_keys_shared_total {keys['shared'] + 9}" in metrics, metrics
    c.close()


@test
def a_zone_that_gets_another_size_keeps_what_is_open(scene):
    u = scene.upstream(mode="500")
    conf = site(QUICK.replace("open=300ms open_max=300ms", "open=1h open_max=1h"),
                f"location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; }}")
    n = scene.nginx(conf)
    trip(n)
    before = n.breaker("b")
    for size in ("4m", "1m"):
        n.reload(conf.replace("breakers 2m", f"breakers {size}"))
        after = n.breaker("b")
        assert after["state"] == "open" and after["calls"] == before["calls"] and after["epoch"] == before["epoch"], after
        assert 0 < after["retry_after_ms"] <= before["retry_after_ms"], after
        assert n.get("/x").status == 503


@test
def calls_of_killed_workers_are_not_told_as_under_way(scene):
    u = scene.upstream(mode="hold")
    conf = site(QUICK + " max_in_flight=50", f"location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; }}")
    n = scene.nginx(conf, workers=2)
    n.reload()  # the shards of the first workers are free now: the next one takes one of those
    clients = [socket.create_connection(("127.0.0.1", n.port)) for _ in range(6)]
    for client in clients:
        client.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for(lambda: n.breaker("b")["in_flight"] == 6, "six calls are not under way")
    before = set(n.worker_pids())
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(set(n.worker_pids()) - before) == 2, "no new workers")
    assert n.breaker("b")["in_flight"] == 0
    for client in clients:
        client.close()


@test
def what_hystrix_stream_counts_outlives_the_trip(scene):
    u = scene.upstream(mode="500")
    n = scene.nginx(site(QUICK.replace("open=300ms open_max=300ms", "open=1h open_max=1h"),
                         f"location / {{ breaker_use b; breaker_fallback 503=/sorry; proxy_pass http://127.0.0.1:{u.port}; }}"
                         " location = /sorry { internal; return 200 sorry; }"))
    for _ in range(10):
        n.get("/x")
    assert n.state("b") == "open"
    lately = n.breaker("b")["lately"]
    assert lately["total"] == lately["failures"] == 3 and lately["refused"] == 7 and lately["fallbacks"] == 10, lately
    assert n.breaker("b")["failure_rate"] == 100 and n.breaker("b")["window"]["total"] == 0
    with socket.create_connection(("127.0.0.1", n.port), timeout=WAIT_S) as client:
        client.sendall(b"GET /breakers?format=stream HTTP/1.1\r\nHost: x\r\n\r\n")
        frame = b""
        while b"reportingHosts" not in frame.partition(b'"name":"b"')[2]:
            frame += client.recv(65536)
    for words in (b'"errorPercentage":100', b'"errorCount":3', b'"requestCount":3', b'"rollingCountShortCircuited":7',
                  b'"rollingCountFallbackSuccess":10'):
        assert words in frame, (words, frame)


if __name__ == "__main__":
    sys.exit(test.run())
