"""The gateway's measures: what the breaker costs while all is well, and what it spares when it is not.

Closed: the same nginx, the same service, two locations that differ in one line, in turn. Open: the fallback through an open
breaker beside calling the other service directly. Failures: service 1 breaks in the middle of a run; our gateway, the same
nginx with max_fails and a backup server, and HAProxy with `observe layer7` answer the same load.
"""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

from peers import free_port
from table import milliseconds, rate, row

SERVICE = pathlib.Path(__file__).resolve().parent / "service.py"
WITNESS = SERVICE.with_name("witness.py")
CLOCK_SLACK = 0.03      # nginx's clock and ours
CLIENTS = 32

CLOSED = """
load_module {module};
{user}
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr notice;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000; proxy_http_version 1.1; proxy_set_header Connection "";
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    breaker_zone breakers 1m;
    breaker b {rules};
    breaker dead consecutive=1 min_calls=1 open=10m open_max=10m;
    upstream service {{ server 127.0.0.1:{one}; keepalive 64; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{port};
        location /plain {{ proxy_pass http://service; }}
        location /guarded {{ breaker_use b; proxy_pass http://service; }}
        location /fallback {{ breaker_use dead; breaker_fallback @service; proxy_pass http://127.0.0.1:1; }}
        location @service {{ proxy_pass http://service; }}
    }}
    server {{
        listen 127.0.0.1:{one};
        location / {{ return 200 "well, well, well"; }}
    }}
}}
"""

FAILING = """
load_module {module};
{user}
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr notice;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000; proxy_http_version 1.1; proxy_set_header Connection "";
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    proxy_connect_timeout 1s; proxy_read_timeout 1s;
    breaker_zone breakers 1m;
    breaker b {rules};
    map $upstream_addr $who {{ default two; ~:{one}$ one; }}
    add_header Who $who always;
    add_header Decision $breaker_decision always;
    upstream one {{ server 127.0.0.1:{one} max_fails=0; keepalive 64; }}
    upstream two {{ server 127.0.0.1:{two}; keepalive 64; }}
    upstream pair {{ server 127.0.0.1:{one}; server 127.0.0.1:{two} backup; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ breaker_use b; breaker_fallback @two; proxy_pass http://one; }}
        location @two {{ proxy_pass http://two; }}
        location = /breakers {{ breaker_status; }}
    }}
    server {{
        listen 127.0.0.1:{plain};
        location / {{ proxy_pass http://pair; proxy_next_upstream error timeout http_500; }}
    }}
    server {{
        listen 127.0.0.1:{two};
        location / {{ return 200 "two"; }}
    }}
}}
"""

HAPROXY = """
global
    maxconn 4096
defaults
    mode http
    timeout connect 1s
    timeout client 10s
    timeout server 1s
    option redispatch 1
    retries 1
    retry-on conn-failure empty-response response-timeout 500
frontend door
    bind 127.0.0.1:{port}
    default_backend pair
backend pair
    server one 127.0.0.1:{one} check inter 1s observe layer7 error-limit 10 on-error mark-down
    server two 127.0.0.1:{two} backup
"""

RULES = "window=10s min_calls=20 failure_rate=50% consecutive=10 open=2s open_max=10s"
FAILING_RULES = "window=2s min_calls=20 failure_rate=50% consecutive=10 slow_call=100ms slow_rate=50% open=1s open_max=2s ramp=3s"
FAULT_AT, HEALED_AT, RUN_SECONDS = 1, 5, 12     # of one failure
SLOW_SECONDS = 0.1          # longer than that is waiting
FAULTS = {"dies": "kill", "hangs": "stop", "answers 500": "500", "gets slow (300 ms)": "slow", "flaps every second": "flap"}


def values_for(setting, folder, **ports):
    folder.mkdir(parents=True, exist_ok=True)
    return {"folder": folder, "module": setting.build / "nginx" / "ngx_http_breaker_module.so",
            "user": "user root;" if os.geteuid() == 0 else "", **ports}


def nginx(folder, text):
    from daybook_test import Process
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "nginx" / "gateway"))
    import gateway
    (folder / "nginx.conf").write_text(text)
    return Process(gateway.command(folder), gateway.READY)


