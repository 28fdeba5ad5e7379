"""Who is let in: opaque tokens with roles, at every route and at GET /v1/auth."""
import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time

from daybook_test import Server, Skip, Tap, daybook, folder, request, wait_for

tap = Tap()
ROLES = ("reader", "writer", "operator")


def line(token, rest=""):
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()} {rest}\n"


def bearer(token, **more):
    return {"Authorization": f"Bearer {token}", **more}


def replace(path, text):
    """As an editor does it that saves safely: the new file takes the old one's place."""
    other = path.with_name(path.name + ".new")
    other.write_text(text)
    os.replace(other, path)


def guarded(place, text=None):
    path = place / "tokens"
    path.write_text(text or "".join(line(role, role + " somebody") for role in ROLES) + line("all"))
    return Server(options=["--token-file", str(path)])


def auth(server, token=None, role=None, header=None):
    headers = bearer(token) if token else {}
    if header:
        headers["X-Required-Role"] = header
    return request(server, "GET", "/v1/auth" + (f"?role={role}" if role else ""), headers=headers)


# ---- every route ----

@tap.test
def every_route_asks_for_its_role_and_for_no_more():
    body = json.dumps({})
    with folder() as place, guarded(place) as server:
        paths = request(server, "GET", "/openapi.json", headers=bearer("reader")).json()["paths"]
        seen = set()
        for path, methods in paths.items():
            target = path.replace("{", "").replace("}", "")
            for method, operation in methods.items():
                needed = operation["security"][0]["bearer"][0] if operation["security"] else None
                seen.add(needed)
                if path == "/v1/log":
                    continue  # an endless answer: below
                ask = lambda headers: request(server, method.upper(), target, body if method == "post" else None, headers)
                if needed is None:
                    assert ask({}).status == 200, path
                    continue
                assert ask({}).status == 401 and ask(bearer("nobody")).status == 401, path
                for role in ROLES:
                    status = ask(bearer(role)).status
                    allowed = ROLES.index(role) >= ROLES.index(needed)
                    assert (status not in (401, 403)) == allowed, (method, path, role, status)
        assert seen == {None, *ROLES}, seen
        assert request(server, "GET", "/v1/log?after=99", headers=bearer("nobody")).status == 401


@tap.test
def a_reader_cannot_write_and_a_writer_cannot_rebuild():
    event = {"events": [{"type": "A", "data": 1}]}
    with folder() as place, guarded(place) as server:
        refused = request(server, "POST", "/v1/append", event, bearer("reader"))
        assert refused.status == 403 and refused.json()["code"] == "forbidden", refused
        assert refused.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="writer"'
        assert request(server, "GET", "/v1/events", headers=bearer("reader")).json()["head"] == 0
        assert request(server, "POST", "/v1/append", event, bearer("writer")).status == 201
        assert request(server, "POST", "/v1/append", event, bearer("all")).status == 201
        assert request(server, "POST", "/v1/views/none/rebuild", headers=bearer("writer")).status == 403
        assert request(server, "POST", "/v1/views/none/rebuild", headers=bearer("operator")).status == 404


# ---- GET /v1/auth ----

@tap.test
def a_gateway_learns_the_roles_of_a_token():
    with folder() as place, guarded(place) as server:
        for token, roles in (("reader", "reader"), ("writer", "reader,writer"), ("all", "reader,writer,operator")):
            answer = auth(server, token)
            assert answer.status == 204 and answer.body == b"", answer
            assert answer.headers["Daybook-Roles"] == roles
            assert answer.headers["Cache-Control"] == "max-age=5", dict(answer.headers)
            assert answer.headers["Vary"] == "Authorization, X-Required-Role"
        for answer in (auth(server), auth(server, "nobody")):
            assert answer.status == 401 and answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert answer.headers["Cache-Control"] == "no-store" and "Daybook-Roles" not in answer.headers
            assert answer.json()["code"] == "unauthorized"
        assert 'error="invalid_token"' in auth(server, "nobody").headers["WWW-Authenticate"]


@tap.test
def a_gateway_may_ask_for_a_role_by_parameter_or_field_and_both_must_be_held():
    with folder() as place, guarded(place) as server:
        for token in ROLES:
            for role in ROLES:
                wanted = 204 if ROLES.index(token) >= ROLES.index(role) else 403
                assert auth(server, token, role=role).status == wanted, (token, role)
                assert auth(server, token, header=role).status == wanted, (token, role)
        assert auth(server, "reader", role="writer", header="reader").status == 403
        assert auth(server, "reader", role="reader", header="writer").status == 403
        for answer in (auth(server, "all", role="king"), auth(server, "all", header="king")):
            assert answer.status == 403 and answer.headers["Cache-Control"] == "no-store", answer
        assert request(server, "GET", "/v1/auth?rule=reader", headers=bearer("all")).status == 400


@tap.test
def without_a_token_file_everybody_may_do_everything():
    with Server() as server:
        answer = auth(server, role="operator")
        assert answer.status == 204 and answer.headers["Daybook-Roles"] == "reader,writer,operator", answer


# ---- signed tokens ----

