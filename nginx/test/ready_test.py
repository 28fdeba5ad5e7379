#!/usr/bin/env python3
"""The configurations that are ready to use: the API gateway and the sidecar."""
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile

import ready
from harness import WAIT_S, WRAPPER, Skip, test, together, wait_for
from ready import Ready


GOOD = {"Authorization": "Bearer writer"}
READER = {"Authorization": "Bearer reader"}


def authority(method, path, headers):
    token = headers.get("authorization", "")
    if token not in ("Bearer reader", "Bearer writer"):
        return "401"
    return "403" if "role=writer" in path and token == "Bearer reader" else "204"


def api(scene, **values):
    hotel, replica, ledger, auth = (scene.upstream(name) for name in ("hotel", "replica", "ledger", "auth"))
    auth.decide = authority
    auth.headers = {"Daybook-Roles": "reader"}
    g = Ready("api", hotel=f"127.0.0.1:{hotel.port}", replica=f"127.0.0.1:{replica.port}",
              ledger=f"127.0.0.1:{ledger.port}", auth=f"127.0.0.1:{auth.port}", open="300ms", **values)
    scene.running.append(g)
    return g, hotel, replica, ledger, auth


@test
def requests_are_routed_by_path_host_header_and_content(scene):
    g, hotel, replica, ledger, auth = api(scene)
    for path, headers, service in (
            ("/hotel/rooms", {}, "hotel"), ("/ledger/x", {}, "ledger"),
            ("/x", {"Host": "hotel.example"}, "hotel"), ("/x", {"Host": "ledger.example"}, "ledger"),
            ("/hotel/x", {"X-Service": "ledger"}, "ledger"), ("/hotel/x", {"ce-type": "com.example.ledger.paid"}, "ledger"),
            ("/hotel/x", {"Content-Type": "application/cloudevents+json"}, "ledger")):
        a = g.get(path, headers={**GOOD, **headers})
        assert a.status == 200 and a.json["service"] == service, (path, headers, a)
    a = g.get("/nowhere", headers=GOOD)
    assert a.status == 404 and a.headers["Content-Type"] == "application/problem+json" and a.json["status"] == 404, a


@test
def what_is_encoded_in_a_path_stays_encoded(scene):
    g, hotel, *_ = api(scene)
    g.get("/hotel/a%2Fb%20c?d=%26", headers=GOOD)
    assert hotel.requests[0][1] == "/hotel/a%2Fb%20c?d=%26", hotel.requests


@test
def only_tls_1_2_and_1_3_are_spoken_and_plain_http_is_redirected(scene):
    g, *_ = api(scene)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert g.get("/hotel/x", headers=GOOD, minimum_version=version, maximum_version=version).status == 200
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{g.tls_port}", "-tls1_1", "-cipher",
                           "ALL:@SECLEVEL=0"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
    assert done.returncode != 0 or "Cipher is (NONE)" in done.stdout, done.stdout
    a = g.get("/hotel/x?y=1", tls=False)
    assert a.status == 308 and a.headers["Location"] == f"https://127.0.0.1:{g.tls_port}/hotel/x?y=1", a
    assert g.get("/hotel/x", headers=GOOD).headers["Strict-Transport-Security"]


