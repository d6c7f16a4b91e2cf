"""Further processes that write contents into a tree, where a machine has cores to spare.

Forked copies of the runner, which know the tree as it was then. They get contents by shared memory, put them as the runner itself
would, and answer with the stamps of the files. The runner goes on reading meanwhile: what it doesn't take from OpenSSH's server
in time, that copies over and over. Never decides what a tree wants.
"""

import json
import mmap
import os
import select
import struct
from array import array
from collections import deque

from .disk import write_all
from .faults import StoreError
from .processes import stand_alone
from .trees import WIDTH, nobody

# The largest portion that is handed over, and what may wait for that.
ROOM = 2 << 20
WAITING = 16 << 20
COUNT = struct.Struct(">I")
COUNTS = struct.Struct(">II")


class Writers:
    """The runner's side. Portions wait until one of the processes has time."""

    def __init__(self, tree, fork, watch, count, meanwhile):
        """`fork` as of `Processes`, `watch` as of a loop, `meanwhile` as of the store."""
        self._tree, self._watch = tree, watch
        self._all = []
        self._portions, self._waiting = deque(), 0
        self._failure = None
        for _ in range(count):
            try:
                self._all.append(Writer(fork, tree))
                meanwhile()
            except OSError:
                if not self._all:
                    raise
                break
        for writer in self._all:
            watch(writer.fileno(), self._look)

    def put(self, files, data):
        """Takes contents, as `Tree.put` does. Whether it could."""
        self._look()
        self._tell()
        if not self._all or not files or len(data) > ROOM or not self._tree.lend(files):
            return False
        self._portions.append((files, data))
        self._waiting += len(data)
        self._hand_out()
        while self._waiting > WAITING and self._all:
            self._look(None)
            self._tell()
        return True

    def settle(self):
        """Waits until all has been written, as far as somebody is there to write it."""
        while self._all and (self._portions or self._is_busy()):
            self._look(None)
            self._tell()
        self._tell()

    def end(self):
        """Returns what nobody has written, and what is wanted as before."""
        for writer in list(self._all):
            # Nobody else may write to the same places before it has answered.
            if writer.files is not None:
                self._hear(writer)
            if writer in self._all:
                self._part_with(writer)
        rest = list(self._portions)
        self._portions.clear()
        for files, _ in rest:
            self._tree.take_back(files, ())
        return rest

    def abandon(self):
        """Waits for nothing: nobody will ask what has become of the tree."""
        for writer in self._all:
            self._watch(writer.fileno(), None)
            writer.close()
        self._all.clear()

    def _is_busy(self):
        return any(writer.files is not None for writer in self._all)

    def _tell(self):
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _look(self, wait=0):
        """Tells the tree what has become of portions, and hands out others."""
        for writer in select.select(self._all, [], [], wait if self._is_busy() else 0)[0]:
            self._hear(writer)
        self._hand_out()

    def _hear(self, writer):
        files = writer.files
        try:
            stamps, failure = writer.answer()
        except OSError:
            # It is gone. What it has written of a portion is written once more.
            return self._part_with(writer)
        self._tree.take_back(files, stamps)
        self._failure = self._failure or failure

    def _hand_out(self):
        for writer in [writer for writer in self._all if writer.files is None]:
            if not self._portions or self._failure is not None:
                return
            files, data = self._portions[0]
            try:
                writer.write(files, data)
            except OSError:
                self._part_with(writer)
                continue
            self._portions.popleft()
            self._waiting -= len(data)

    def _part_with(self, writer):
        self._all.remove(writer)
        self._watch(writer.fileno(), None)
        if writer.files is not None:
            self._tree.take_back(writer.files, ())
        writer.close()


class Writer:
    """One of the processes, which has one portion at a time."""

    def __init__(self, fork, tree):
        self.files = None
        self._tree = tree
        self._memory = mmap.mmap(-1, ROOM)
        asked, self._ask = os.pipe()
        try:
            self._answers, answer = os.pipe()
        except OSError:
            os.close(asked)
            os.close(self._ask)
            raise
        try:
            fork(lambda: self._work(asked, answer), lambda status: None)
        except OSError:
            self.close()
            raise
        finally:
            os.close(asked)
            os.close(answer)

    def fileno(self):
        return self._answers

    def write(self, files, data):
        self._memory[: len(data)] = data
        write_all(self._ask, COUNT.pack(len(files)) + array("I", files).tobytes())
        self.files = files

    def answer(self):
        """The stamps of what was written, and what went wrong, if anything has."""
        lengths = COUNTS.unpack(exactly(self._answers, COUNTS.size))
        stamps, failure = [exactly(self._answers, length) for length in lengths]
        self.files = None
        numbers = iter(array("Q", stamps))
        error = StoreError(*json.loads(failure.decode("ascii"))) if failure else None
        return zip(*[numbers] * WIDTH), error

    def close(self):
        os.close(self._ask)
        os.close(self._answers)

    def _work(self, asked, answer):
        # The lock is kept: nobody may have the tree while something is written to it.
        stand_alone(asked, answer, *self._tree.slot.locked())
        self._tree.tell = nobody
        try:
            while True:
                (count,) = COUNT.unpack(exactly(asked, COUNT.size))
                files = array("I", exactly(asked, count * array("I").itemsize))
                stamps, failure = self._written(files)
                write_all(answer, COUNTS.pack(len(stamps), len(failure)) + stamps + failure)
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


def exactly(descriptor, length):
    """As many bytes; ConnectionError if the other end is gone."""
    data = b""
    while len(data) < length:
        piece = os.read(descriptor, length - len(data))
        if not piece:
            raise ConnectionResetError("the other process has ended")
        data += piece
    return data
