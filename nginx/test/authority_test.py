#!/usr/bin/env python3
"""The API gateway with daybook's own GET /v1/auth at its door, and daybook behind it: tokens in a file, signed tokens, roles."""
import base64
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from harness import BUILD, Service, together, test, wait_for
from ready import Ready

ROLES = ("reader", "writer", "operator")
EVENT = json.dumps({"events": [{"type": "Seen", "data": {}}]})
JSON = {"Content-Type": "application/json"}

# what it asks for, the role it needs, and what the server says to who has it
ROUTES = [("GET", "/v1/events", None, "reader", 200), ("POST", "/v1/events/query", '{"query":{"items":[]}}', "reader", None),
          ("POST", "/v1/append", EVENT, "writer", 201), ("POST", "/v1/views/none/rebuild", None, "operator", 404)]


def line(token, role):
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()} {role} somebody\n"


def bearer(token, **more):
    return {"Authorization": f"Bearer {token}", **JSON, **more}


class Place:
    """A folder that goes when the scene ends."""

    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="daybook-authority-"))

    def replace(self, name, text):
        """As an editor does it that saves safely: the new file takes the old one's place."""
        other = self.path / (name + ".new")
        other.write_text(text)
        os.replace(other, self.path / name)
        return self.path / name

    def stop(self):
        shutil.rmtree(self.path, ignore_errors=True)


def behind_the_gateway(scene, *options, **values):
    """daybook, which is authority and service at once, and the API gateway before it."""
    server = scene.add(Service([BUILD / "daybook", "serve", "--data", "@DIR@/data", "--listen", "127.0.0.1:@PORT@", "--host",
                                "hotel.example", *options],
                               "serves on", ASAN_OPTIONS="detect_leaks=0"))
    at = f"127.0.0.1:{server.port}"
    g = scene.add(Ready("api", hotel=at, replica=at, ledger=at, auth=at, open="300ms", **values))
    return g, server


def by_file(scene, **values):
    place = scene.add(Place())
    place.replace("tokens", "".join(line(role, role) for role in ROLES))
    return place, *behind_the_gateway(scene, "--token-file", place.path / "tokens", **values)


def ask(g, method, path, body, token=None):
    headers = {"Host": "hotel.example", **(bearer(token) if token else JSON)}
    return g.get(path, method=method, headers=headers, body=body)


def requests_of(server, token="operator"):
    text = server.get("/metrics", headers=bearer(token)).body.decode()
    return int(re.search(r"^\w*http_requests_total (\d+)", text, re.M).group(1))


def check_routes(g, server, token_of):
    for method, path, body, needed, status in ROUTES:
        for role in ROLES:
            allowed = ROLES.index(role) >= ROLES.index(needed)
            a = ask(g, method, path, body, token_of(role))
            assert (a.status not in (401, 403)) == allowed, (method, path, role, a)
            assert not allowed or status in (None, a.status), (method, path, role, a)
            # … and the server by itself, for who finds a way past the gateway
            direct = server.get(path, method=method, headers=bearer(token_of(role)), body=body)
            assert (direct.status not in (401, 403)) == allowed, (method, path, role, direct)
        assert ask(g, method, path, body).status == 401 and ask(g, method, path, body, "nobody").status == 401


@test
def each_route_asks_for_its_role_at_the_door_and_the_server_asks_again(scene):
    place, g, server = by_file(scene)
    check_routes(g, server, lambda role: role)
    a = ask(g, "GET", "/v1/events", None, "writer")
    assert a.json["head"] == 4, a       # a writer and an operator, each once by the gateway and once past it


@test
def every_route_of_the_server_asks_for_its_role_at_the_door(scene):
    place, g, server = by_file(scene, rate="1000r/s", burst="1000")
    paths = server.get("/openapi.json", headers=bearer("reader")).json["paths"]
    routes = [(method.upper(), path, what["security"]) for path, methods in paths.items() for method, what in methods.items()]
    roles = [(method, path, next((role for role in ROLES if role in json.dumps(security)), None)) for method, path, security in routes]
    assert {role for *_, role in roles} >= set(ROLES) and len(roles) > 35, roles
    for method, path, needed in roles:
        asked = path.replace("{", "").replace("}", "")
        for role in ROLES[:ROLES.index(needed)] if needed else ():
            a = ask(g, method, asked, "{}" if method == "POST" else None, role)
            assert a.status == 403 and a.json.get("code") == "gateway", (method, path, role, a)
        if needed and path != "/v1/log":        # which has no end
            a = ask(g, method, asked, "{}" if method in ("POST", "PUT") else None, needed)
            assert a.status not in (401, 403) and b'"code":"gateway"' not in a.body, (method, path, needed, a)


@test
def the_path_that_is_asked_for_counts_however_it_is_written(scene):
    place, g, server = by_file(scene)
    for path in ("/v1/views/none/%72ebuild", "/v1//views/none/rebuild", "/x/../v1/views/none/rebuild"):
        assert ask(g, "POST", path, None, "writer").status == 403, path


