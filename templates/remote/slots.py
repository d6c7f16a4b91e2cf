"""The places for trees on a machine: each belongs to a project, and is held by one run at a time.

    trees/<key>[-n]/              a tree
    trees/<key>[-n].cloudist/     beside it: lock, id, manifest or unfinished, columns, stat, incoming/, kept

Knows what is recorded of a tree, not what is in it. A record is replaced whole or not at all.
"""

import fcntl
import os
import time

from .disk import remove, sha256
from .faults import StoreError

SIDE = ".cloudist"
GONE = ".gone"


class Slot:
    """Everything here needs its lock, which an flock holds until this process and what was forked from it end."""

    def __init__(self, trees, name):
        self.name = name
        self.tree = os.path.join(trees, name)
        self.side = self.tree + SIDE
        self._lock = None

    def claim(self):
        """Takes the lock if nobody has it. Whether it did."""
        while True:
            path = self.beside("lock")
            try:
                os.makedirs(self.side, 0o700, exist_ok=True)
                lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                continue  # It was pruned just now.
            except FileExistsError:
                # So it was if `makedirs` found something there that was no directory a moment later.
                if os.path.exists(self.side) and not os.path.isdir(self.side):
                    raise
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock), os.stat(path)):
                    if self._is_kept():
                        os.close(lock)
                        return False
                    self._lock = lock
                    return True
                os.close(lock)
            except FileNotFoundError:
                os.close(lock)
            except BlockingIOError:
                os.close(lock)
                return False
            except BaseException:
                os.close(lock)
                raise

    def _is_kept(self):
        """Whether somebody may be looking at what a run has left there."""
        try:
            return float(self.read("kept") or 0) > time.time()
        except ValueError:
            return False

    def locked(self):
        """The descriptor that holds the lock, if this process has it."""
        return () if self._lock is None else (self._lock,)

    def release(self):
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def beside(self, name):
        return os.path.join(self.side, name)

    def read(self, name):
        try:
            with open(self.beside(name), "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name, data):
        temporary = self.beside(name + ".new")
        try:
            with open(temporary, "wb") as file:
                file.write(data)
        except OSError:
            remove(os.fsencode(temporary))
            raise
        os.rename(temporary, self.beside(name))

    def drop(self, name):
        remove(os.fsencode(self.beside(name)))

    def known(self):
        """The bytes of the manifest that the tree has or was to get."""
        return self.read("manifest") or self.read("unfinished")

    def remove(self):
        """Takes the tree away, its record first: what an interruption leaves is never taken for whole."""
        for path in (self.beside("manifest"), self.beside("unfinished"), self.tree):
            remove(os.fsencode(path))
        # From here on another run may make a new one.
        gone = "%s%s-%d" % (self.side, GONE, os.getpid())
        os.rename(self.side, gone)
        remove(os.fsencode(gone))
        self.release()


def checked_key(key):
    if not (isinstance(key, str) and 8 <= len(key) <= 64 and key.isalnum() and key.isascii()):
        raise StoreError("corrupt", "failed to find a place for the snapshot: %r names none" % (key,))
    return key


def claim(trees, key):
    """The first slot of a project that no other run holds."""
    number = 0
    while True:
        slot = Slot(trees, checked_key(key) + ("-%d" % number if number else ""))
        if slot.claim():
            return slot
        number += 1


def by_age(trees):
    """All slots, the one used last first, each with the time of its last use."""
    found = []
    for entry in os.scandir(trees):
        if entry.name.endswith(SIDE):
            try:
                found.append((entry.stat().st_mtime_ns, entry.name[: -len(SIDE)]))
            except FileNotFoundError:
                continue
    return [(time, Slot(trees, name)) for time, name in sorted(found, reverse=True)]


def clear_away(trees):
    """Removes what runs that were killed had begun to remove."""
    for entry in os.scandir(trees):
        if SIDE + GONE in entry.name:
            try:
                remove(os.fsencode(entry.path))
            except OSError:
                pass  # The run lives, and does so itself.


def contents_known(base, most=16):
    """`[key, id]` of the trees that were used last: snapshots of which a machine needs only the difference."""
    try:
        slots = by_age(os.path.join(base, "trees"))[:most]
    except OSError:
        return []
    known = [
        (slot.name.partition("-")[0], (slot.read("id") or b"").decode("ascii", "replace"))
        for _, slot in slots
    ]
    return [[key, snapshot] for key, snapshot in known if len(snapshot) == 64]


def manifest_of(trees, key, snapshot):
    """The bytes of a manifest that some tree of a project has, whoever holds it."""
    for _, slot in by_age(trees):
        if (
            slot.name.partition("-")[0] == key
            and (slot.read("id") or b"").decode("ascii", "replace") == snapshot
        ):
            data = slot.known()
            if data is not None and sha256(data).hexdigest() == snapshot:
                return data
    return None
