#!/usr/bin/env python3
"""Services that speak no HTTP, or no whole HTTP: each is a failure whatever it says, and a client_abort is one only if the client
really went (BREAKER.md §5, points 1 and 5)."""
import http.client
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading

from harness import WAIT_S, ask, certificate, free_port, site, test, wait_for

OPENS = "window=10s min_calls=3 failure_rate=100% consecutive=3 open=60s open_max=60s"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

# name: (when it speaks, what it says, how it ends, what the verdict is called, what a client gets)
# when: "at once", as soon as it is connected; "asked", after the request. how: close, hold, reset.
SAYS = {
    "ssh": ("at once", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "hold", "invalid_header", 502),
    "ssh-closing": ("asked", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\nInvalid SSH identification string.\r\n", "close",
                    "invalid_header", 502),
    "smtp": ("at once", b"220 mail.example ESMTP\r\n", "hold", "invalid_header", 502),
    "redis": ("asked", b"-ERR unknown command 'GET'\r\n", "hold", "invalid_header", 502),
    "mysql": ("at once", b"J\x00\x00\x00\n8.0.36\x00\x08\x00\x00\x00", "hold", "invalid_header", 502),
    "http09": ("asked", b"<html>hello</html>\n", "close", "invalid_header", 502),
    "binary": ("asked", bytes(range(256)), "hold", "invalid_header", 502),
    "tls-alert": ("asked", b"\x15\x03\x01\x00\x02\x02\x46", "close", "invalid_header", 502),
    "one-byte": ("asked", b"\x00", "hold", "invalid_header", 502),
    "no-code": ("asked", b"HTTP/1.1 OK\r\n\r\n", "hold", "invalid_header", 502),
    "rtsp": ("asked", b"RTSP/1.0 200 OK\r\n\r\n", "hold", "invalid_header", 502),
    "code-000": ("asked", b"HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n", "hold", "invalid_header", 502),
    "code-099": ("asked", b"HTTP/1.1 099 Less\r\nContent-Length: 0\r\n\r\n", "hold", "invalid_header", 502),
    "only-100": ("asked", b"HTTP/1.1 100 Continue\r\n\r\n", "hold", "invalid_header", 502),
    "only-102": ("asked", b"HTTP/1.1 102 Processing\r\n\r\n", "close", "invalid_header", 502),
    "unasked-101": ("asked", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "hold",
                    "invalid_header", 502),
    "bad-header": ("asked", OK + b"Bad\x01Header: x\r\n\r\n", "hold", "invalid_header", 502),
    "big-header": ("asked", OK + b"X: " + b"y" * 100_000 + b"\r\n\r\n", "hold", "invalid_header", 502),
    "endless-header": ("asked", OK + b"X: y\r\n" * 20_000, "hold", "invalid_header", 502),
    "half-line": ("asked", b"HTTP/1.", "hold", "timeout", 504),
    "half-header": ("asked", OK + b"X", "close", "error", 502),
    "half-header-reset": ("asked", OK + b"X", "reset", "error", 502),
    "silence": ("asked", b"", "hold", "timeout", 504),
    "nothing": ("asked", b"", "close", "error", 502),
    "closes-at-once": ("at once", b"", "close", "error", 502),
    "no-chunks": ("asked", OK + b"Transfer-Encoding: chunked\r\n\r\nthis is no chunk\r\n", "hold", "truncated", 200),
    "half-chunks": ("asked", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "close", "truncated", 200),
    "half-body": ("asked", OK + b"Content-Length: 100\r\n\r\nhello", "close", "truncated", 200),
    "silent-body": ("asked", OK + b"Content-Length: 100\r\n\r\nhello", "hold", "truncated", 200),
}
# those that only a timeout ends: the others must not meet one on a busy machine
SILENT = [says for name, says in SAYS.items() if says[3] == "timeout" or name == "silent-body"]