def wrk(port, path, seconds, clients=CLIENTS):
    """per_second, p50_ms, p99_ms, worst_ms and how many answers were no 2xx."""
    done = subprocess.run(["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "10s", "--latency",
                           f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True).stdout

    def ms(pattern):
        number, unit = re.search(pattern, done).groups()
        return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]

    def count(pattern):
        found = re.search(pattern, done)
        return sum(int(group) for group in found.groups()) if found else 0

    return {"per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", done).group(1)),
            "p50_ms": ms(r"50%\s+([\d.]+)(us|ms|s)"), "p99_ms": ms(r"99%\s+([\d.]+)(us|ms|s)"),
            "worst_ms": ms(r"Latency\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)"), "count": count(r"(\d+) requests in"),
            "stalled": float(re.search(r"requests in ([\d.]+)s", done).group(1)) > seconds * 1.05,
            "bad": count(r"Non-2xx or 3xx responses: (\d+)")
            + count(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")}


def steady(measure, tries=4):
    """A run in which the machine itself did not stand still: on a shared one the load's own clock tells."""
    for _ in range(tries):
        result = measure()
        if not result["stalled"]:
            break
    return result


def gateway_closed(setting, median):
    """Throughput and p99 with a closed breaker beside plain proxy_pass; the fallback beside the other service itself."""
    folder = setting.folder / "gateway-closed"
    values = values_for(setting, folder, port=free_port(), one=free_port(), rules=RULES + " max_in_flight=1000")
    with nginx(folder, CLOSED.format(**values)):
        wrk(values["port"], "/plain", 1)
        for path, peer, name, peer_name, least, most in (
                ("/guarded", "/plain", "gateway, breaker closed", "plain proxy_pass", 0.98, 1.05),
                ("/fallback", "/plain", "gateway, breaker open, fallback", "that service directly", None, 1.1)):
            ours, theirs = setting.turns(lambda: steady(lambda: wrk(values["port"], path, setting.seconds)),
                                         lambda: steady(lambda: wrk(values["port"], peer, setting.seconds)))
            yield pair_of(f"{name}: requests", "per_second", ours, theirs, median, peer_name, least, False)
            yield pair_of(f"{name}: p99", "p99_ms", ours, theirs, median, peer_name, most, True)


def pair_of(what, figure, ours, theirs, median, peer_name, target, below):
    """A row whose ratio is the median of the rounds' own ratios: what the machine did to one round, it did to both."""
    own, other = (median([one[figure] for one in many]) for many in (ours, theirs))
    ratio = median([mine[figure] / its[figure] for mine, its in zip(ours, theirs)])
    spreads = [{name: median([one[name] for one in many]) for name in ("p50_ms", "p99_ms")} for many in (ours, theirs)]
    line = row(what, own, peer_name, other, target=target, below=below, unit=milliseconds if below else rate,
               ours_ms=spreads[0], peer_ms=spreads[1])
    return {**line, "ratio": ratio, "reached": None if target is None else (ratio <= target if below else ratio >= target)}


class Spoilt:
    """Service 1, which gets the fault and is healed again."""

    def __init__(self, port, fault):
        from daybook_test import Process
        self.fault = fault
        self.process = Process([sys.executable, SERVICE, str(port)], "listens")
        self.process.start()

    def spoil(self):
        if self.fault == "kill":
            self.process.kill()
        else:
            self.process.signal({"stop": signal.SIGSTOP, "500": signal.SIGUSR1, "slow": signal.SIGUSR2,
                                 "flap": signal.SIGHUP}[self.fault])

    def heal(self):
        if self.fault == "kill":
            self.process.start()
        else:
            self.process.signal(signal.SIGCONT if self.fault == "stop" else signal.SIGWINCH)

    def end(self):
        self.process.kill()


def run_with_fault(port, one, fault):
    """wrk's figures, what the witness saw, and when the fault began and ended."""
    service = Spoilt(one, fault)
    load = subprocess.Popen([sys.executable, __file__, "load", str(port), str(RUN_SECONDS)], stdout=subprocess.PIPE, text=True)
    witness = subprocess.Popen([sys.executable, WITNESS, str(port), str(RUN_SECONDS)], stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(FAULT_AT)
        began = time.monotonic()
        service.spoil()
        time.sleep(HEALED_AT - FAULT_AT)
        healed = time.monotonic()
        service.heal()
        seen = [json.loads(line) for line in witness.communicate(timeout=RUN_SECONDS + 60)[0].splitlines()]
        return {**json.loads(load.communicate(timeout=RUN_SECONDS + 60)[0]), "seen": seen, "began": began, "healed": healed}
    finally:
        for process in (load, witness):
            process.kill()
        service.end()


def events_of(port):
    """What the breaker did, by the clock of this process: [(at, to)]."""
    import urllib.request
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/breakers") as answer:
        now, breakers = time.monotonic(), json.load(answer)["breakers"]
    return [(now - event["ago_ms"] / 1000, event["to"]) for event in breakers[0]["events"]]


def one_failure(setting, who, fault):
    """One gateway, one fault: what its load felt."""
    from daybook_test import Process
    folder = setting.folder / "gateway-failing"
    ports = {name: free_port() for name in ("port", "plain", "one", "two")}
    values = values_for(setting, folder, rules=FAILING_RULES, **ports)
    (folder / "haproxy.cfg").write_text(HAPROXY.format(**{**values, "port": values["port"] + 0}))
    text = FAILING.format(**values)
    if who == "HAProxy":
        text = text.replace(f"listen 127.0.0.1:{values['port']};", f"listen 127.0.0.1:{free_port()};")
    with nginx(folder, text):
        haproxy = Process(["haproxy", "-db", "-V", "-f", folder / "haproxy.cfg"], "Available polling|Using epoll")
        if who == "HAProxy":
            haproxy.start()
        port = values["plain"] if who == "max_fails" else values["port"]
        result = run_with_fault(port, values["one"], fault)
        if who == "breaker":
            result["events"] = events_of(port)
        haproxy.kill()
    return result


def p99(numbers):
    return sorted(numbers)[len(numbers) * 99 // 100] if numbers else 0.0


def verdicts_of(result, fault):
    """What must be shown, each as (sentence, does it hold): of requests that began between the first trip and the return."""
    opened = next((at for at, to in result["events"] if to == "open"), None)
    if opened is None:
        yield "the breaker opened", False
        return
    back = next((at for at, to in result["events"] if at > opened and to in ("ramp", "closed")), float("inf"))
    after = [one for one in result["seen"] if opened + CLOCK_SLACK < one["at"] < back - CLOCK_SLACK]
    waited = [one for one in after if one["decision"] != "probe" and (one["decision"] != "refused" or one["who"] == "one")]
    probes = [one for one in after if one["decision"] == "probe"]
    slow = [one for one in after if one["took"] > SLOW_SECONDS and one["decision"] != "probe"]
    yield f"the breaker opened {opened - result['began']:.2f} s after the fault", True
    yield (f"from then on {len(waited)} of {len(after)} requests went to service 1 besides {len(probes)} probes; {len(slow)} took "
           f"longer than {SLOW_SECONDS * 1000:.0f} ms, p99 {p99([one['took'] for one in after]) * 1000:.1f} ms",
           len(after) > 0 and not waited and not slow)
    answered = sum(one["status"] == 200 for one in after)
    yield f"{answered} of these {len(after)} were answered 200, by service 2", answered == len(after)
    if fault != "flap":
        yield from ramp_of(result)


def ramp_of(result):
    """The share of service 1 after its return, by half seconds: it must begin small and end whole."""
    ramp = next((at for at, to in result["events"] if at > result["healed"] and to == "ramp"), None)
    if ramp is None:
        yield "its traffic came back by a ramp", False
        return
    shares = []
    for step in range(8):
        some = [one for one in result["seen"] if ramp + step / 2 <= one["at"] < ramp + step / 2 + 0.5]
        if some:
            shares.append(100 * sum(one["who"] == "one" for one in some) / len(some))
    yield ("on return its share by half seconds was " + " ".join(f"{share:.0f}" for share in shares) + " %",
           len(shares) > 3 and shares[0] < 60 and shares[-1] > 99 and max(shares) == shares[-1])


def tell(one):
    """What all callers felt, and those who began a second after the fault or later, while it lasted."""
    late = [each for each in one["seen"] if one["began"] + 1 < each["at"] < one["healed"]]
    return (f"{one['bad']} bad, p50 {one['p50_ms']:.1f}, p99 {one['p99_ms']:.0f}, worst {one['worst_ms']:.0f} ms, {one['count']:,} done; "
            f"from 1 s after the fault {sum(each['took'] > SLOW_SECONDS for each in late)} of {len(late)} waited, "
            f"{sum(each['status'] != 200 for each in late)} bad")


def gateway_failures(setting, median):
    """Service 1 breaks one second into a run and is healed four seconds later: what callers felt, and what must be shown."""
    for what, fault in FAULTS.items():
        results = {who: steady(lambda who=who: one_failure(setting, who, fault)) for who in ("breaker", "max_fails", "HAProxy")}
        spreads = [{name: results[who][name] for name in ("p50_ms", "p99_ms")} for who in ("breaker", "max_fails")]
        yield row(f"service 1 {what}", results["breaker"]["per_second"], "max_fails, backup", results["max_fails"]["per_second"],
                  ours_ms=spreads[0], peer_ms=spreads[1],
                  note="\n      ".join(f"{who}: {tell(one)}" for who, one in results.items()))
        for sentence, holds in verdicts_of(results["breaker"], fault):
            yield {**row(f"  {sentence}", 0), "ours": "", "reached": holds}


if __name__ == "__main__":      # the load, in a process of its own
    print(json.dumps(wrk(int(sys.argv[2]), "/", int(sys.argv[3]))))
