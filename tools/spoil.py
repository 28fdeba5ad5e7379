#!/usr/bin/env python3
"""Something between the gateway and service 1 that can be spoilt by hand.

    tools/spoil.py well|slow|500|hang [SECONDS] [--at run/spoil]     tell the one that `tools/run_hotel.py --spoil` started
    tools/spoil.py --listen PORT --to PORT [--at run/spoil]          be one

well passes everything on; slow waits SECONDS (3) before it does; 500 answers so by itself; hang takes requests and says
nothing. What is under way keeps what it met. Exit: 0 done, 1 nobody listens there, 2 used wrongly.
"""
import argparse
import asyncio
import os
import socket
import sys

ILL = (b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain\r\nContent-Length: 6\r\nConnection: close\r\n\r\n"
       b"spoilt")
ORDER_SIZE_MAX = 64


class Spoiler:
    def __init__(self, to):
        self.to, self.mode, self.seconds = to, "well", 3.0

    async def order(self, reader, writer):
        """One line over the control socket: MODE SECONDS."""
        words = (await reader.read(ORDER_SIZE_MAX)).decode(errors="replace").split()
        if len(words) == 2 and words[0] in ("well", "slow", "500", "hang"):
            self.mode, self.seconds = words[0], float(words[1])
            writer.write(b"done")
        writer.close()

    async def serve(self, reader, writer):
        """One connection of the gateway's: bytes go on in both directions, those towards the service as the mode says."""
        back = None
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.to)
            back = asyncio.create_task(self.copy(inner_reader, writer))
            while data := await reader.read(65536):
                if self.mode == "500":
                    writer.write(ILL)
                    await writer.drain()
                    break
                if self.mode == "hang":
                    await reader.read()     # until the gateway gives up
                    break
                if self.mode == "slow":
                    await asyncio.sleep(self.seconds)
                inner_writer.write(data)
                await inner_writer.drain()
            inner_writer.close()
        except OSError:
            pass    # service 1 is away, or the gateway left
        finally:
            if back:
                back.cancel()
            writer.close()

    @staticmethod
    async def copy(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()


async def be(listen, to, at):
    spoiler = Spoiler(to)
    if os.path.exists(at):
        os.unlink(at)
    await asyncio.start_unix_server(spoiler.order, at)
    server = await asyncio.start_server(spoiler.serve, "127.0.0.1", listen)
    print(f"spoils 127.0.0.1:{to} at 127.0.0.1:{listen}", flush=True)
    async with server:
        await server.serve_forever()


def tell(at, mode, seconds):
    try:
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(at)
            control.sendall(f"{mode} {seconds}".encode())
            if control.recv(ORDER_SIZE_MAX) == b"done":
                print(f"service 1 is {mode}")
                return 0
    except OSError as error:
        print(f"spoil: {at}: {error.strerror}; start the hotel with tools/run_hotel.py --spoil", file=sys.stderr)
    return 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", nargs="?", choices=["well", "slow", "500", "hang"])
    parser.add_argument("seconds", nargs="?", type=float, default=3.0)
    parser.add_argument("--at", default="run/spoil", help="the socket for orders (run/spoil)")
    parser.add_argument("--listen", type=int, metavar="PORT", help="be one: the port that the gateway calls")
    parser.add_argument("--to", type=int, metavar="PORT", help="be one: the port of service 1")
    arguments = parser.parse_args()
    if arguments.listen and arguments.to:
        asyncio.run(be(arguments.listen, arguments.to, arguments.at))
        return 0
    if not arguments.mode:
        parser.error("well, slow, 500 or hang?")
    return tell(arguments.at, arguments.mode, arguments.seconds)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        pass
