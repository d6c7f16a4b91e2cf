"""Large contents, which arrive in parts: bytes that were sent, and ranges of a content that is here already.

Parts come in order. What has arrived stays when the connection breaks, and is gone on with in the next run. A content
that turns out to have another hash is thrown away.
"""

import os

from . import disk
from .digests import PIECE
from .faults import StoreError


class Upload:
    def __init__(self, path, offset, whole):
        self.path = path
        self.size = 0
        self.goes_on = offset > 0
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | (0 if offset else os.O_TRUNC)
        self._descriptor = os.open(path, flags, 0o600)
        if os.fstat(self._descriptor).st_size > offset:
            os.ftruncate(self._descriptor, offset)
        self._hasher, self.size = disk.hasher_of(self._descriptor, whole)

    def append(self, data):
        disk.write_all(self._descriptor, data)
        self._hasher.update(data)
        self.size += len(data)

    def splice(self, old, ops, data, limit):
        """Appends what comes of a content that is here, `old` being a descriptor of it. Whether it could."""
        at = 0
        for op in ops:
            if isinstance(op, int):
                self.append(data[at : at + op])
                at += op
                continue
            start, length = op
            while length > 0 and self.size < limit:
                piece = os.pread(old, min(length, disk.PIECE), start)
                if not piece:
                    return False
                self.append(piece)
                start, length = start + len(piece), length - len(piece)
        return self.size <= limit

    def has(self, digest):
        return self._hasher.name() == digest

    def close(self):
        self._hasher.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Uploads:
    """The contents of one tree that arrive in parts."""

    def __init__(self, tree):
        self._tree = tree
        self._incoming = os.fsencode(tree.slot.beside("incoming"))
        self._open = {}
        self._spoilt = set()
        self._old = {}
        os.makedirs(self._incoming, exist_ok=True)

    def part(self, index, offset, data, old=None, ops=None):
        target = self._tree.target
        digest, size = target.hashes[index], target.sizes[index]
        if digest not in self._tree.wanted or digest in self._spoilt:
            return
        upload = self._open.get(digest)
        if upload is None:
            upload = self._open[digest] = Upload(self._path(digest), offset, size)
        if upload.size != offset or (ops is None and offset + len(data) > size):
            self._spoil(index)
            raise StoreError("corrupt", "failed to store %s: a part is out of place" % digest.decode("ascii"))
        try:
            if ops is None:
                upload.append(data)
            elif not self._splice(upload, old, ops, data, size):
                return self._spoil(index)
        except OSError:
            # A disk that is full needs the room.
            self._spoil(index)
            raise
        if upload.size < size:
            return self._tree.tell("grown", [index], upload.size)
        if not upload.has(digest):
            self._spoil(index)
            # What was here from before is not the fault of who sent the rest.
            if old is None and not upload.goes_on:
                raise StoreError(
                    "corrupt", "failed to store %s: what arrived has another hash" % digest.decode("ascii")
                )
            return
        upload.close()
        del self._open[digest]
        self._tree.adopt(index, upload.path)

    def _splice(self, upload, old, ops, data, size):
        if old not in self._old:
            self._old[old] = self._tree.find(old)
        descriptor = self._old[old]
        return descriptor is not None and upload.splice(descriptor, ops, data, size)

    def _path(self, digest):
        return self._incoming + b"/" + digest

    def _spoil(self, index):
        """What belongs to this content is passed over until it is asked for again."""
        digest = self._tree.target.hashes[index]
        self._spoilt.add(digest)
        upload = self._open.pop(digest, None)
        if upload is not None:
            upload.close()
            disk.remove(upload.path)
            if upload.size:
                self._tree.tell("spoilt", [index])

    def arrived(self, index):
        """How much of a content is here, in whole pieces."""
        digest, size = self._tree.target.hashes[index], self._tree.target.sizes[index]
        try:
            found = os.lstat(self._path(digest)).st_size
        except FileNotFoundError:
            return 0
        return found - found % PIECE if found < size else 0

    def pause(self):
        """Closes what is unfinished; it can be gone on with."""
        for upload in self._open.values():
            upload.close()
        for descriptor in self._old.values():
            if descriptor is not None:
                os.close(descriptor)
        self._open.clear()
        self._spoilt.clear()
        self._old.clear()

    def clear(self):
        self.pause()
        for name in os.listdir(self._incoming):
            os.unlink(self._incoming + b"/" + name)
