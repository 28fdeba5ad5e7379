"""A page of another origin cannot make its visitor's browser change anything here.

Every route with an unsafe method is taken from /openapi.json, so that a new one is tried by itself.
"""
import json

from daybook_test import Server, Tap, raw, request

tap = Tap()
# What a browser sends unasked: the three types of forms, and none at all (fetch in the mode "no-cors").
SIMPLE_TYPES = [None, "text/plain", "text/plain; charset=UTF-8", "application/x-www-form-urlencoded",
                "multipart/form-data; boundary=x", "", "application/json2", "text/json, application/json"]
# What it says of a page of another origin, with the type that a program would send.
FOREIGN = [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
           {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:{port}"}, {"Sec-Fetch-Site": "something new"},
           {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": ""},
           {"Origin": "http://127.0.0.1:1"}, {"Origin": "http://127.0.0.1"}, {"Origin": "http://127.0.0.1:{port}.evil.example"},
           {"Origin": "http://localhost:{port}"}, {"Origin": "http://evil@127.0.0.1:{port}"}, {"Origin": "127.0.0.1:{port}"}]
OURS = [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": "http://127.0.0.1:{port}"},
        {"Origin": "https://127.0.0.1:{port}"}, {"Sec-Fetch-Site": "same-origin", "Origin": "http://the-gateway:8080"}]


def unsafe_routes(server):
    paths = request(server, "GET", "/openapi.json").json()["paths"]
    return [(method.upper(), path.replace("{", "").replace("}", "")) for path, methods in paths.items()
            for method in methods if method not in ("get", "head", "options", "parameters")]


def said(fields, server):
    return {name: value.replace("{port}", str(server.port)) for name, value in fields.items()}


def send(server, method, path, type_, body, fields):
    """As a browser would: without a body there may be no type."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"Content-Type: {type_}"] if type_ is not None else []
    lines += [f"{name}: {value}" for name, value in fields.items()]
    answer = raw(server, ("\r\n".join(lines) + "\r\n\r\n" + body).encode())
    return int(answer.split()[1])


def state(server):
    """All that an attack could have changed."""
    scavenge = request(server, "GET", "/v1/scavenge").json()
    return (request(server, "GET", "/v1/events?system=1&limit=1000").json()["events"], scavenge,
            request(server, "GET", "/v1/groups").json(), request(server, "GET", "/v1/retention").json())


def fill(server):
    request(server, "POST", "/v1/append", {"events": [{"type": "A", "stream": "s", "data": {}} for _ in range(20)]})
    request(server, "PUT", "/v1/streams/s/retention", {"max_count": 2})


@tap.test
def no_route_that_changes_something_takes_a_request_that_a_browser_sends_unasked():
    with Server() as server:
        fill(server)
        before, routes = state(server), unsafe_routes(server)
        assert len(routes) >= 15, routes
        for method, path in routes:
            for type_ in SIMPLE_TYPES:
                if method != "POST":
                    continue  # a browser asks before it sends PUT and DELETE; below
                for body in ("", "{}", '{"events":[{"type":"A"}]}', "a=b"):
                    status = send(server, method, path, type_, body, {})
                    assert status == 415, (method, path, type_, body, status)
        assert state(server) == before


@tap.test
def what_a_page_of_another_origin_sends_is_refused_whatever_it_claims():
    with Server() as server:
        fill(server)
        before = state(server)
        for method, path in unsafe_routes(server):
            for fields in FOREIGN:
                status = send(server, method, path, "application/json", "", said(fields, server))
                assert status == 403, (method, path, fields, status)
        assert state(server) == before


@tap.test
def a_page_of_the_server_itself_and_a_program_are_let_through():
    with Server() as server:
        for fields in OURS:
            answer = request(server, "POST", "/v1/append", {"events": [{"type": "A", "data": {}}]}, said(fields, server))
            assert answer.status == 201, (fields, answer)
        refused = request(server, "POST", "/v1/append", {"events": [{"type": "A", "data": {}}]}, {"Sec-Fetch-Site": "cross-site"})
        assert refused.status == 403 and refused.json()["code"] == "cross-site", refused


@tap.test
def behind_a_proxy_that_cuts_the_port_the_name_of_the_origin_counts():
    body = json.dumps({"events": [{"type": "A", "data": {}}]})
    with Server(options=["--host", "shop.example"]) as server:
        for host, origin, expected in [("shop.example", "https://shop.example:8443", 201), ("shop.example", "https://shop.example", 201),
                                       ("shop.example", "https://shop.example.evil.example", 403), ("[::1]:80", "http://[::1]:80", 201),
                                       ("[::1]", "http://[::1]:8080", 201), ("[::1]:80", "http://[::1]", 403),
                                       ("shop.example:80", "http://shop.example", 403), ("SHOP.example", "http://shop.EXAMPLE:1", 201)]:
            answer = raw(server, (f"POST /v1/append HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nContent-Type: application/json\r\n"
                                  f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}").encode())
            assert int(answer.split()[1]) == expected, (host, origin, answer[:200])


@tap.test
def a_browser_that_asks_first_gets_no_permission():
    with Server() as server:
        for method, path in unsafe_routes(server):
            answer = request(server, "OPTIONS", path, headers={"Origin": "https://evil.example", "Access-Control-Request-Method": method,
                                                               "Access-Control-Request-Headers": "content-type"})
            granted = [name for name in answer.headers if name.lower().startswith("access-control-")]
            assert not granted, (path, granted)


tap.main()
