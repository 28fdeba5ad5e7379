#!/usr/bin/env python3
"""What a person meets: mistakes in the configuration, the status page, orders (BREAKER.md §5, points 10, 11)."""
import json
import pathlib
import re
import socket
import sys

from harness import WAIT_S, HERE, Nginx, site, test

GOOD = "location / { breaker_use b; proxy_pass http://127.0.0.1:9; }"

# (breaker's parameters, locations, further http, words the message must hold)
MISTAKES = [
    ("probes=129", GOOD, "", ["probes", "129", "128"]),
    ("failure_rate=101%", GOOD, "", ["failure_rate", "101", "100"]),
    ("window=nonsense", GOOD, "", ["window", "nonsense"]),
    ("window=count:10 min_calls=20", GOOD, "", ["min_calls", "20"]),
    ("colour=red", GOOD, "", ["colour"]),
    ("preset=unknown", GOOD, "", ["preset", "unknown"]),
    ("probes", GOOD, "", ["probes", "name=value"]),
    ("key=constant", GOOD, "", ["key", "variable"]),
    ("max_streams=many", GOOD, "", ["max_streams=many", "1000000"]),
    ("slices=61", GOOD, "", ["slices=61", "60"]),
    ("retry_budget=20", GOOD, "", ["retry_budget=20", "1%"]),
    ("retry_budget=0%", GOOD, "", ["retry_budget=0%", "1000%"]),
    ("max_fallbacks=-1", GOOD, "", ["max_fallbacks=-1", "1000000"]),
    ("", "location / { breaker_use other; proxy_pass http://127.0.0.1:9; }", "", ["unknown breaker", "other"]),
    ("", "location / { breaker_use b dark; proxy_pass http://127.0.0.1:9; }", "", ["dark", "shadow"]),
    ("", "location / { breaker_use b; breaker_use b; }", "", ["breaker_use", "duplicate"]),
    ("", "location / { breaker_use b; breaker_failure http_600; }", "", ["http_600", "http_599"]),
    ("", "location / { breaker_use b; breaker_failure sometimes; }", "", ["sometimes", "invalid_header"]),
    ("", "location / { breaker_use b; breaker_neutral off error; }", "", ["off"]),
    ("", "location / { breaker_use b; breaker_fallback @nowhere; proxy_pass http://127.0.0.1:9; }", "", ["@nowhere"]),
    ("", "location / { breaker_use b; breaker_fallback sorry; proxy_pass http://127.0.0.1:9; }", "", ["sorry", "STATUS=/uri"]),
    ("", "location / { breaker_use b; breaker_fallback 999=/x; proxy_pass http://127.0.0.1:9; }", "", ["999=/x", "599"]),
    ("", "location / { breaker_use b; breaker_fallback 503=/x @y; proxy_pass http://127.0.0.1:9; }", "", ["503=/x", "last"]),
    ("", "location / { breaker_use b; breaker_fallback 503=/x cache; proxy_pass http://127.0.0.1:9; }", "", ["last"]),
    ("", "location / { breaker_use b; breaker_fallback cache; proxy_pass http://127.0.0.1:9; }", "", ["cache", "proxy_cache_use_stale"]),
    ("", "location / { breaker_use b; breaker_fallback " + "@a " * 9 + "; }", "", ["9", "8"]),
    ("", GOOD, "breaker b;", ["b", "twice"]),
    ("", GOOD, "breaker b/c;", ["b/c", "A-Z"]),
    ("", GOOD, "breaker_zone more 1m;", ["duplicate"]),
    ("", GOOD, "upstream u { server 127.0.0.1:9; breaker_peers other; }", ["unknown breaker", "other"]),
    ("", GOOD, "upstream u { server 127.0.0.1:9; breaker_peers b; breaker_peers b; }", ["breaker_peers", "duplicate"]),
    ("", GOOD, "upstream u { server 127.0.0.1:9; breaker_peers b half; }", ["half", "max_ejected"]),
    ("", "location / { breaker_use b; breaker_class maybe; proxy_pass http://127.0.0.1:9; }", "", ["maybe", "no_slow"]),
    ("", "location / { breaker_use b; breaker_class $uri ok; }", "", ["breaker_class", "number of arguments"]),
    ("", "location / { breaker_use b; breaker_idempotent perhaps; }", "", ["perhaps", "breaker_idempotent", "on, off"]),
    ("", "location / { breaker_use b; breaker_idempotent on; breaker_idempotent off; }", "", ["breaker_idempotent", "duplicate"]),
    ("", "location / { breaker_use b; breaker_idempotent; }", "", ["breaker_idempotent", "number of arguments"]),
    ("", "location / { breaker_use b; breaker_class $uri; breaker_class $uri; }", "", ["breaker_class", "duplicate"]),
    ("", "location / { breaker_use b; breaker_failure error; breaker_failure timeout; }", "", ["breaker_failure", "duplicate"]),
    ("", "location / { breaker_use b; breaker_neutral http_6xx; }", "", ["http_6xx"]),
    ("", "location / { breaker_use b; breaker_fallback 503=/x; breaker_fallback @y; }", "", ["breaker_fallback", "duplicate"]),
    ("", "location / { breaker_use; }", "", ["breaker_use", "number of arguments"]),
    ("", "location / { breaker_status now; }", "", ["breaker_status", "number of arguments"]),
    ("", "location / { breaker_control now; }", "", ["breaker_control", "number of arguments"]),
    ("", GOOD, "breaker_zone;", ["breaker_zone", "number of arguments"]),
    ("", "breaker x;", "", ["breaker", "not allowed here"]),
    ("", "location / { breaker_peers b; }", "", ["breaker_peers", "not allowed here"]),
    ("", GOOD, "breaker_status;", ["breaker_status", "not allowed here"]),
    ("", GOOD, "breaker;", ["breaker", "number of arguments"]),
    ("", GOOD, "breaker " + "x" * 60 + ";", ["xxx", "A-Z"]),
    ("key=${", GOOD, "", ["invalid variable name"]),
    ("", GOOD, "upstream u { server 127.0.0.1:9; breaker_peers b max_ejected=101%; }", ["101", "100%"]),
]


