"""A crowd of clients that hold a server up, all at once, from one process with one epoll set.

    with Crowd(port) as crowd:
        crowd.idle(10000)      connected; every other one asked once and keeps its connection
        crowd.slow(2000)       each sends its header, a byte a turn
        crowd.feeds(1000)      subscribed, and never read
        crowd.pages(300)       asked for a large answer, and never read
        crowd.bodies(300)      stopped in the middle of a large body
        crowd.turn()           once round: send what can be sent, a byte for each slow one
        crowd.outcomes()       of each kind how many are open and how many got which answer

An outcome is the status of the first answer, "open" (nothing has come yet), "closed" or "reset".
"""
import collections
import selectors
import socket

PAGES = [
    ("/v1/events?limit=10000", "application/json"),
    ("/v1/events?limit=10000&direction=backward", "application/json"),
    ("/v1/events", "application/x-ndjson"),
    ("/v1/streams/large?limit=10000", "application/json"),
    ("/dcb/read", "application/json"),
    ("/openapi.json", "application/json"),
]


def get(path, accept="application/json"):
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n".encode()


class Client:
    def __init__(self, kind, port, data, drip=False):
        self.kind, self.data, self.drip = kind, data, drip
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.dead = None
        try:
            self.socket.connect(("127.0.0.1", port))
        except BlockingIOError:
            pass

    def send(self, size=1 << 20):
        """What the socket takes; False when it takes no more, or the other side has left."""
        try:
            sent = self.socket.send(self.data[:size])
        except BlockingIOError:
            return False
        except OSError:
            self.dead, self.data = "reset", b""
            return False
        self.data = self.data[sent:]
        return True

    def outcome(self):
        try:
            first = self.socket.recv(12, socket.MSG_PEEK)
        except BlockingIOError:
            return "open"
        except OSError:
            return "reset"
        return int(first[9:12]) if first.startswith(b"HTTP/1.") else "closed"


class Crowd:
    def __init__(self, port):
        self.port, self.clients, self.selector = port, [], selectors.DefaultSelector()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.selector.close()
        for client in self.clients:
            client.socket.close()

    def add(self, kind, data=b"", drip=False):
        client = Client(kind, self.port, data, drip)
        self.clients.append(client)
        if data and not drip:
            self.selector.register(client.socket, selectors.EVENT_WRITE, client)
        if len(self.clients) % 200 == 0:
            self.turn()
        return client

    def idle(self, count):
        for n in range(count):
            self.add("idle", get("/health") if n % 2 else b"")

    def slow(self, count):
        for _ in range(count):
            self.add("slow", get("/v1/events", "a" * 200), drip=True)

    def feeds(self, count):
        for _ in range(count):
            self.add("feed", get("/v1/events", "text/event-stream"))

    def pages(self, count, pages=PAGES):
        for n in range(count):
            self.add("page", get(*pages[n % len(pages)]))

    def bodies(self, count, size=8 << 20):
        head = (f"POST /v1/append HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {size}\r\n\r\n").encode()
        text = b'{"events":[' + b" " * (size // 2)
        for _ in range(count):
            self.add("body", head + text)

    def turn(self):
        for key, _ in self.selector.select(0):
            if key.data.dead or not key.data.send() and key.data.dead or not key.data.data:
                self.selector.unregister(key.fileobj)
        for client in self.clients:
            if client.drip and client.data:
                client.send(1)

    def outcomes(self):
        counts = collections.defaultdict(collections.Counter)
        for client in self.clients:
            counts[client.kind][client.outcome()] += 1
        return counts