class Speaker:
    """Says what SAYS has under a name; a port for each name."""

    def __init__(self, names=SAYS):
        self.ports, self.listeners, self.held = {}, [], []
        for name in names:
            listener = socket.socket()
            listener.bind(("127.0.0.1", 0))
            listener.listen(512)
            self.ports[name] = listener.getsockname()[1]
            self.listeners.append(listener)
            threading.Thread(target=self.accept, args=(listener, SAYS[name]), daemon=True).start()

    def accept(self, listener, says):
        while True:
            try:
                c, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(c, *says[:3]), daemon=True).start()

    def serve(self, c, when, what, end):
        self.held.append(c)
        try:
            if when == "asked":
                c.recv(65536)
            c.sendall(what)
            if end == "hold":
                c.settimeout(20)
                while c.recv(65536):
                    pass
            elif end == "reset":
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
        finally:
            c.close()

    def stop(self):
        for one in self.listeners + self.held:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()


WAYS = {        # how nginx comes to call it; each has code of its own on nginx's side
    "plain": ("", "", "http://127.0.0.1:{port}"),
    "unbuffered": ("", "proxy_buffering off;", "http://127.0.0.1:{port}"),
    "cached": ("", "proxy_cache c; proxy_cache_valid 200 1m;", "http://127.0.0.1:{port}"),
    "variable": ("", "set $to 127.0.0.1:{port};", "http://$to"),
    "kept": ("upstream {name} {{ server 127.0.0.1:{port} max_fails=0; keepalive 4; breaker_peers b-{name}; }}",
             "proxy_http_version 1.1; proxy_set_header Connection '';", "http://{name}"),
}
CACHE = "proxy_cache_path @DIR@/cache levels=1 keys_zone=c:1m use_temp_path=off;\n"


def place(scene, ways=WAYS, says=SAYS, chain="", server=""):
    """A breaker and a location for each way to each speaker: /NAME-WAY with breaker NAME-WAY."""
    speaker, http, locations = scene.add(Speaker(says)), CACHE, ""
    for way, (block, settings, to) in ways.items():
        for one, port in speaker.ports.items():
            name = f"{one}-{way}"
            fill = {"name": name, "port": port}
            http += f"breaker {name} {OPENS};\n" + (f"breaker b-{name} {OPENS};\n" if block else "") + block.format(**fill) + "\n"
            quick = "proxy_read_timeout 300ms;" if says[one] in SILENT else ""
            locations += f"""location /{name} {{ breaker_use {name}; {quick} {settings.format(**fill)} {chain}
                             proxy_pass {to.format(**fill)}; }}\n"""
    # for so many breakers the usual zone is too small
    conf = site(OPENS, f"proxy_next_upstream off; {server}\n{locations}", http=http)
    return scene.nginx(conf.replace("breaker_zone breakers 2m", "breaker_zone breakers 64m"), workers=1)


def fails(n, name, way):
    """Three calls open it; None, or what was wrong. The client gets a whole answer, or one that is cut and says so."""
    kind, status = SAYS[name][3:]
    path = f"/{name}-{way}"
    for i in range(3):
        try:
            a = ask(n.port, path)
        except (http.client.RemoteDisconnected, ConnectionResetError) as e:
            if kind != "truncated":     # the header may go with what was cut
                return f"{path}: {e!r}"
            continue
        except Exception as e:
            return f"{path}: {e!r}"
        if a.status != status:
            return f"{path}: {a}"
    if n.get(path).status != 503:
        return f"{path}: {n.breaker(path[1:])}"
    return None


