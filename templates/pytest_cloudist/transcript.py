"""Tells the engine what this pytest prints, so that `cloudist replay` can print it again.

Listens at the standard streams, whoever writes to them. Never changes what is written, nor when.
"""

from __future__ import annotations

import itertools
import operator
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
# So much is told although nothing is waited for; and so much is kept until the engine can be told at all.
MANY = 512
MOST_BEFORE = 4096


class Transcript:
    def __init__(self, config: pytest.Config, bridge: Bridge) -> None:
        self._bridge: Optional[Bridge] = bridge
        self._said: List[Tuple[int, str]] = []
        self._ready: List[Tuple[int, bytes]] = []
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

        said = self._said

        def heard(text: Any) -> Any:
            # Much of what a run costs here is words that are written one by one: this must be cheap.
            written = write(text)
            said.append((number, text))
            if len(said) > MANY:
                self._make_room()
            return written

        try:
            stream.write = heard
        except AttributeError:
            # A stream of somebody's own. What goes there isn't replayed.
            return
        self._streams[number] = stream

    def _make_room(self) -> None:
        if self._begun:
            self.tell()
        elif len(self._said) > MOST_BEFORE:
            with self._lock:
                del self._said[:-MOST_BEFORE]

    def _prepare(self) -> None:
        """Joins what was said to pieces that can be told."""
        said, pieces = self._said[:], []
        for number, texts in itertools.groupby(said, key=operator.itemgetter(0)):
            stream = self._streams.get(number)
            encoding, errors = getattr(stream, "encoding", None), getattr(stream, "errors", None)
            text = "".join(text for _, text in texts if isinstance(text, str))
            step = MOST_BYTES if text.isascii() else MOST_CHARACTERS
            for start in range(0, len(text), step):
                piece = text[start : start + step].encode(encoding or "utf-8", errors or "backslashreplace")
                pieces.append((number, piece))
        self._ready += pieces
        del self._said[: len(said)]

    def begin(self) -> None:
        """The engine listens from now on."""
        self._begun = True

    def tell(self) -> None:
        """Tells what was printed so far."""
        if not self._begun or self._speaker != (os.getpid(), threading.get_ident()):
            return
        while self._bridge is not None:
            with self._lock:
                if not self._ready:
                    self._prepare()
                if not self._ready:
                    return
                number, piece = self._ready.pop(0)
            try:
                self._bridge.send("printed", piece, stream=number)
            except EngineGone:
                self._bridge = None

    def close(self) -> None:
        for stream in self._streams.values():
            stream.__dict__.pop("write", None)
        self.tell()
        self._streams.clear()
        self._bridge = None