def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Signs as an identity provider does, by openssl: RS256 with a key of its own."""

    def __init__(self, place, kid):
        if not shutil.which("openssl"):
            raise Skip("openssl is not installed")
        self.key, self.kid = place / (kid + ".pem"), kid
        subprocess.run(["openssl", "genrsa", "-out", self.key, "2048"], check=True, capture_output=True)
        modulus = subprocess.run(["openssl", "rsa", "-in", self.key, "-noout", "-modulus"], check=True, capture_output=True)
        self.public = {"kty": "RSA", "kid": kid, "e": "AQAB",
                       "n": encode(bytes.fromhex(modulus.stdout.decode().strip().split("=")[1]))}

    def sign(self, **claims):
        claims = {"iss": "us", "aud": "daybook", "exp": int(time.time()) + 300, **claims}
        text = ".".join(encode(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": self.kid}, claims))
        done = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=text.encode(), check=True,
                              capture_output=True)
        return text + "." + encode(done.stdout)


@tap.test
def signed_tokens_are_let_in_by_the_keys_of_a_file_that_may_change():
    with folder() as place:
        one, two, keys = Issuer(place, "one"), Issuer(place, "two"), place / "keys.json"
        keys.write_text(json.dumps({"keys": [one.public]}))
        options = ["--jwks", str(keys), "--issuer", "us", "--audience", "daybook"]
        with Server(options=options) as server:
            assert auth(server, one.sign(roles=["writer"])).headers["Daybook-Roles"] == "reader,writer"
            assert auth(server, one.sign(scope="openid reader"), role="writer").status == 403
            assert auth(server, one.sign()).status == 403
            for token, words in ((one.sign(roles=["reader"], exp=int(time.time()) - 120), "expired"),
                                 (one.sign(roles=["reader"], iss="them"), "issuer"),
                                 (one.sign(roles=["reader"], aud="other"), "somebody else"),
                                 (two.sign(roles=["reader"]), "no key"), ("rubbish", "not known")):
                answer = auth(server, token)
                assert answer.status == 401 and words in answer.headers["WWW-Authenticate"], (words, dict(answer.headers))
            assert request(server, "POST", "/v1/append", {"events": [{"type": "A"}]},
                           bearer(one.sign(roles=["reader"]))).status == 403
            replace(keys, json.dumps({"keys": [two.public]}))
            wait_for(lambda: auth(server, two.sign(roles=["reader"])).status == 204, "the new key is known")
            assert auth(server, one.sign(roles=["reader"])).status == 401
            replace(keys, "{}")
            wait_for(lambda: any("not a JWKS" in said for said in server.lines), "it says that the file is broken")
            assert auth(server, two.sign(roles=["reader"])).status == 204
        code, _, error = daybook("serve", "--data", place / "d", "--issuer", "us")
        assert code == 2 and "--jwks" in error, error


# ---- the file ----

@tap.test
def a_changed_file_is_read_again_and_a_broken_one_changes_nothing():
    with folder() as place, guarded(place, line("old", "reader")) as server:
        path = place / "tokens"
        replace(path, line("new", "writer"))
        wait_for(lambda: auth(server, "new").status == 204, "the new token is known")
        assert auth(server, "old").status == 401
        replace(path, line("third") + line("fourth", "reader,king"))
        wait_for(lambda: any("tokens:2: the roles are" in said for said in server.lines), "it says what is wrong")
        assert auth(server, "new").status == 204 and auth(server, "third").status == 401
        path.unlink()
        wait_for(lambda: any("cannot read the token file" in said for said in server.lines), "it says that it is gone")
        assert auth(server, "new").status == 204
        replace(path, line("old", "reader"))
        wait_for(lambda: auth(server, "old").status == 204, "it is back")


@tap.test
def an_emptied_file_lets_nobody_in_until_it_has_tokens_again():
    with folder() as place, guarded(place, line("one")) as server:
        path = place / "tokens"
        assert auth(server, "one").status == 204
        replace(path, "")
        wait_for(lambda: auth(server, "one").status == 401, "nobody is let in")
        wait_for(lambda: any("lets nobody in" in said for said in server.lines), "it says so")
        replace(path, "# for later\n" + line("two"))
        wait_for(lambda: auth(server, "two").status == 204, "the new token is known")
        assert auth(server, "one").status == 401


@tap.test
def sighup_reads_the_file_again():
    with folder() as place, guarded(place) as server:
        server.signal(signal.SIGHUP)
        wait_for(lambda: any("read again: 4 tokens" in said for said in server.lines), "it has read it again")
        assert auth(server, "reader").status == 204


@tap.test
def a_broken_file_is_refused_at_the_start_with_file_and_line():
    with folder() as place:
        path = place / "tokens"
        for text, words in ((line("one") + "nonsense\n", "tokens:2: a line is"), (line("one", "Reader"), "tokens:1: the roles"),
                            ("# nobody\n", "no token"), (line("one", "x" * 1024), "longer than 1024"),
                            ("".join(line(str(n)) for n in range(4097)), "tokens:4097: there are more")):
            path.write_text(text)
            code, _, error = daybook("serve", "--data", place / "d", "--listen", "127.0.0.1:0", "--token-file", path)
            assert code == 3 and words in error, (words, code, error)


tap.main()