@test
def a_service_that_speaks_no_whole_http_fails_and_its_breaker_opens(scene):
    n = place(scene)
    wrong, threads = [], []
    for way in WAYS:
        for name in SAYS:
            threads.append(threading.Thread(target=lambda name=name, way=way: wrong.append(fails(n, name, way))))
            threads[-1].start()
    for t in threads:
        t.join()
    assert not any(wrong), "\n".join(sorted(w for w in wrong if w))
    states = {b["name"]: b for b in n.get("/breakers").json["breakers"]}
    for name, (_, _, _, kind, _) in SAYS.items():
        for way in WAYS:
            b = states[f"{name}-{way}"]
            assert b["state"] == "open" and b["calls"]["neutral"] == 0, b
            # of a variable host's call only its end is seen
            n.logged(f"GET /{name}-{way} ", "reason=" + ("" if way == "variable" and kind == "invalid_header" else kind))
            if way == "kept":     # … and that of the server saw each attempt
                b = next(b for one, b in states.items() if one.startswith(f"b-{name}-kept:"))
                assert b["state"] == "open", b
    assert "client_abort" not in "\n".join(n.access_log())


@test
def what_speaks_no_http_falls_back_as_any_failure(scene):
    other = scene.upstream("two")
    n = place(scene, chain="breaker_fallback @two;", says={k: v for k, v in SAYS.items() if v[4] != 200},
              server=f"location @two {{ breaker_use off; proxy_cache off; proxy_pass http://127.0.0.1:{other.port}; }}")
    results = {}
    threads = [threading.Thread(target=lambda p=f"/{name}-{way}": results.update({p: n.get(p)}))
               for way in WAYS for name, says in SAYS.items() if says[4] != 200]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    wrong = {p: a for p, a in results.items() if a.status != 200 or a.json["service"] != "two"}
    assert not wrong and len(results) == len(threads), wrong


@test
def an_answer_that_is_not_http_reaches_no_client_over_http_1_0_or_http_2(scene):
    folder, port = certificate(), free_port()
    n = place(scene, ways={"plain": WAYS["plain"]}, says={"ssh": SAYS["ssh"], "only-100": SAYS["only-100"]}, server=f"""
        listen 127.0.0.1:{port} ssl http2; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;""")
    for path in ("/ssh-plain", "/only-100-plain"):
        for version in ("--http1.0", "--http1.1", "--http2"):
            text = subprocess.run(["curl", "-sk", version, "-m", str(WAIT_S), "-w", "%{http_code} %{http_version}",
                                   f"https://127.0.0.1:{port}{path}"], capture_output=True, timeout=2 * WAIT_S).stdout
            assert re.search(rb"(502|503) (1.0|1.1|2)$", text) and b"SSH" not in text, (path, version, text)
    shutil.rmtree(folder)


@test
def other_protocols_than_http_towards_a_stranger_fail_too(scene):
    speaker = scene.add(Speaker(("ssh", "binary", "half-header", "nothing")))
    http, locations = "", ""
    for protocol in ("fastcgi", "uwsgi", "scgi", "grpc"):
        for name, port in speaker.ports.items():
            http += f"breaker {protocol}-{name} {OPENS};\n"
            locations += f"""location /{protocol}-{name} {{ breaker_use {protocol}-{name}; {protocol}_pass 127.0.0.1:{port};
                             {protocol}_read_timeout 300ms; }}\n"""
    n = scene.nginx(site(OPENS, locations, http=http).replace("breakers 2m", "breakers 16m"), workers=1)
    for protocol in ("fastcgi", "uwsgi", "scgi", "grpc"):
        for name in speaker.ports:
            path = f"/{protocol}-{name}"
            statuses = [n.get(path).status for _ in range(4)]
            assert set(statuses[:3]) <= {502, 504} and statuses[3] == 503, (path, statuses)
    assert "client_abort" not in "\n".join(n.access_log()), n.access_log()


