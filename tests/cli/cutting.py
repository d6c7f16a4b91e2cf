"""A line to a server that breaks, or stands still, once so many bytes have gone out over it.

Counts what goes out of all its connections together. Never changes a byte.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Iterator, Optional

from places import Server

CHUNK = 1 << 14


class Line:
    def __init__(self, server: Server) -> None:
        self.sent = 0
        # Where it breaks, and where it stands still until it is `released`.
        self.breaks_at: Optional[int] = None
        self.stands_at: Optional[int] = None
        self.stands, self.released = threading.Event(), threading.Event()
        self._target = (server.address, server.port)
        self._listener = socket.create_server((server.address, 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def begin(self, breaks_at: Optional[int] = None, stands_at: Optional[int] = None) -> None:
        """Counts from here on."""
        self.sent, self.breaks_at, self.stands_at = 0, breaks_at, stands_at

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            there = socket.create_connection(self._target)
            for source, target, outward in ((here, there, True), (there, here, False)):
                threading.Thread(target=self._carry, args=(source, target, outward), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, outward: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                if outward:
                    data = self._let_out(data)
                if not data:
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _let_out(self, data: bytes) -> bytes:
        if self.breaks_at is not None:
            data = data[: max(0, self.breaks_at - self.sent)]
        self.sent += len(data)
        if self.stands_at is not None and self.sent > self.stands_at and not self.stands.is_set():
            self.stands.set()
            self.released.wait()
        return data

    def end(self) -> None:
        self.released.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextlib.contextmanager
def line_to(server: Server) -> Iterator[Line]:
    line = Line(server)
    try:
        yield line
    finally:
        line.end()
