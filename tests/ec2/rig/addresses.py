"""Loopback addresses for machines: 127.OCTET.x.y, where OCTET belongs to this rig alone while it lives.

A bound socket is the claim, so several rigs can run at once. Also keeps addresses silent, as a firewall does.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Dict, Optional, Tuple

CLAIM_PORT = 1337


class NoAddresses(Exception):
    pass


class Addresses:
    def __init__(self, octet: Optional[int] = None) -> None:
        candidates = [octet] if octet is not None else [2 + (os.getpid() + n) % 250 for n in range(250)]
        for candidate in candidates:
            claim = socket.socket()
            try:
                claim.bind((f"127.{candidate}.0.1", CLAIM_PORT))
                claim.listen(1)
            except OSError as error:
                claim.close()
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            self.octet, self._claim = candidate, claim
            break
        else:
            raise NoAddresses("every octet that may be used is claimed by another rig")
        self._next = 0

    def pair(self) -> Tuple[str, str]:
        """A public and a private address, never given before."""
        number = self._next
        self._next += 1
        high, low = divmod(number, 250)
        if high > 99:
            raise NoAddresses("this rig has used up its addresses")
        return f"127.{self.octet}.{100 + high}.{low + 2}", f"127.{self.octet}.{high + 1}.{low + 2}"

    def close(self) -> None:
        self._claim.close()


class Silence:
    """Addresses whose port 22 answers nothing: their listener's queue is full, so SYNs are dropped."""

    def __init__(self) -> None:
        self._sockets: Dict[str, Tuple[socket.socket, ...]] = {}

    def begin(self, address: str, port: int = 22) -> None:
        if address in self._sockets:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(0)
        filler = socket.create_connection((address, port))
        self._sockets[address] = (filler, listener)

    def holds(self, address: str) -> bool:
        return address in self._sockets

    def end(self, address: str) -> None:
        for held in self._sockets.pop(address, ()):
            # A reset instead of a farewell, so that no TIME_WAIT is left on the port.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            held.close()

    def close(self) -> None:
        for address in list(self._sockets):
            self.end(address)
