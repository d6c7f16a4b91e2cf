"""A TCP proxy on loopback that puts a distance between two ends: a round-trip time, and a rate for what goes out.

Keeps order and loses nothing. The rate is one for all its connections together, as an uplink's is; a round-trip time of 0 and no rate
pass bytes on as they come.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Tuple

CHUNK = 1 << 18
# What may be on the way in one direction of a connection, in bytes: more than any window that is asked for here.
ON_THE_WAY = 64 << 20
# A slice of a rated link: small, so that connections take turns.
SLICE = 1 << 14
# A link doesn't wait for a processor: what this process has missed, by so many seconds at most, is made up for.
BURST = 0.02


class Uplink:
    """Bytes a second for everybody together. Whoever sends waits for its turn."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free = 0.0
        self.sent = 0

    async def pass_on(self, size: int) -> None:
        self.sent += size
        if self._rate:
            now = time.monotonic()
            self._free = max(self._free, now - BURST) + size / self._rate
            if self._free > now:
                await asyncio.sleep(self._free - now)


class Way:
    """One direction of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float, uplink: Uplink) -> None:
        self._reader, self._writer, self._delay, self._uplink = reader, writer, delay, uplink
        self._queue: asyncio.Queue[Tuple[float, bytes]] = asyncio.Queue()
        self._waiting = 0
        self._room = asyncio.Event()
        self._room.set()

    async def run(self) -> None:
        await asyncio.gather(self._take(), self._give())

    async def _take(self) -> None:
        while True:
            await self._room.wait()
            try:
                data = await self._reader.read(SLICE if self._uplink._rate else CHUNK)
            except ConnectionError:
                data = b""
            if data:
                await self._uplink.pass_on(len(data))
            self._waiting += len(data)
            if self._waiting > ON_THE_WAY:
                self._room.clear()
            self._queue.put_nowait((time.monotonic() + self._delay, data))
            if not data:
                return

    async def _give(self) -> None:
        while True:
            due, data = await self._queue.get()
            wait = due - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            try:
                if not data:
                    self._writer.close()
                    return
                self._writer.write(data)
                await self._writer.drain()
            except ConnectionError:
                return
            self._waiting -= len(data)
            self._room.set()


async def serve(listen: Tuple[str, int], target: Tuple[str, int], rtt: float, uplink: Uplink) -> asyncio.Server:
    downlink = Uplink(0)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(*target, limit=1 << 20)
        except OSError:
            writer.close()
            return
        ways = Way(reader, there_writer, rtt / 2, uplink), Way(there_reader, writer, rtt / 2, downlink)
        await asyncio.gather(*(way.run() for way in ways))

    return await asyncio.start_server(connected, *listen, limit=1 << 20)


async def main(rtt: float, rate: float, pairs: list[str]) -> None:
    """Each pair is `address:port=address:port`; what it listens at is told, so its port may be 0. A line on stdin is answered by
    the bytes that went out so far."""
    uplink = Uplink(rate)

    def endpoint(text: str) -> Tuple[str, int]:
        address, _, port = text.rpartition(":")
        return address, int(port)

    servers = []
    for pair in pairs:
        front, _, back = pair.partition("=")
        servers.append(await serve(endpoint(front), endpoint(back), rtt, uplink))
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        print(uplink.sent, flush=True)
    # Whoever asked for the distance is done with it; connections that still stand end with the process.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
