"""Subscriptions: how long an event is on its way to a thousand of them, and what each of them costs in memory."""
import json
import re
import pathlib
import socket
import subprocess

SUBSCRIBER_COUNT = 1000
APPENDS_PER_SECOND = 100
P99_TARGET_MS = 50
MEMORY_TARGET_KIB = 16


def fan_out(setting, median):
    """1,000 subscribers and 100 appends a second: from the append to each delivery, beside the target of 50 ms."""
    with setting.server("fan-out") as server:
        command = [str(setting.build / "bench" / "fan_out"), str(server.port), str(SUBSCRIBER_COUNT), str(APPENDS_PER_SECOND),
                   str(setting.seconds)]
        runs = []
        for _ in range(setting.rounds):
            runs.append(setting.steady(lambda: json.loads(subprocess.run(command, capture_output=True, text=True, check=True,
                                                                         timeout=300).stdout)))
    p99 = median([run["p99_us"] for run in runs]) / 1000
    yield {"what": f"{SUBSCRIBER_COUNT:,} subscribers, {APPENDS_PER_SECOND} appends/s: p99 to delivery", "ours": f"{p99:.2f} ms",
           "ratio": p99 / P99_TARGET_MS, "peer_name": "target, below", "peer": f"{P99_TARGET_MS} ms",
           "note": f"p50 {median([run['p50_us'] for run in runs]) / 1000:.2f} ms, p99.9 "
                   f"{median([run['p999_us'] for run in runs]) / 1000:.2f} ms; {runs[0]['delivered']:,} deliveries a round, all arrived"}


def resident_kib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1))


def caught_up(connection):
    received = b""
    while b"daybook.caught-up" not in received:
        piece = connection.recv(65536)
        if not piece:
            raise RuntimeError("a subscription has ended")
        received += piece


def open_subscriber(port):
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(b"GET /v1/events?type=T HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
    return connection


def subscriber_memory(setting, median):
    """Resident memory of the server for each open subscription, beside the target of 16 KiB."""
    with setting.server("subscribers") as server:
        first = open_subscriber(server.port)  # what the first one brings to be is not counted
        caught_up(first)
        before = resident_kib(server.process.pid)
        connections = [open_subscriber(server.port) for _ in range(SUBSCRIBER_COUNT)]
        for connection in connections:
            caught_up(connection)
        each = (resident_kib(server.process.pid) - before) / SUBSCRIBER_COUNT
        for connection in [first, *connections]:
            connection.close()
    yield {"what": "resident memory for an open subscription", "ours": f"{each:.1f} KiB", "ratio": each / MEMORY_TARGET_KIB,
           "peer_name": "target, at most", "peer": f"{MEMORY_TARGET_KIB} KiB"}
