#!/usr/bin/env python3
"""A few clients who write down each of their requests, beside wrk, which only sums up: one JSON object a line.

    bench/witness.py PORT SECONDS

at: when it began, on the monotonic clock; took: seconds; status: 0 when nothing came; who answered, and the gateway's decision.
"""
import http.client
import json
import sys
import threading
import time

CLIENTS = 4


def witness(port, end, seen):
    connection = None
    while (at := time.monotonic()) < end:
        status, who, decision = 0, "", ""
        try:
            connection = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
            status, who, decision = answer.status, answer.headers.get("Who", ""), answer.headers.get("Decision", "")
        except OSError:
            connection = None
        except http.client.HTTPException:
            connection = None
        seen.append({"at": at, "took": time.monotonic() - at, "status": status, "who": who, "decision": decision})
        time.sleep(0.002)       # witnesses, not load


def main():
    port, end = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
    seen = []
    threads = [threading.Thread(target=witness, args=(port, end, seen)) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in seen:
        print(json.dumps(one))


if __name__ == "__main__":
    main()
