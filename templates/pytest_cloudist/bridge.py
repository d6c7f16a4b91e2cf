"""The line to the engine: frames over two descriptors, and the engine's process where this process starts it.

Works in the caller's thread, with no threads of its own. Knows how a frame is cut, never what a message means.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import sys
from typing import Any, Callable, Dict, NamedTuple, Optional

import pytest

from .progress import Display
from .screen import Screen

PROTOCOL = 1
FRAME_LIMIT = 64 * 1024 * 1024
READ_SIZE = 256 * 1024
DESCRIPTORS = "CLOUDIST_BRIDGE"
BINARY = "CLOUDIST_BIN"
PATIENCE_AFTER_BYE = 10.0


class EngineGone(Exception):
    """The engine ended, or left the protocol, before it said `end`."""


class Frame(NamedTuple):
    header: Dict[str, Any]
    blob: bytes

    @property
    def kind(self) -> str:
        return self.header["t"]

    def content(self) -> Any:
        return json.loads(self.blob) if self.blob else None


def find_engine() -> Optional[str]:
    chosen = os.environ.get(BINARY)
    if chosen:
        return chosen
    beside = os.path.join(os.path.dirname(sys.executable), "cloudist")
    return beside if os.access(beside, os.X_OK) else shutil.which("cloudist")


class Bridge:
    def __init__(self, reader: int, writer: int, child: Optional[subprocess.Popen] = None) -> None:
        self._reader = reader
        self._writer = writer
        self._child = child
        self._buffer = bytearray()
        self._selector = selectors.DefaultSelector()
        self._selector.register(reader, selectors.EVENT_READ)
        self._open = True
        # What shows how far the run is while nothing else comes; it hears of `progress` itself.
        self.display: Optional[Display] = None
        # Writes elsewhere when the engine shows something else on this terminal.
        self.move: Callable[[str, str], Optional[Screen]] = lambda terminal, held: None
        self._screen: Optional[Screen] = None
        # Is done before anything is waited for.
        self.before_waiting: Callable[[], None] = lambda: None

    @classmethod
    def inherited(cls) -> Optional[Bridge]:
        """The bridge that `cloudist pytest` laid; taken out of the environment, so that no child takes it for its own."""
        described = os.environ.pop(DESCRIPTORS, None)
        if described is None:
            return None
        try:
            reader, writer = (int(number) for number in described.split(","))
            for descriptor in (reader, writer):
                os.set_inheritable(descriptor, False)
        except (ValueError, OSError) as error:
            raise pytest.UsageError(
                f"cloudist: {DESCRIPTORS}={described!r} names no open descriptors: {error}"
            ) from error
        return cls(reader, writer)

    @classmethod
    def started(cls) -> Bridge:
        engine = find_engine()
        if engine is None:
            raise pytest.UsageError(
                f"cloudist: the cloudist program was not found: put it on PATH, or name it in {BINARY}"
            )
        try:
            child = subprocess.Popen(
                [engine, "bridge"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise pytest.UsageError(f"cloudist: failed to start {engine}: {error}") from error
        assert child.stdin is not None and child.stdout is not None
        return cls(child.stdout.fileno(), child.stdin.fileno(), child)

    @property
    def inherits_settings(self) -> bool:
        """Whether the engine was there first, and has given all that variables and files say as options."""
        return self._child is None

    def send(self, kind: str, blob: bytes = b"", **fields: Any) -> None:
        header = json.dumps({"t": kind, **fields}, separators=(",", ":")).encode("ascii")
        size = len(header) + 1 + len(blob)
        frame = memoryview(size.to_bytes(4, "big") + header + b"\n" + blob)
        if not self._open:
            raise EngineGone("the line to the engine is closed")
        try:
            while frame:
                frame = frame[os.write(self._writer, frame) :]
        except OSError as error:
            raise EngineGone(self._obituary()) from error

    def receive(self) -> Frame:
        """The next frame; waits for it."""
        while True:
            frame = self._next()
            if frame is not None:
                return frame
            if self._selector.select(timeout=0):
                self._fill()
                continue
            self.before_waiting()
            if self.display is None:
                self._fill()
            else:
                with self.display.shown():
                    self._fill()

    def poll(self) -> Optional[Frame]:
        """The next frame if it has arrived, at once."""
        while True:
            frame = self._next()
            if frame is not None or not self._selector.select(timeout=0):
                return frame
            self._fill()

    def _next(self) -> Optional[Frame]:
        """The next frame that has arrived whole, but for what is about the terminal."""
        while True:
            frame = self._cut()
            if frame is None or frame.kind not in ("progress", "screen"):
                return frame
            if frame.kind == "screen":
                self._screen = self.move(frame.header["terminal"], frame.header["held"])
                self.send("on-screen", moved=self._screen is not None)
            elif self.display is not None:
                self.display.take(frame.header)

    def kill(self) -> None:
        """Ends the line, and the engine if it is a child of this process."""
        self.close()
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        self._after_the_child()

    def close(self) -> None:
        """Ends the line; an engine that this process started gets a while to end by itself."""
        if self._open:
            self._open = False
            self._selector.close()
            if self._child is None:
                os.close(self._reader)
                os.close(self._writer)
            else:
                for stream in (self._child.stdin, self._child.stdout):
                    if stream is not None:
                        stream.close()

    def part(self) -> None:
        self.close()
        if self._child is not None:
            if self._screen is not None:
                self._screen.part()
            try:
                self._child.wait(PATIENCE_AFTER_BYE)
            except subprocess.TimeoutExpired:
                self.kill()
            self._after_the_child()

    def _after_the_child(self) -> None:
        if self._screen is not None:
            self._screen.clean_up()
            self._screen = None
            if self.display is not None:
                self.display.reopen()

    def _fill(self) -> None:
        arrived = os.read(self._reader, READ_SIZE) if self._open else b""
        if not arrived:
            raise EngineGone(self._obituary())
        self._buffer += arrived

    def _cut(self) -> Optional[Frame]:
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        size = int.from_bytes(buffer[:4], "big")
        if size > FRAME_LIMIT:
            raise EngineGone(f"the engine sent a frame of {size} bytes, more than the protocol allows")
        end = 4 + size
        if len(buffer) < end:
            return None
        newline = buffer.find(b"\n", 4, end)
        try:
            frame = Frame(json.loads(buffer[4:newline]), bytes(buffer[newline + 1 : end]))
        except ValueError as error:
            raise EngineGone(f"the engine sent a header that is not JSON: {error}") from error
        del buffer[:end]
        return frame

    def _obituary(self) -> str:
        if self._child is None:
            return "the engine closed the line before the run was over"
        try:
            status = self._child.wait(1.0)
        except subprocess.TimeoutExpired:
            return "the engine closed the line before the run was over, and still runs"
        self._after_the_child()
        cause = f"signal {-status}" if status < 0 else f"exit status {status}"
        return f"the engine ended with {cause} before the run was over"