@test
def a_role_that_the_client_names_is_not_believed(scene):
    place, g, server = by_file(scene)
    a = g.get("/v1/append?role=reader", method="POST", body=EVENT,
              headers={**bearer("reader"), "Host": "hotel.example", "X-Required-Role": "reader", "Daybook-Roles": "writer"})
    assert a.status == 403, a


@test
def refusals_at_the_door_are_counted_by_no_breaker(scene):
    place, g, server = by_file(scene)
    answers = together(40, lambda: ask(g, "GET", "/v1/events", None, f"nobody-{time.monotonic_ns()}"))
    assert {a.status for a in answers} == {401}, answers[0]
    for _ in range(20):
        assert ask(g, "POST", "/v1/append", EVENT, "reader").status == 403
    for name in ("auth", "hotel"):
        b = g.breaker(name)
        assert b["state"] == "closed" and b["window"]["failures"] == 0 and b["calls"]["failure"] == 0, b
    assert sum(g.breaker("hotel")["calls"].values()) == 0, g.breaker("hotel")
    assert ask(g, "GET", "/v1/events", None, "reader").status == 200


@test
def what_the_authority_said_is_remembered_briefly(scene):
    place, g, server = by_file(scene)
    assert ask(g, "GET", "/v1/events", None, "writer").status == 200
    before = requests_of(server)
    for _ in range(20):
        assert ask(g, "GET", "/v1/events", None, "writer").status == 200
    asked = requests_of(server) - before - 1 - 20       # this look and the reads themselves
    assert 0 <= asked <= 4, asked
    place.replace("tokens", line("reader", "reader") + line("operator", "operator"))
    wait_for(lambda: server.get("/v1/events", headers=bearer("writer")).status == 401, "the server does not see the new file")
    wait_for(lambda: ask(g, "GET", "/v1/events", None, "writer").status == 401, "a token that was taken away lives on", 12)


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Signs as an identity provider does: RS256, by openssl."""

    def __init__(self, place, kid):
        self.key, self.kid = place.path / (kid + ".pem"), kid
        subprocess.run(["openssl", "genrsa", "-out", self.key, "2048"], check=True, capture_output=True)
        modulus = subprocess.run(["openssl", "rsa", "-in", self.key, "-noout", "-modulus"], check=True, capture_output=True)
        self.public = {"kty": "RSA", "kid": kid, "e": "AQAB",
                       "n": encode(bytes.fromhex(modulus.stdout.decode().strip().split("=")[1]))}

    def sign(self, **claims):
        claims = {"iss": "us", "aud": "daybook", "exp": int(time.time()) + 300, **claims}
        text = ".".join(encode(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": self.kid}, claims))
        signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=text.encode(), check=True,
                                capture_output=True)
        return text + "." + encode(signed.stdout)


@test
def signed_tokens_open_the_same_routes_and_no_others(scene):
    place = scene.add(Place())
    good, other = Issuer(place, "good"), Issuer(place, "other")
    keys = place.replace("keys.json", json.dumps({"keys": [good.public]}))
    g, server = behind_the_gateway(scene, "--jwks", keys, "--issuer", "us", "--audience", "daybook")
    tokens = {role: good.sign(roles=[role]) for role in ROLES}
    check_routes(g, server, tokens.get)
    for wrong in (other.sign(roles=["operator"]), good.sign(roles=["operator"], exp=int(time.time()) - 120),
                  good.sign(roles=["operator"], aud="someone"), tokens["reader"][:-4] + "AAAA"):
        assert ask(g, "GET", "/v1/events", None, wrong).status == 401
    assert g.breaker("auth")["calls"]["failure"] == 0 and g.breaker("auth")["state"] == "closed"


@test
def operators_give_orders_from_elsewhere_and_others_do_not(scene):
    place, g, server = by_file(scene)

    def order(token, what):
        return g.get(f"/operators/breakers/hotel/{what}", method="POST", body="{}", headers=bearer(token)).status

    assert order("nobody", "open") == 401 and order("writer", "open") == 403
    assert g.get("/operators/breakers").status == 401
    assert g.get("/operators/breakers", headers=bearer("reader")).json["breakers"]
    assert order("operator", "open") == 200
    assert g.breaker("hotel")["state"] == "forced_open"
    assert ask(g, "POST", "/v1/append", EVENT, "writer").status == 503
    assert order("operator", "reset") == 200
    assert ask(g, "POST", "/v1/append", EVENT, "writer").status == 201


@test
def an_authority_that_dies_lets_no_one_in(scene):
    place, g, server = by_file(scene)
    assert ask(g, "GET", "/v1/events", None, "reader").status == 200
    server.process.kill()
    server.process.wait()
    for _ in range(8):
        a = ask(g, "GET", "/v1/events", None, "writer")
        assert a.status == 500 and a.headers["Content-Type"] == "application/problem+json", a
    assert g.breaker("auth")["state"] == "open", g.breaker("auth")


if __name__ == "__main__":
    sys.exit(test.run())
