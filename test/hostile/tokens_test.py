"""Who has no token, one that is not good, or one that was good until a moment ago."""
import base64
import hashlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import http.client

from daybook_test import Server, Skip, Subscription, Tap, daybook, folder, request, wait_for

tap = Tap()
ROLES = ("reader", "writer", "operator")
CUT_S = 3.0  # a second is promised; a busy machine gets two more


def line(token, role=""):
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()} {role}\n"


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Signs as an identity provider does, by openssl."""

    def __init__(self, place, kid, kind):
        if not shutil.which("openssl"):
            raise Skip("openssl is not installed")
        self.key, self.kid, self.kind = place / f"{kid}-{kind}.pem", kid, kind
        how = {"RSA": ["genrsa", "-out", self.key, "2048"], "OKP": ["genpkey", "-algorithm", "ed25519", "-out", self.key]}[kind]
        subprocess.run(["openssl", *how], check=True, capture_output=True)
        if kind == "OKP":
            der = subprocess.run(["openssl", "pkey", "-in", self.key, "-pubout", "-outform", "DER"], check=True, capture_output=True)
            self.public = {"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encode(der.stdout[-32:])}
        else:
            modulus = subprocess.run(["openssl", "rsa", "-in", self.key, "-noout", "-modulus"], check=True, capture_output=True)
            self.public = {"kty": "RSA", "kid": kid, "e": "AQAB", "n": encode(bytes.fromhex(modulus.stdout.decode().strip().split("=")[1]))}

    def sign(self, header=None, **claims):
        header = {"alg": {"RSA": "RS256", "OKP": "EdDSA"}[self.kind], "kid": self.kid, **(header or {})}
        claims = {"exp": int(time.time()) + 300, "roles": ["operator"], **claims}
        text = ".".join(encode(json.dumps(part).encode()) for part in (header, claims))
        path = self.key.with_suffix(f".{threading.get_ident()}.text")
        path.write_text(text)
        how = ["dgst", "-sha256", "-sign", self.key, path] if self.kind == "RSA" else ["pkeyutl", "-sign", "-inkey", self.key, "-rawin", "-in", path]
        return text + "." + encode(subprocess.run(["openssl", *how], check=True, capture_output=True).stdout)


def guarded(place, *options, tokens=ROLES, **more):
    (place / "tokens").write_text("".join(line(role, role if role in ROLES else "") for role in tokens))
    return Server(options=["--token-file", str(place / "tokens"), *options], **more)


class Long:
    """An answer without end, read on a thread of its own until it is over: what came, and when it was over."""

    def __init__(self, server, method, path, token, body=None, accept="*/*"):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self.connection.request(method, path, json.dumps(body) if body is not None else None,
                                {**bearer(token), "Accept": accept, "Content-Type": "application/json"})
        self.text, self.over, self.status = b"", None, None
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        try:
            answer = self.connection.getresponse()
            self.status = answer.status
            while piece := answer.read1(65536):
                self.text += piece
        except (http.client.HTTPException, OSError):
            pass
        self.over = time.monotonic()


def long_answers(server, token):
    """One of each kind of answer that lasts."""
    request(server, "POST", "/v1/groups/g", {}, bearer("operator"))
    return {"feed": Long(server, "GET", "/v1/events", token, accept="text/event-stream"),
            "stream feed": Long(server, "GET", "/v1/streams/s", token, accept="text/event-stream"),
            "query feed": Long(server, "POST", "/v1/events/query", token, {"items": [{"types": ["A"]}]}, "text/event-stream"),
            "log": Long(server, "GET", "/v1/log?after=0", token),
            "long poll": Long(server, "POST", "/v1/groups/g/fetch", token, {"consumer": "c", "wait_seconds": 30})}


def began(answers):
    for name, answer in answers.items():
        wait_for(lambda: answer.status == 200, f"the {name} has begun", 20)
    wait_for(lambda: all(b"caught-up" in answers[name].text for name in ("feed", "stream feed", "query feed")), "they have caught up")


def all_are_cut(answers, since):
    for name, answer in answers.items():
        wait_for(lambda: answer.over is not None, f"the {name} is cut", 20)
        assert answer.over - since < CUT_S, (name, answer.over - since)
    for name in ("feed", "stream feed", "query feed"):
        frame = answers[name].text.split(b"\n\n")[-2]
        assert frame.startswith(b"event: daybook.unauthorized\ndata: "), (name, frame)
        told = json.loads(frame.split(b"data: ")[1])
        assert told["status"] == 401 and told["code"] == "unauthorized", told
    assert b'"events":[{' not in answers["long poll"].text


# ---- what was good until a moment ago ----

@tap.test
def an_answer_that_lasts_is_cut_when_its_token_is_taken_out_of_the_file():
    with folder() as place, guarded(place, tokens=(*ROLES, "writer2")) as server:
        (place / "tokens").write_text("".join(line(role, role) for role in ROLES) + line("gone", "writer"))
        wait_for(lambda: request(server, "GET", "/v1/views", headers=bearer("gone")).status == 200, "the token is known")
        answers, kept = long_answers(server, "gone"), Long(server, "GET", "/v1/events", "reader", accept="text/event-stream")
        began(answers)
        (place / "tokens").write_text("".join(line(role, role) for role in ROLES))
        all_are_cut(answers, time.monotonic())
        request(server, "POST", "/v1/append", {"events": [{"type": "A", "data": {}, "stream": "s"}]}, bearer("writer"))
        wait_for(lambda: b'"type":"A"' in kept.text, "who is still let in goes on")
        assert not any(b'"type":"A"' in answer.text for answer in answers.values())
        kept.connection.sock.close()


@tap.test
def an_answer_that_lasts_is_cut_when_its_token_expires():
    with folder() as place:
        issuer = Issuer(place, "one", "OKP")
        (place / "keys").write_text(json.dumps({"keys": [issuer.public]}))
        with guarded(place, "--jwks", str(place / "keys")) as server:
            end = int(time.time()) + 3
            answers = long_answers(server, issuer.sign(exp=end))
            began(answers)
            all_are_cut(answers, time.monotonic() + max(0, end - time.time()))
            assert time.time() >= end, "not before its time"


@tap.test
def an_answer_that_lasts_is_cut_when_the_key_of_its_token_goes():
    with folder() as place:
        issuer = Issuer(place, "one", "OKP")
        (place / "keys").write_text(json.dumps({"keys": [issuer.public]}))
        with guarded(place, "--jwks", str(place / "keys")) as server:
            answers = long_answers(server, issuer.sign())
            began(answers)
            (place / "keys").write_text('{"keys":[]}')
            all_are_cut(answers, time.monotonic())


@tap.test
def a_feed_ends_when_its_token_keeps_a_role_that_is_too_low():
    with folder() as place, guarded(place) as server:
        group = request(server, "POST", "/v1/groups/g", {}, bearer("operator"))
        assert group.status in (200, 201), group
        poll = Long(server, "POST", "/v1/groups/g/fetch", "writer", {"consumer": "c", "wait_seconds": 30})
        wait_for(lambda: poll.status == 200, "it waits", 20)
        since = time.monotonic()
        (place / "tokens").write_text(line("writer", "reader") + line("operator", "operator"))
        wait_for(lambda: poll.over is not None, "it is cut")
        assert poll.over - since < CUT_S, poll.over - since


@tap.test
def a_large_answer_to_a_slow_reader_is_cut_like_any_other():
    """Of each form: pages and NDJSON of events, and rows of a view, from memory, in pieces and from a spooled file."""
    with folder() as place:
        app = place / "app"
        (app / "views").mkdir(parents=True)
        (app / "views/notes.sql").write_text("-- view: notes\n-- version: 1\ncreate table notes (n integer primary key, text text not null);\n"
                                             "-- on Note\ninsert into notes values (:position, :data ->> 'text');\n")
        with guarded(place, app=app) as server:
            for _ in range(8):
                made = request(server, "POST", "/v1/append", {"events": [{"type": "Note", "data": {"text": "x" * 3000}} for _ in range(250)]}, bearer("writer"))
                assert made.status == 201, made
            (place / "tokens").write_text((place / "tokens").read_text() + line("gone", "reader"))
            wait_for(lambda: request(server, "GET", "/v1/views/notes?limit=1&min_position=2000", headers=bearer("gone")).status == 200, "the token is known, the view there", 30)
            slow = []
            for path, accept in (("/v1/views/notes?limit=2000", "text/csv"), ("/v1/views/notes?limit=2000", "application/x-ndjson"),
                                 ("/v1/views/notes?limit=2000&as_of=2000", "application/json"), ("/v1/events?limit=2000", "application/json"),
                                 ("/v1/events?limit=2000", "application/x-ndjson")):
                reader = socket.socket()
                reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                reader.connect(("127.0.0.1", server.port))
                reader.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nAuthorization: Bearer gone\r\n\r\n".encode())
                assert reader.recv(15) == b"HTTP/1.1 200 OK", (path, accept)
                slow.append((path, accept, reader))
            (place / "tokens").write_text("".join(line(role, role) for role in ROLES))
            wait_for(lambda: request(server, "GET", "/v1/views", headers=bearer("gone")).status == 401, "the token is gone")
            time.sleep(1)  # the second that is promised
            for path, accept, reader in slow:
                size = 0
                reader.settimeout(20)
                try:
                    while piece := reader.recv(65536):
                        size += len(piece)
                except ConnectionResetError:
                    pass
                assert 0 < size < 5_500_000, (path, accept, size, "of 6 MB")


# ---- files ----

@tap.test
def what_stands_in_a_file_counts_whatever_its_size_and_times_are():
    with folder() as place, guarded(place) as server:
        path, before = place / "tokens", os.stat(place / "tokens")
        for number in range(3):
            text = line(f"newer{number}", "reader") + line("writer", "writer") + line("operator", "operator")
            assert len(text) == before.st_size
            with open(path, "r+") as file:  # the same inode
                file.write(text)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            wait_for(lambda: request(server, "GET", "/v1/views", headers=bearer(f"newer{number}")).status == 200, "it is read again")
            assert request(server, "GET", "/v1/views", headers=bearer("reader")).status == 401


@tap.test
def a_fifo_in_place_of_a_file_stops_nothing():
    with folder() as place:
        issuer = Issuer(place, "one", "OKP")
        (place / "keys").write_text(json.dumps({"keys": [issuer.public]}))
        with guarded(place, "--jwks", str(place / "keys")) as server:
            for name in ("tokens", "keys"):
                (place / name).unlink()
                os.mkfifo(place / name)
            wait_for(lambda: sum("no regular file" in said for said in server.lines) >= 1, "it says so")
            assert request(server, "GET", "/v1/views", headers=bearer("reader"), timeout=5).status == 200
        for option in ("--token-file", "--jwks", "--checkpoint-key"):
            code, _, error = daybook("serve", "--data", place / "d", "--listen", "127.0.0.1:0", option, place / "tokens", timeout=20)
            assert code == 3 and ("regular file" in error or "cannot" in error), (option, code, error)


@tap.test
def an_emptied_set_of_keys_lets_nobody_in_until_it_has_keys_again():
    with folder() as place:
        issuer = Issuer(place, "one", "OKP")
        full = json.dumps({"keys": [issuer.public]})
        (place / "keys").write_text(full)
        with guarded(place, "--jwks", str(place / "keys")) as server:
            asks = lambda: request(server, "GET", "/v1/views", headers=bearer(issuer.sign())).status
            for empty in ('{"keys":[]}', "", json.dumps({"keys": [{**issuer.public, "key_ops": ["sign"]}]})):
                wait_for(lambda: asks() == 200, "it is let in")
                (place / "keys").write_text(empty)
                wait_for(lambda: asks() == 401, f"nobody is let in by {empty!r}")
                (place / "keys").write_text(full)
            wait_for(lambda: asks() == 200, "it is let in again")
            wait_for(lambda: any("keys has no usable key in it any more: it lets nobody in" in said for said in server.lines), "it says so")
            (place / "keys").write_text('{"keys":[7]}')
            wait_for(lambda: any("a key is an object; what was known before stays good" in said for said in server.lines), "it says so")
            wait_for(lambda: asks() == 200, "what was known before stays good")
        for empty in ('{"keys":[]}', ""):
            (place / "keys").write_text(empty)
            code, _, error = daybook("serve", "--data", place / "d", "--listen", "127.0.0.1:0", "--jwks", place / "keys")
            assert code == 3 and "no key for" in error, (code, error)


@tap.test
def keys_of_two_types_share_a_kid_and_those_of_no_use_are_named():
    with folder() as place:
        one, two = Issuer(place, "same", "OKP"), Issuer(place, "same", "RSA")
        other = {"kty": "EC", "crv": "P-521", "kid": "x"}
        (place / "keys").write_text(json.dumps({"keys": [one.public, two.public, other]}))
        with guarded(place, "--jwks", str(place / "keys")) as server:
            for issuer, header in ((one, {}), (two, {}), (one, {"alg": "Ed25519"})):
                assert request(server, "GET", "/v1/views", headers=bearer(issuer.sign(header))).status == 200, header
            assert any("passed over 1 keys" in said for said in server.lines), server.lines


# ---- what never was good ----

def forgeries(issuer):
    good = issuer.sign()
    head, body, tail = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    part = lambda value: encode(json.dumps(value).encode())
    yield from (f"{part({'alg': alg})}.{body}.{end}" for alg in ("none", "None", "NONE", "HS256", "", 7, None) for end in ("", tail))
    yield from (f"{part({'alg': 'EdDSA', 'kid': kid})}.{body}.{tail}" for kid in ("other", "", 7, None, "../../etc/passwd", "' or 1=1"))
    yield f"{part({'alg': 'EdDSA', 'kid': 'one', 'jwk': issuer.public})}.{body}.{tail}"
    yield f"{part({'alg': 'EdDSA', 'jku': 'https://evil.example/keys'})}.{body}.{tail}"
    yield f"{head}.{part({**claims, 'roles': ['operator'], 'sub': 'root'})}.{tail}"
    yield from (issuer.sign(header) for header in ({"crit": ["exp"]}, {"b64": False}))
    yield from (issuer.sign(**claims) for claims in ({"exp": int(time.time()) - 61}, {"exp": "never"}, {"exp": None}, {"nbf": int(time.time()) + 90},
                                                     {"exp": -1e300}, {"nbf": "soon"}))
    yield from (good + "=", good + ".", good + "." + tail, good[:-1], "." + good, head + ".." + tail, head + "." + body + ".", good.replace(".", "..", 1),
                head + "=." + body + "." + tail, good + "\t", "a" * 8193, "é", "..", "...", good.upper())


@tap.test
def no_forged_token_is_let_in_and_each_is_answered():
    with folder() as place:
        issuer = Issuer(place, "one", "OKP")
        (place / "keys").write_text(json.dumps({"keys": [issuer.public]}))
        with guarded(place, "--jwks", str(place / "keys")) as server:
            assert request(server, "GET", "/v1/views", headers=bearer(issuer.sign())).status == 200
            count = 0
            for token in forgeries(issuer):
                if token.endswith("\t"):
                    continue  # white space behind a field's value is not part of it
                answer = request(server, "GET", "/v1/views", headers={"Authorization": f"Bearer {token}".encode()})
                assert answer.status in (401, 431), (token[:80], answer)
                count += 1
            assert count > 40, count
            for form in (issuer.sign(), f"Basic {issuer.sign()}", f"Bearer  ", "Bearer", f"Token {issuer.sign()}", f"Bearer,{issuer.sign()}"):
                assert request(server, "GET", "/v1/views", headers={"Authorization": form}).status == 401, form


@tap.test
def every_route_is_closed_to_who_has_no_token_and_to_every_role_below_its_own():
    with folder() as place, guarded(place) as server:
        paths = request(server, "GET", "/openapi.json", headers=bearer("reader")).json()["paths"]
        tried = 0
        for path, methods in paths.items():
            for method, operation in methods.items():
                security = operation.get("security")
                if not security:
                    continue
                needed = security[0]["bearer"][0]
                target, sent = path.replace("{", "").replace("}", ""), {} if method in ("post", "put") else None
                for form in (target, target + "?access_token=operator&token=operator", target.replace("/v1/", "/v1/%2e/").replace("%2e/", "")):
                    assert request(server, method.upper(), form, sent, {"X-Required-Role": "operator", "Daybook-Roles": "operator",
                                                                        "Cookie": "token=operator"}).status == 401, (method, form)
                    tried += 1
                for role in ROLES[:ROLES.index(needed)]:
                    assert request(server, method.upper(), target, sent, bearer(role)).status == 403, (method, path, role)
                    tried += 1
        assert tried > 100, tried


tap.main()
