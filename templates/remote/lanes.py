"""Further channels for contents: a server grants each channel a window of its own, and at a distance those windows are what
bounds how much goes through.

The engine has a process started over each, which hands its stdin over to the runner and waits until the runner hangs up.
What has a place in the order of contents is served in that order, whichever way it came. Knows no content.
"""

import array
import os
import shutil
import socket
import tempfile

from .runner import Frames, resize

MOST = 8
WORD = array.array("i").itemsize


class Lanes:
    def __init__(self, runner):
        self._runner = runner
        self._directory = self._listener = None
        self._lines = {}
        self._next = 0
        self._early = {}

    def open(self):
        """Waits for lanes; each is told of once it can be used. Where there can be none all comes the usual way."""
        try:
            self._directory = tempfile.mkdtemp(prefix="cloudist-")
            path = os.path.join(self._directory, "lanes")
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(path)
            self._listener.listen(MOST)
            self._listener.setblocking(False)
        except OSError:
            path = None
        else:
            self._runner.loop.on_readable(self._listener.fileno(), self._accept)
        self._runner.send({"t": "lanes", "path": path})

    def _accept(self):
        try:
            line, _ = self._listener.accept()
        except OSError:
            return  # It has gone again.
        line.setblocking(False)
        self._lines[line] = None
        self._runner.loop.on_readable(line.fileno(), lambda: self._greet(line))

    def _greet(self, line):
        self._runner.loop.forget(line.fileno())
        try:
            number, ancillary = line.recvmsg(16, socket.CMSG_SPACE(WORD))[:2]
            descriptor = array.array("i", ancillary[0][2][:WORD])[0]
        except (OSError, IndexError):
            return self._leave(line)
        os.set_inheritable(descriptor, False)
        os.set_blocking(descriptor, False)
        resize(descriptor)
        self._lines[line] = descriptor
        frames = Frames()
        self._runner.loop.on_readable(descriptor, lambda: self._read(line, descriptor, frames))
        self._runner.send({"t": "lane", "number": int(number)})

    def _read(self, line, descriptor, frames):
        if self._runner.take(descriptor, frames) == "end":
            self._leave(line)

    def _leave(self, line):
        descriptor = self._lines.pop(line)
        self._runner.loop.forget(line.fileno())
        line.close()
        if descriptor is not None:
            self._runner.loop.forget(descriptor)
            os.close(descriptor)

    def in_order(self, header, blob):
        """What is to be served now that this has come."""
        place = header.get("place")
        if place is None:
            yield header, blob
            return
        self._early[place] = header, blob
        while self._next in self._early:
            self._next += 1
            yield self._early.pop(self._next - 1)

    def close(self):
        """No further lane is waited for. Those that there are end when the engine closes them."""
        for line, descriptor in list(self._lines.items()):
            if descriptor is None:
                self._leave(line)
        if self._listener is not None:
            self._runner.loop.forget(self._listener.fileno())
            self._listener.close()
            self._listener = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
