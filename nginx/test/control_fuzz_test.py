#!/usr/bin/env python3
"""Rubbish, thousands of times: the parser of directives and the control endpoint answer clearly and never fall over.

The seed is printed and can be given as the last argument: `control_fuzz_test.py 7`.
"""
import os
import random
import socket
import string
import sys
import time

from harness import WAIT_S, WRONG, Nginx, site, test

SEED = int(sys.argv.pop()) if len(sys.argv) > 1 and sys.argv[-1].isdigit() else int(time.time())
SCALE = int(os.environ.get("FUZZ_SCALE", "1"))
REQUESTS, CONFIGURATIONS = 1000 * SCALE, 60 * SCALE

WORDS = ["window", "min_calls", "failure_rate", "consecutive", "slow_call", "slow_rate", "hung", "open", "open_max", "jitter",
         "probes", "probe_ok", "ramp", "max_in_flight", "max_streams", "max_fallbacks", "retry_budget", "key", "preset", "mode",
         "slices", "probe_lease", "forget", "retry_after_max", "key_idle", "evaluate", "nonsense", ""]
VALUES = ["", "0", "1", "-1", "10s", "10", "1h", "99999999999999999999", "50%", "101%", "%", "count:10", "count:", "on", "off",
          "$uri", "${uri", "$nope", "auto", "shadow", "hystrix", "1e9", "0x10", "10ss", "s", "ms", "é", "a" * 500]
DIRECTIVES = ["breaker_use", "breaker_failure", "breaker_neutral", "breaker_class", "breaker_fallback", "breaker_status",
              "breaker_control", "breaker_peers", "breaker_zone", "breaker"]
ARGUMENTS = ["b", "off", "shadow", "error", "timeout", "http_500", "http_5xx", "http_", "http_9xx", "http_1000", "client_abort",
             "$uri", "$", "${}", "cache", "@x", "@", "503=/x", "503=", "=/x", "600=/x", "max_ejected=50%", "max_ejected=",
             "max_ejected=-1%", "1m", "z", "a" * 300, "'", "\\x00", "é"]


def dice():
    print(f"# seed {SEED}")
    return random.Random(SEED)


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"')+ '"'


@test
def any_parameters_are_taken_or_refused_with_a_reason(scene):
    random_ = dice()
    for _ in range(CONFIGURATIONS):
        parameters = " ".join(quoted(f"{random_.choice(WORDS)}={random_.choice(VALUES)}")
                              for _ in range(random_.randrange(4)))
        line = " ".join([random_.choice(DIRECTIVES)] + [quoted(random_.choice(ARGUMENTS))
                                                        for _ in range(random_.randrange(4))])
        http = site(parameters, f"location / {{ breaker_use b; {line}; proxy_pass http://127.0.0.1:9; }}")
        n = Nginx(http, workers=1, check=False)
        right, text = n.test()
        n.stop_quietly()
        assert right or "[emerg]" in text, (http, text)
        assert "signal" not in text and not WRONG.search(text), (http, text)


def rubbish(random_):
    """One request to the control endpoint: nearly right, or far from it."""
    method = random_.choice(["POST"] * 6 + ["GET", "PUT", "POSTT", "OPTIONS", ""])
    name = random_.choice(["b", "b", "c", "", "b:", "..", "%2e%2e", "b%00", "b/", "a" * random_.randrange(1, 300),
                           "".join(random_.choice(string.printable) for _ in range(random_.randrange(20)))])
    order = random_.choice(["open", "close", "auto", "reset", "OPEN", "", "open/", "open?x", "openn", "%6fpen", "reset#"])
    type_ = random_.choice(["application/json"] * 4 + ["text/plain", "", "application/json;", "application/jsonx", "\x01",
                                                       "a" * 3000])
    host = random_.choice(["127.0.0.1"] * 4 + ["localhost", "evil.example", "", "[::1]", "127.0.0.1:0", "x y", "TEST.EXAMPLE."])
    body = random_.choice(["", "{}", "[" * 1000, "\x00" * 10])
    length = random_.choice([str(len(body))] * 5 + ["-1", "99999999999", "x", "3"])
    text = f"{method} /breakers/{name}/{order} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {type_}\r\n" \
           f"Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    data = bytearray(text.encode())
    for _ in range(random_.choice([0, 0, 0, 1, 5])):
        data[random_.randrange(len(data))] = random_.randrange(256)
    return bytes(data)


@test
def the_control_endpoint_survives_rubbish(scene):
    random_ = dice()
    n = scene.nginx(site("", "location / { breaker_use b; proxy_pass http://127.0.0.1:9; }"), workers=1)
    before = n.worker_pids()
    for _ in range(REQUESTS):
        with socket.create_connection(("127.0.0.1", n.port), timeout=WAIT_S) as s:
            s.sendall(rubbish(random_))
            s.shutdown(socket.SHUT_WR)
            try:
                s.recv(65536)
            except ConnectionResetError:
                pass
    assert n.worker_pids() == before, "a worker has died"
    names = [b["name"] for b in n.get("/breakers").json["breakers"]]
    assert names == ["b"], names
    assert n.order("b", "reset").status == 200 and n.state() == "closed"


if __name__ == "__main__":
    sys.exit(test.run())