def accepted_suites(port):
    """Of all that OpenSSL knows for TLS 1.2, with or without authentication or encryption."""
    names = subprocess.run(["openssl", "ciphers", "-tls1_2", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"], check=True, capture_output=True,
                           text=True).stdout.strip().split(":")
    found = set()
    for name in names:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.set_ciphers(f"{name}:@SECLEVEL=0")
            with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as s, context.wrap_socket(s) as tls:
                found.add(tls.cipher()[0])
        except (ssl.SSLError, ConnectionError):
            pass
    assert len(names) > 40, names
    return found


@test
def of_tls_1_2_only_suites_with_forward_secrecy_and_authenticated_encryption_are_accepted(scene):
    if WRAPPER:
        raise Skip("hundreds of handshakes, and nothing of the module in them")
    for kind, key in (("ec", "ECDSA"), ("rsa", "RSA")):
        wanted = {f"ECDHE-{key}-{cipher}" for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")}
        for g in (api(scene, key_kind=kind)[0], sidecar(scene, key_kind=kind)[0]):
            assert accepted_suites(g.tls_port) == wanted, (g.dir, kind)


@test
def who_is_not_known_is_401_and_takes_no_permit(scene):
    g, hotel, replica, ledger, auth = api(scene)
    for a in together(20, lambda: g.get("/hotel/x")):
        assert a.status == 401 and a.headers["Content-Type"] == "application/problem+json", a
    a = g.get("/hotel/x", method="POST", headers=READER, body="x")
    assert a.status == 403 and a.json["title"] == "Forbidden", a
    assert g.get("/hotel/x", headers=READER).status == 200
    assert g.get("/hotel/x", method="POST", headers=GOOD, body="x").status == 200
    assert hotel.count() == 2 and auth.count() < 10, (hotel.count(), auth.count())
    assert g.breaker("hotel")["calls"]["ok"] == 2 and g.breaker("auth")["state"] == "closed", g.breaker("auth")
    assert g.breaker("auth")["calls"]["failure"] == 0


@test
def an_authority_that_is_away_lets_no_one_in(scene):
    g, hotel, replica, ledger, auth = api(scene)
    auth.stop()
    for _ in range(8):
        assert g.get("/hotel/x", headers=GOOD).status == 500
    assert hotel.count() == 0 and g.breaker("auth")["state"] == "open"


@test
def requests_carry_an_id_and_a_trace(scene):
    g, hotel, *_ = api(scene)
    a = g.get("/hotel/x", headers=GOOD)
    seen = hotel.requests[0][2]
    assert a.headers["X-Request-Id"] == seen["x-request-id"] and len(seen["x-request-id"]) == 32, (a, seen)
    version, trace, span, flags = seen["traceparent"].split("-")
    assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01"), seen
    mine = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    g.get("/hotel/y", headers={**GOOD, "traceparent": mine, "X-Forwarded-For": "6.6.6.6"})
    seen = hotel.requests[1][2]
    assert seen["traceparent"] == mine and seen["x-forwarded-for"] == "127.0.0.1", seen
    assert seen["daybook-roles"] == "reader", seen


@test
def a_client_that_asks_too_often_gets_429(scene):
    g, *_ = api(scene, rate="1r/s", burst="2")
    answers = together(20, lambda: g.get("/hotel/x", headers=GOOD))
    limited = [a for a in answers if a.status == 429]
    assert limited and any(a.status == 200 for a in answers), [a.status for a in answers]
    assert limited[0].headers["Content-Type"] == "application/problem+json", limited[0]


@test
def a_service_that_dies_is_answered_for_by_the_cache_and_the_replica(scene):
    g, hotel, replica, ledger, auth = api(scene)
    hotel.headers = {"Cache-Control": "max-age=1"}
    assert g.get("/hotel/cached", headers=GOOD).headers["Cache-Status"] == "MISS"
    hotel.stop()
    a = wait_for(lambda: (lambda a: a if a.headers["Cache-Status"] in ("STALE", "UPDATING") else None)(
        g.get("/hotel/cached", headers=GOOD)), "never stale")
    assert a.status == 200 and a.json["service"] == "hotel", a
    for i in range(12):
        a = g.get(f"/hotel/{i}", headers=GOOD)
        assert a.status == 200 and a.json["service"] == "replica", a
    assert g.breaker("hotel")["state"] in ("open", "half_open"), g.breaker("hotel")
    a = g.get("/hotel/x", method="POST", headers=GOOD, body="x")
    assert a.status in (502, 503), a        # 502: it was let in to see whether the service is back
    assert g.get("/ledger/x", headers=GOOD).json["service"] == "ledger"


@test
def the_log_is_json_and_names_breaker_and_decision(scene):
    import json
    g, *_ = api(scene)
    g.get("/hotel/a\"b", headers=GOOD)
    lines = wait_for(lambda: open(f"{g.dir}/access.log").read().splitlines(), "no log")
    line = json.loads(lines[-1])
    assert line["breaker"] == "hotel" and line["decision"] == "pass" and line["tls"].startswith("TLSv1."), line


def sidecar(scene, payments_name="localhost", **values):
    service, payments = scene.upstream("service"), scene.upstream("payments")
    # payments speaks TLS: an nginx of its own would be one more; the sidecar of payments is one already
    inner = Ready("../sidecar/sidecar", service=f"127.0.0.1:{payments.port}", payments="127.0.0.1:1",
                  payments_name="x", trusted="/etc/ssl/certs/ca-certificates.crt", open="300ms")
    scene.running.append(inner)
    outer = Ready("../sidecar/sidecar", service=f"127.0.0.1:{service.port}", payments=f"127.0.0.1:{inner.tls_port}",
                  payments_name=payments_name, trusted=f"{inner.certificate}/cert.pem", open="300ms", **values)
    scene.running.append(outer)
    return outer, service, payments


@test
def a_sidecar_guards_its_service_and_what_it_calls(scene):
    s, service, payments = sidecar(scene)
    a = s.get("/x", headers={"X-Request-Id": "mine"})
    assert a.json["service"] == "service" and service.requests[0][2]["x-request-id"] == "mine", a
    a = s.get("/payments/pay?x=%2F", tls=False)
    assert a.status == 200 and a.json == {"service": "payments", "path": "/pay?x=%2F", "method": "GET"}, a
    payments.mode = "500"
    for _ in range(5):
        s.get("/payments/pay", tls=False)
    a = s.get("/payments/pay", tls=False)
    assert a.status == 503 and a.json["code"] == "breaker-open", a
    assert s.breaker("egress:payments", tls=False)["state"] == "open"
    assert s.breaker("ingress", tls=False)["state"] == "closed" and s.get("/x").status == 200


@test
def a_sidecar_calls_no_one_whose_name_is_not_certified(scene):
    s, service, payments = sidecar(scene, payments_name="someone.else.example")
    assert s.get("/payments/pay", tls=False).status in (502, 504)     # 504: its patience ends before the handshake
    assert payments.count() == 0


@test
def a_sidecar_lets_no_more_in_than_its_service_can_do(scene):
    import threading
    s, service, payments = sidecar(scene, max_in_flight=2)
    service.mode = "hold"
    answers = []
    threads = [threading.Thread(target=lambda i=i: answers.append(s.get(f"/{i}").status)) for i in range(2)]
    for t in threads:
        t.start()
    wait_for(lambda: service.count() == 2, "two calls are not under way")
    assert s.get("/more").json["reason"] == "full"
    service.release()
    for t in threads:
        t.join()
    assert answers == [200, 200], answers


def workers(g):
    children = open(f"/proc/{g.process.pid}/task/{g.process.pid}/children").read().split()
    status = [open(f"/proc/{pid}/status").read() for pid in children]
    return [re.search(r"^Uid:\s+(\d+)\s+(\d+)", one, re.M).groups() for one in status]


@test
def workers_are_never_root_and_get_at_all_they_need_wherever_they_lie(scene):
    if os.geteuid() == 0 and WRAPPER:
        raise Skip("what runs nginx here does not let it change its user")
    for private in (False, True):
        g, hotel, *_ = api(scene, private=private)
        hotel.headers = {"Cache-Control": "max-age=60", "X-Long": "x" * 100}
        s, service, _ = sidecar(scene, private=private)
        one = scene.upstream("leader")
        h = scene.add(Ready("hotel", leader=one.port, follower=one.port, private=private))
        for nginx, u, path in ((g, hotel, "/hotel/x"), (s, service, "/x"), (h, one, "/v1/commands/X")):
            assert workers(nginx) and all("0" not in ids for ids in workers(nginx)) or os.geteuid() != 0, workers(nginx)
            a = nginx.get(path, method="POST", headers=GOOD, body=b"x" * 3_000_000)     # goes over a file
            assert a.status == 200 and len(u.requests[-1][3]) == 3_000_000, (path, a)
        assert g.get("/hotel/kept", headers=GOOD).headers["Cache-Status"] == "MISS"
        wait_for(lambda: g.get("/hotel/kept", headers=GOOD).headers["Cache-Status"] == "HIT", "nothing is kept")
        for nginx in (g, h):
            assert nginx.get("/breakers/dashboard/").status == 200 and nginx.get("/breakers/dashboard/card.js").status == 200
        for nginx in (g, s, h):
            assert "ermission denied" not in nginx.said(), nginx.said()


@test
def a_folder_that_another_users_workers_left_is_used_again(scene):
    if os.geteuid() != 0:
        raise Skip("only root has workers that are somebody else")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("body/0", "cache/a", "data"):
            os.makedirs(f"{folder}/{name}", 0o700)
        os.chmod(folder, 0o711)
        ready.gateway.places(folder, ready.gateway.worker_user())
        assert os.listdir(folder) == ["data"], os.listdir(folder)


if __name__ == "__main__":
    sys.exit(test.run())