@test
def tls_where_there_is_none_and_none_where_there_is_fail(scene):
    folder, stranger, port = certificate(), certificate(), free_port()
    speaker = scene.add(Speaker(("ssh", "silence")))
    plain = scene.upstream()
    tls = {"to-plain": f"https://127.0.0.1:{plain.port}", "to-ssh": f"https://127.0.0.1:{speaker.ports['ssh']}",
           "to-silence": f"https://127.0.0.1:{speaker.ports['silence']}", "unverified": f"https://127.0.0.1:{port}"}
    n = scene.nginx(site(OPENS, "".join(f"""location /{name} {{ breaker_use {name}; proxy_pass {to}; proxy_connect_timeout 300ms;
        proxy_ssl_verify on; proxy_ssl_trusted_certificate {stranger}/cert.pem; }}\n""" for name, to in tls.items()),
        http="".join(f"breaker {name} {OPENS};\n" for name in tls) + f"""server {{ listen 127.0.0.1:{port} ssl;
            ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem; return 200; }}""").replace("breakers 2m", "breakers 8m"))
    for name in tls:
        statuses = [n.get(f"/{name}").status for _ in range(4)]
        assert statuses[3] == 503 and set(statuses[:3]) <= {502, 504}, (name, statuses)
    assert plain.count() == 0
    shutil.rmtree(folder)
    shutil.rmtree(stranger)


@test
def a_client_that_is_there_is_never_said_to_have_gone(scene):
    u = scene.upstream()
    u.headers = {"Cache-Control": "max-age=1"}
    n = scene.nginx(site(OPENS, f"""
        location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; proxy_cache c; proxy_cache_use_stale updating;
                      proxy_cache_background_update on; add_header Cache-Status $upstream_cache_status always; }}
        location /no-store {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; }}""", http=CACHE), workers=1)
    asked = u.count()
    assert n.get("/head", method="HEAD").status == 200          # fetched whole, for the cache
    assert n.get("/no-store", method="HEAD").status == 200
    n.get("/x")
    wait_for(lambda: n.get("/x").headers["Cache-Status"] == "STALE", "never stale")     # … and updated in the background
    wait_for(lambda: u.count("/x") == 2, "not updated")
    wait_for(lambda: sum(n.breaker("b")["calls"].values()) == u.count() - asked, "not all are judged")
    b = n.breaker("b")
    assert b["calls"]["ok"] == 4 and b["calls"]["neutral"] == 0, b


@test
def a_client_that_really_went_is_neutral_wherever_the_call_was(scene):
    speaker = scene.add(Speaker(("silence", "silent-body")))
    tried = []
    n = scene.nginx(site(OPENS, "".join(f"""
        location /{name} {{ breaker_use b; proxy_pass http://127.0.0.1:{port}; proxy_read_timeout 20s; proxy_buffering {buffering};
                            proxy_request_buffering off; }}"""
        for name, port, buffering in (("before", speaker.ports["silence"], "on"), ("buffered", speaker.ports["silent-body"], "on"),
                                      ("unbuffered", speaker.ports["silent-body"], "off")))), workers=1)
    for path in ("/before", "/buffered", "/unbuffered"):
        held = len(speaker.held)
        with socket.create_connection(("127.0.0.1", n.port), timeout=WAIT_S) as s:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            wait_for(lambda: len(speaker.held) > held, "not called")
            if path == "/unbuffered":
                assert s.recv(1000)
        tried.append(path)
        wait_for(lambda: sum(n.breaker("b")["calls"].values()) == len(tried), f"{path} is not judged")
    b = n.breaker("b")
    assert b["calls"]["neutral"] == 3 and b["state"] == "closed", b
    # a body that stops coming is the client's doing as well
    with socket.create_connection(("127.0.0.1", n.port), timeout=WAIT_S) as s:
        s.sendall(b"POST /before HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n")
        wait_for(lambda: b" 400 " in s.recv(1000) or True, "no answer")
    wait_for(lambda: n.breaker("b")["in_flight"] == 0, "still under way")
    assert n.breaker("b")["calls"]["failure"] == n.breaker("b")["calls"]["timeout"] == 0, n.breaker("b")


if __name__ == "__main__":
    sys.exit(test.run())
