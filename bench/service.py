#!/usr/bin/env python3
"""A service to break: answers 200, and after a signal 500 (USR1), after 300 ms (USR2), or by turns of a second 200 and 500 (HUP);
WINCH heals it.

    bench/service.py PORT
"""
import asyncio
import signal
import sys
import time

SLOW_SECONDS = 0.3
mode = "ok"


def answer(status):
    return (f"HTTP/1.1 {status} Whatever\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n\r\none").encode()


WELL, ILL = answer(200), answer(500)


class Service(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.held = transport, b""

    def data_received(self, data):
        self.held += data
        while b"\r\n\r\n" in self.held:
            self.held = self.held.split(b"\r\n\r\n", 1)[1]
            if mode == "slow":
                asyncio.get_running_loop().call_later(SLOW_SECONDS, self.transport.write, WELL)
            else:
                ill = mode == "500" or (mode == "flap" and int(time.monotonic()) % 2)
                self.transport.write(ILL if ill else WELL)


def become(name):
    global mode
    mode = name


async def main():
    loop = asyncio.get_running_loop()
    for number, name in ((signal.SIGUSR1, "500"), (signal.SIGUSR2, "slow"), (signal.SIGHUP, "flap"),
                         (signal.SIGWINCH, "ok")):
        loop.add_signal_handler(number, become, name)
    server = await loop.create_server(Service, "127.0.0.1", int(sys.argv[1]), backlog=512)
    print("listens", flush=True)
    await server.serve_forever()


asyncio.run(main())