def says(http):
    n = Nginx(http, workers=1, check=False)
    try:
        return n.test()
    finally:
        n.stop_quietly()


@test
def each_wrong_directive_is_a_clear_error_of_nginx_t(scene):
    for parameters, locations, http, words in MISTAKES:
        right, text = says(site(parameters, locations, http=http))
        assert not right, (parameters, locations, http)
        emerg = [l for l in text.splitlines() if "[emerg]" in l]
        assert emerg and all(w in emerg[0] for w in words), (words, text)
        assert "nginx.conf:" in emerg[0] or "conf" in emerg[0], emerg[0]


@test
def each_directive_has_a_mistake_above(scene):
    source = (pathlib.Path(HERE).parent / "ngx_http_breaker_module.c").read_text()
    directives = set(re.findall(r'ngx_string\("(breaker\w*)"\),\s+NGX', source))
    assert len(directives) == 11, directives
    for one in directives:
        assert any(re.search(rf"\b{one}\b", locations + http + ("breaker" if parameters else ""))
                   for parameters, locations, http, _ in MISTAKES), one


@test
def each_rule_says_its_name_its_value_and_what_would_do(scene):
    header = (pathlib.Path(HERE).parents[1] / "breaker/breaker.h").read_text()
    fields = re.findall(r'/\* "(\w+)["=]', header) + ["max_streams", "max_fallbacks", "retry_budget"]
    assert len(fields) >= 24, fields
    for field in fields:
        for value in ("nonsense", "-1", "99999999999999999999"):
            right, text = says(site(f"{field}={value}", GOOD))
            emerg = next((line for line in text.splitlines() if "[emerg]" in line), "")
            assert not right and f"{field}={value}" in emerg, (field, value, text)
            assert re.search(rf"{field}={value}\W.*(\d|[a-z]+ or |\|)", emerg), emerg


@test
def a_zone_of_no_size_is_told_what_it_must_be_at_least(scene):
    for size in ("nonsense", "4k", "0"):
        right, text = says(site("", GOOD).replace("breaker_zone breakers 2m", f"breaker_zone breakers {size}"))
        assert not right and f'invalid size "{size}"' in text and "at least 32k" in text, text


@test
def a_right_configuration_passes_in_any_order(scene):
    right, text = says("""
        upstream u { breaker_peers b max_ejected=50%; keepalive 8; least_conn; server 127.0.0.1:9; server 127.0.0.1:8 backup; }
        server { listen 127.0.0.1:@PORT@;
                 location / { proxy_pass http://u; breaker_fallback @x; breaker_use b; }
                 location @x { return 204; } }
        breaker b preset=resilience4j;
        breaker_zone z 1m;""")
    assert right, text


@test
def ordinary_settings_pass_after_every_preset_and_before_it(scene):
    settings = ["probes=3", "probes=20", "open=90s", "open=10s", "open=400s", "open=1s", "window=count:10", "window=10s",
                "failure_rate=33.3%", "failure_rate=80%", "min_calls=5", "slow_call=2s", "max_in_flight=50"]
    lines = [f"breaker b{i}x{k} {setting} preset={preset}; breaker a{i}x{k} preset={preset} {setting};"
             for i, preset in enumerate(("default", "hystrix", "resilience4j", "envoy")) for k, setting in enumerate(settings)]
    right, text = says(site("", GOOD, http="\n".join(lines)).replace("breakers 2m", "breakers 16m"))
    assert right and "[warn]" not in text, text


@test
def nginx_t_says_how_many_breakers_a_zone_holds(scene):
    for size, least in (("1m", 200), ("8m", 2000)):
        right, text = says(site("key=$remote_addr", GOOD).replace("breakers 2m", f"breakers {size}"))
        told = re.search(r'breaker_zone "breakers" of \d+ bytes holds (\d+) breakers and (\d+) by key', text)
        assert right and told and int(told[1]) >= 3 and int(told[2]) >= least, text


