"""A second process that writes contents into a tree, where a machine has cores to spare.

A forked copy of the runner, which knows the tree as it was then. Gets contents by shared memory, puts them as the runner itself
would, and answers with the stamps of the files. Never decides what a tree wants.
"""

import json
import mmap
import select
import socket
import struct
from array import array

from .faults import StoreError
from .processes import stand_alone
from .trees import WIDTH, nobody

# The largest portion that is handed over.
ROOM = 2 << 20
COUNT = struct.Struct(">I")
COUNTS = struct.Struct(">II")


class Writer:
    """The runner's side. Holds one portion at a time; who hands over the next one when it is busy has to write it."""

    def __init__(self, fork, tree):
        self._tree = tree
        self._memory = mmap.mmap(-1, ROOM)
        self._files = None
        self._line, theirs = socket.socketpair()
        fork(lambda: self._work(theirs), lambda status: None)
        theirs.close()

    def put(self, files, data):
        """Hands contents over, as `Tree.put` takes them. Whether it could."""
        self.look()
        if self._line is None or self._files is not None or len(data) > ROOM or not self._tree.lend(files):
            return False
        self._memory[: len(data)] = data
        self._files = files
        try:
            self._line.sendall(COUNT.pack(len(files)) + array("I", files).tobytes())
        except OSError:
            self._give_up()
            return False
        return True

    def look(self):
        """Tells the tree what has become of what was handed over, if it is known by now."""
        if self._files is not None and select.select([self._line], [], [], 0)[0]:
            self.settle()

    def settle(self):
        """Waits for what was handed over, and tells the tree what has become of it."""
        if self._files is None:
            return
        try:
            lengths = COUNTS.unpack(exactly(self._line, COUNTS.size))
            stamps, failure = [exactly(self._line, length) for length in lengths]
        except OSError:
            return self._give_up()
        files, self._files = self._files, None
        numbers = iter(array("Q", stamps))
        self._tree.take_back(files, zip(*[numbers] * WIDTH))
        if failure:
            raise StoreError(*json.loads(failure.decode("ascii")))

    def _give_up(self):
        """The process is gone. What it has written of a portion is written once more."""
        files, self._files = self._files, None
        self._tree.take_back(files, ())
        self.end()

    def end(self):
        if self._line is not None:
            self._line.close()
            self._line = None

    def _work(self, line):
        # The lock is kept: nobody may have the tree while something is written to it.
        stand_alone(line.fileno(), *self._tree.slot.locked())
        self._tree.tell = nobody
        try:
            while True:
                (count,) = COUNT.unpack(exactly(line, COUNT.size))
                files = array("I", exactly(line, count * array("I").itemsize))
                stamps, failure = self._written(files)
                line.sendall(COUNTS.pack(len(stamps), len(failure)) + stamps + failure)
        except OSError:
            return 0

    def _written(self, files):
        failure = b""
        try:
            self._tree.put(files, self._memory)
        except (StoreError, OSError) as error:
            told = StoreError.of(error, "store contents") if isinstance(error, OSError) else error
            failure = json.dumps([told.kind, told.message]).encode("ascii")
        stamps = array("Q")
        for stamp in self._tree.stamps(files):
            stamps.extend(stamp or (0,) * WIDTH)
        return stamps.tobytes(), failure


def exactly(line, length):
    """As many bytes; ConnectionError if the other end is gone."""
    data = b""
    while len(data) < length:
        piece = line.recv(length - len(data), socket.MSG_WAITALL)
        if not piece:
            raise ConnectionResetError("the other process has ended")
        data += piece
    return data
