"""Tells the engine what this pytest prints, so that `cloudist replay` can print it again.

Listens at the standard streams, whoever writes to them. Never changes what is written, nor when.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any, Dict, List, Optional, Tuple

import pytest

from .bridge import Bridge, EngineGone
from .terminal import uncaptured

# A frame with so much in it is written to the pipe whole or not at all, even if Ctrl-C comes in between.
MOST_BYTES = 3900
MOST_CHARACTERS = MOST_BYTES // 4
# So many pieces are told although nothing is waited for; and so many are kept until the engine can be told at all.
MANY = 64
MOST_BEFORE = 4096


class Transcript:
    def __init__(self, config: pytest.Config, bridge: Bridge) -> None:
        self._bridge: Optional[Bridge] = bridge
        self._said: List[Tuple[int, bytes]] = []
        self._begun = False
        self._streams: Dict[int, Any] = {}
        # Threads print too, but only this one speaks to the engine; and a process that is forked speaks to nobody.
        self._lock = threading.RLock()
        self._speaker = os.getpid(), threading.get_ident()
        with uncaptured(config):
            streams = {1: sys.stdout, 2: sys.stderr}
        self.terminal = bool(getattr(streams[1], "isatty", bool)())
        for number, stream in streams.items():
            self._listen(number, stream)

    def _listen(self, number: int, stream: Any) -> None:
        write = getattr(stream, "write", None)

        def heard(text: Any) -> Any:
            written = write(text)
            self._hear(number, stream, text)
            return written

        try:
            stream.write = heard
        except AttributeError:
            # A stream of somebody's own. What goes there isn't replayed.
            return
        self._streams[number] = stream

    def _hear(self, number: int, stream: Any, text: Any) -> None:
        if self._bridge is None or not isinstance(text, str):
            return
        encoding, errors = getattr(stream, "encoding", None), getattr(stream, "errors", None)
        step = MOST_BYTES if text.isascii() else MOST_CHARACTERS
        with self._lock:
            for start in range(0, len(text), step):
                self._put(number, text[start : start + step].encode(encoding or "utf-8", errors or "strict"))
            if not self._begun:
                del self._said[:-MOST_BEFORE]
        if self._begun and len(self._said) > MANY:
            self.tell()

    def _put(self, number: int, piece: bytes) -> None:
        before = self._said[-1] if self._said else (0, b"")
        if before[0] == number and len(before[1]) + len(piece) <= MOST_BYTES:
            self._said[-1] = (number, before[1] + piece)
        else:
            self._said.append((number, piece))

    def begin(self) -> None:
        """The engine listens from now on."""
        self._begun = True

    def tell(self) -> None:
        """Tells what was printed so far."""
        if not self._begun or self._speaker != (os.getpid(), threading.get_ident()):
            return
        while self._bridge is not None:
            with self._lock:
                if not self._said:
                    return
                number, piece = self._said.pop(0)
            try:
                self._bridge.send("printed", piece, stream=number)
            except EngineGone:
                self._bridge = None

    def close(self) -> None:
        for stream in self._streams.values():
            stream.__dict__.pop("write", None)
        self._streams.clear()
        self.tell()
        self._bridge = None