@test
def a_key_may_have_any_window_and_any_number_of_probes(scene):
    for rules in ("window=count:1000", "window=1m slices=60", "probes=100", "preset=resilience4j probes=20"):
        right, text = says(site(f"key=$remote_addr {rules}", GOOD))
        assert right and "[warn]" not in text, text


@test
def a_window_that_no_zone_has_room_for_is_refused_and_never_passes_unguarded(scene):
    for rules in ("window=count:8641", "window=count:10000 key=$remote_addr", "preset=resilience4j window=count:1000000"):
        right, text = says(site(rules, GOOD))
        assert not right and "[emerg]" in text and "has room for count:8640 at most" in text and "nginx.conf:" in text, text
    right, text = says(site("window=count:8640", GOOD))
    assert right and "unguarded" not in text, text


@test
def a_zone_that_is_too_small_says_what_it_holds(scene):
    right, text = says(site("", GOOD, http="".join(f"breaker x{i};" for i in range(60))).replace("breakers 2m", "breakers 32k"))
    assert not right and "enlarge" in text, text


@test
def a_breaker_without_a_zone_is_an_error(scene):
    right, text = says(site("", GOOD).replace("breaker_zone breakers 2m;", ""))
    assert not right and "breaker_zone" in text, text


@test
def the_status_page_speaks_json_prometheus_and_stream(scene):
    n = scene.nginx(site("", GOOD))
    n.get("/")
    a = n.get("/breakers")
    assert a.headers["Content-Type"] == "application/json" and a.headers["Cache-Control"] == "no-store", a
    assert n.breaker("b")["calls"]["failure"] == 1 and n.breaker("b")["latency"]["calls"] == 1, n.breaker("b")
    a = n.get("/breakers?format=prometheus")
    assert b'breaker_calls_total{breaker="b",outcome="failure"} 1' in a.body, a
    assert n.get("/breakers?format=xml").status == 400
    assert n.get("/breakers", method="POST", body=b"{}").status == 405
    s = socket.create_connection(("127.0.0.1", n.port), timeout=WAIT_S)
    s.sendall(b"GET /breakers?format=stream HTTP/1.1\r\nHost: x\r\n\r\n")
    data = b""
    while data.count(b"data: ") < 3:
        data += s.recv(65536)
    assert b"text/event-stream" in data
    frame = json.loads([l for l in data.decode().splitlines() if l.startswith("data: ")][0][6:])
    assert frame["type"] == "HystrixCommand" and frame["name"] == "b", frame
    s.close()


@test
def many_breakers_fit_into_the_answer(scene):
    n = scene.nginx(site("", GOOD, http="".join(f"breaker other{i};" for i in range(100))).replace("2m", "16m"))
    assert len(n.get("/breakers").json["breakers"]) == 101


@test
def orders_open_close_auto_and_reset(scene):
    u = scene.upstream()
    n = scene.nginx(site("open=60s open_max=60s", f"location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; }}"))
    assert n.order("b", "open").json["state"] == "forced_open"
    assert n.get("/").status == 503 and n.get("/").json["reason"] == "forced"
    assert n.order("b", "close").json["state"] == "forced_closed"
    assert n.get("/").status == 200
    assert n.order("b", "auto").json["mode"] == "auto"
    assert n.order("b", "reset").json["state"] == "closed"
    assert n.state() == "closed"


@test
def an_order_needs_post_json_and_a_known_host(scene):
    n = scene.nginx(site("", GOOD))
    assert n.get("/breakers/b/open").status == 405
    a = n.get("/breakers/", method="OPTIONS")
    assert a.status == 204 and a.headers["Allow"] == "OPTIONS, POST", a
    assert n.get("/breakers/b/open", method="POST", body=b"{}").status == 415
    assert n.order("b", "open", headers={"Content-Type": "text/plain"}).status == 415
    assert n.order("b", "open", headers={"Content-Type": "application/jsonp"}).status == 415
    assert n.order("b", "open", host="evil.example").status == 403
    assert n.state() == "closed"
    for host in ("localhost", "127.0.0.1", "test.example", "TEST.example:80"):
        assert n.order("b", "open", host=host).status == 200, host
    assert n.order("b", "reset", headers={"Content-Type": "application/json; charset=utf-8"}).status == 200


@test
def orders_to_nobody_are_404(scene):
    n = scene.nginx(site("", GOOD))
    for path in ("c/open", "b/explode", "b", "", "b/", "/open", "b/open/now", "x" * 300 + "/open", "%00/open", "b%2fopen"):
        a = n.get("/breakers/" + path, method="POST", body="{}", headers={"Content-Type": "application/json"})
        assert a.status in (404, 400) or path == "b%2fopen", (path, a)
    assert n.get("/breakers/c/open", method="POST", body="{}",
                 headers={"Content-Type": "application/json"}).json["code"] == "unknown-breaker"


if __name__ == "__main__":
    sys.exit(test.run())
