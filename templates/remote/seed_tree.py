"""What a machine has for others: the contents of one tree, some of which may still be on their way to it.

Used by the child that serves them; what has arrived is told to it by the runner. Never writes to the tree.
"""

import os
import stat
import threading

from . import disk

PARCEL = 1 << 20
# A peer that waits for so long is told that there is nothing yet.
QUIET = 5.0


class SeedTree:
    def __init__(self, root, incoming, manifest, stamps, lacking):
        """`stamps` tell files that nobody has touched; `lacking` are hashes of contents that are not here."""
        self.manifest = manifest
        self.lacking = set(lacking)
        # In this order, since the tree was looked at.
        self.arrived, self.spoilt = [], []
        # How much of a large content is here.
        self.grown = {}
        self._root, self._incoming = root, incoming
        self._stamps = list(stamps)
        self._news = threading.Condition()

    def hear(self, kind, files, stamps=(), size=0):
        """Takes what the runner says: that contents have come, or that these lack and no others; how much of one is here, or
        that it was thrown away."""
        digests = [self.manifest.hashes[index] for index in files]
        with self._news:
            if kind == "have":
                for index, mark in zip(files, stamps):
                    self._stamps[index] = mark
                self._have(self.lacking.intersection(digests))
            elif kind == "lacks":
                self._have(self.lacking.difference(digests))
                self.lacking.update(digests)
            elif kind == "grown":
                self.grown[digests[0]] = size
            elif kind == "spoilt":
                self.grown.pop(digests[0], None)
                self.spoilt += digests
            self._news.notify_all()

    def _have(self, digests):
        self.lacking -= digests
        self.arrived += digests
        for digest in digests:
            self.grown.pop(digest, None)

    def parcels(self, files, offsets):
        """Contents as the engine sends them, as soon as they are here: many small ones in one parcel, a large one in many.

        `offsets` say how much of a large one is not wanted. While there is nothing, it says so from time to time.
        """
        with self._news:
            request = Request(self, files, offsets)
        yield from self._whole(request.here, offsets)
        while request.asked:
            with self._news:
                has_news = self._news.wait_for(request.look, QUIET)
            if not has_news:
                yield {"t": "wait"}, b""
            for index, size in request.growing:
                yield from self._growing(index, size, offsets)
            yield from self._whole(request.here, offsets)

    def _growing(self, index, size, offsets):
        """What has come of a large content, which was not hashed yet: whoever gets it does that."""
        digest, begun = self.manifest.hashes[index], offsets.get(index, 0)
        try:
            descriptor = os.open(self._incoming + b"/" + digest, disk.READ)
        except FileNotFoundError:
            return self._is_less_than(digest, size)
        try:
            for header, data in parts(descriptor, index, size, begun):
                offsets[index] = header["offset"] + len(data)
                yield header, data
        finally:
            os.close(descriptor)
        if offsets.get(index, 0) == begun:
            self._is_less_than(digest, size)

    def _is_less_than(self, digest, size):
        """It is whole by now, was thrown away, or is gone on with from an earlier place: what it is will be told."""
        with self._news:
            if self.grown.get(digest) == size:
                del self.grown[digest]

    def _whole(self, files, offsets):
        sizes = self.manifest.sizes
        packed, pieces, held = [], [], 0
        for index in sorted(files, key=lambda index: sizes[index] > PARCEL):
            size = sizes[index]
            if packed and held + size > PARCEL:
                yield {"t": "pack", "files": packed}, b"".join(pieces)
                packed, pieces, held = [], [], 0
            descriptor = self._open(index)
            if descriptor is None:
                continue
            try:
                if size > PARCEL:
                    yield from parts(descriptor, index, size, offsets.get(index, 0))
                    continue
                data = os.read(descriptor, size + 1)
            finally:
                os.close(descriptor)
            if len(data) == size:
                packed.append(index)
                pieces.append(data)
                held += size
        if packed:
            yield {"t": "pack", "files": packed}, b"".join(pieces)

    def _open(self, index):
        """A descriptor of a file that has the content which the manifest promises, or None: tests may have been at
        it."""
        try:
            descriptor = os.open(self._root + b"/" + self.manifest.paths[index], disk.READ)
        except OSError:
            return None
        status = os.fstat(descriptor)
        is_right = stat.S_ISREG(status.st_mode) and status.st_size == self.manifest.sizes[index]
        if is_right and disk.stamp(status) != self._stamps[index]:
            is_right = disk.digest_of(descriptor, status.st_size) == self.manifest.hashes[index]
            os.lseek(descriptor, 0, os.SEEK_SET)
            if is_right:
                self._stamps[index] = disk.stamp(status)
        if is_right:
            return descriptor
        os.close(descriptor)
        return None


class Request:
    """What one peer has asked for and has not got yet. The tree is held still while it is looked at."""

    def __init__(self, tree, files, offsets):
        self.growing = []
        self._tree = tree
        self._offsets, self._first = offsets, dict(offsets)
        self._arrived, self._spoilt = len(tree.arrived), len(tree.spoilt)
        hashes = tree.manifest.hashes
        self.here = [index for index in files if hashes[index] not in tree.lacking]
        self.asked = {hashes[index]: index for index in files if hashes[index] in tree.lacking}

    def look(self):
        """Whether something has come: files that are `here`, and others that are `growing`, with their size by now."""
        tree, asked = self._tree, self.asked
        if any(digest in asked and self._has_begun(asked[digest]) for digest in tree.spoilt[self._spoilt :]):
            raise ConnectionError("a content of which some was sent was thrown away here")
        self._spoilt = len(tree.spoilt)
        self.here = [asked.pop(digest) for digest in tree.arrived[self._arrived :] if digest in asked]
        self._arrived = len(tree.arrived)
        sizes = ((asked[digest], size) for digest, size in tree.grown.items() if digest in asked)
        self.growing = [(index, size) for index, size in sizes if size > self._offsets.get(index, 0)]
        return bool(self.here or self.growing)

    def _has_begun(self, index):
        return self._offsets.get(index, 0) > self._first.get(index, 0)


def parts(descriptor, index, size, offset):
    while offset < size:
        data = os.pread(descriptor, min(PARCEL, size - offset), offset)
        if not data:
            return
        yield {"t": "part", "file": index, "offset": offset}, data
        offset += len(data)
