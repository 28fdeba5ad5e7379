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

SERVICE = pathlib.Path(__file__).resolve().parent / "service.py"
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
    upstream one {{ server 127.0.0.1:{one} max_fails=0; keepalive 64; }}
    upstream two {{ server 127.0.0.1:{two}; keepalive 64; }}
    upstream pair {{ server 127.0.0.1:{one}; server 127.0.0.1:{two} backup; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ breaker_use b; breaker_fallback @two; proxy_pass http://one; }}
        location @two {{ proxy_pass http://two; }}
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
        for path, peer, name, peer_name in (("/guarded", "/plain", "gateway, breaker closed", "plain proxy_pass"),
                                            ("/fallback", "/plain", "gateway, breaker open, fallback", "that service directly")):
            ours, theirs = setting.turns(lambda: steady(lambda: wrk(values["port"], path, setting.seconds)),
                                         lambda: steady(lambda: wrk(values["port"], peer, setting.seconds)))
            own, other = (median([one["per_second"] for one in many]) for many in (ours, theirs))
            yield {"what": f"{name}: requests", "ours": f"{own:,.0f}/s", "ratio": median(
                       [a["per_second"] / b["per_second"] for a, b in zip(ours, theirs)]), "peer_name": peer_name,
                   "peer": f"{other:,.0f}/s"}
            own, other = (median([one["p99_ms"] for one in many]) for many in (ours, theirs))
            yield {"what": f"{name}: p99", "ours": f"{own:.2f} ms", "ratio": median(
                       [a["p99_ms"] / b["p99_ms"] for a, b in zip(ours, theirs)]), "peer_name": peer_name,
                   "peer": f"{other:.2f} ms"}


def break_it(service, fault):
    """One second into the run."""
    time.sleep(1)
    if fault == "kill":
        service.kill()
    elif fault == "stop":
        service.signal(signal.SIGSTOP)
    else:
        service.signal({"500": signal.SIGUSR1, "slow": signal.SIGUSR2, "flap": signal.SIGHUP}[fault])


def run_with_fault(port, one, fault, seconds):
    from daybook_test import Process
    service = Process([sys.executable, SERVICE, str(one)], "listens")
    service.start()
    load = subprocess.Popen([sys.executable, __file__, str(port), str(seconds)], stdout=subprocess.PIPE, text=True)
    try:
        break_it(service, fault)
        return json.loads(load.communicate(timeout=seconds + 60)[0])
    finally:
        service.kill()


def one_failure(setting, who, fault, seconds):
    """One gateway, one fault: what its load felt."""
    from daybook_test import Process
    folder = setting.folder / "gateway-failing"
    ports = {name: free_port() for name in ("port", "plain", "one", "two")}
    values = values_for(setting, folder, rules=RULES.replace("window=10s", "window=2s") + " slow_call=100ms slow_rate=50%", **ports)
    (folder / "haproxy.cfg").write_text(HAPROXY.format(**{**values, "port": values["port"] + 0}))
    text = FAILING.format(**values)
    if who == "HAProxy":
        text = text.replace(f"listen 127.0.0.1:{values['port']};", f"listen 127.0.0.1:{free_port()};")
    with nginx(folder, text):
        haproxy = Process(["haproxy", "-db", "-V", "-f", folder / "haproxy.cfg"], "Available polling|Using epoll")
        if who == "HAProxy":
            haproxy.start()
        port = values["plain"] if who == "max_fails" else values["port"]
        result = run_with_fault(port, values["one"], fault, seconds)
        haproxy.kill()
    return result


def gateway_failures(setting, median):
    """Service 1 breaks one second into a run of six: answers that were no 200, the slowest percent, the slowest."""
    seconds = max(6, setting.seconds)
    for what, fault in FAULTS.items():
        results = {who: steady(lambda who=who: one_failure(setting, who, fault, seconds))
                   for who in ("breaker", "max_fails", "HAProxy")}

        def tell(one):
            return f"{one['bad']} bad, p99 {one['p99_ms']:.0f} ms, worst {one['worst_ms']:.0f} ms, {one['count']:,} done"
        yield {"what": f"service 1 {what}", "ours": f"{results['breaker']['per_second']:,.0f}/s", "ratio":
               results["breaker"]["per_second"] / results["max_fails"]["per_second"], "peer_name": "max_fails, backup",
               "peer": f"{results['max_fails']['per_second']:,.0f}/s",
               "note": "; ".join(f"{who}: {tell(one)}" for who, one in results.items())}


if __name__ == "__main__":      # the load, in a process of its own
    print(json.dumps(wrk(int(sys.argv[1]), "/", int(sys.argv[2]))))
