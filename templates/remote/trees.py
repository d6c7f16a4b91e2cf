"""One tree: what stands in it, and how it becomes the snapshot that is wanted.

A tree is what its manifest says, or it has none: while it is changed its record is called `unfinished`, and what that
names is hashed before it is believed. Contents go straight to their places; what a tree has no more use for goes to
the attic. Never trusts a file by its name.
"""

import os
from array import array

from . import disk
from .digests import digest as name_of
from .faults import StoreError
from .manifest import HEADER, Manifest
from .slots import by_age

WIDTH = 3


def nobody(kind, files, size=0):
    """Who is told what becomes of the contents that a tree lacks: `have`, `lacks` (and no others), `grown` or `spoilt`."""


class Tree:
    """Inspect, aim, then any number of contents, then complete."""

    def __init__(self, slot, attic):
        self.slot = slot
        self.root = os.fsencode(slot.tree)
        self.base = self.target = None
        self.wanted = {}
        self.tell = nobody
        self._lent = set()
        self._dropped = []
        self._is_same = self._begun = False
        self._attic = attic
        self._found = None

    def look(self):
        """Reads the record and looks at every file, but into none."""
        data = self.slot.read("manifest")
        self._is_finished = data is not None
        try:
            self.base = None if data is None else Manifest.recalled(data, self.slot.read("columns") or b"")
            if self.base is None:
                self.base = Manifest(data or self.slot.read("unfinished") or HEADER)
        except StoreError:
            self.base, self._is_finished = Manifest(HEADER), False
        if not self._is_finished and not len(self.base):
            disk.remove(self.root)
        self._standing = {path for path in self.base.directories if disk.is_directory(self._at(path))}
        self._found = found = disk.stamps(self.root, self.base.paths)
        moved = tuple(path + b"/" for path in self.base.directories - self._standing)
        if moved:
            for index, path in enumerate(self.base.paths):
                if path.startswith(moved):
                    found[index] = None
            self._standing = {path for path in self._standing if not path.startswith(moved)}

    def _inspect(self):
        """Compares what was found with what was recorded when the tree was left. What looks different is hashed:
        unchanged content gets its times and mode back, the rest is damaged."""
        if self._found is None:
            self.look()
        recorded = array("Q")
        try:
            recorded.frombytes((self.slot.read("stat") or b"") if self._is_finished else b"")
        except ValueError:
            recorded = array("Q")
        if len(recorded) != WIDTH * len(self.base):
            recorded = array("Q", bytes(8 * WIDTH * len(self.base)))
        expected = list(zip(*(recorded[column::WIDTH] for column in range(WIDTH))))
        stamps, self._found = self._found, None
        self._is_stale = stamps != expected
        if self._is_stale:
            for index, stamp in enumerate(stamps):
                if stamp is not None and stamp != expected[index]:
                    stamps[index] = self._restored(index)
        self._stamps = stamps

    def _restored(self, index):
        base = self.base
        path = self._at(base.paths[index])
        return disk.restore(path, base.hashes[index], base.sizes[index], base.mode(index), base.mtime(index))

    def _at(self, path):
        return self.root + b"/" + path

    def aim(self, target):
        """Works out which contents the tree lacks to be the target: `wanted`, by hash, with the files that have it."""
        self._inspect()
        self.target, self._begun = target, False
        self._is_same = self._is_finished and self.base.id == target.id
        if not self._is_same:
            before = dict(zip(self.base.entries(), self._stamps))
            self._stamps = [before.pop(entry, None) for entry in target.entries()]
            self._dropped = [entry[:2] for entry, stamp in before.items() if stamp is not None]
        self.wanted = {}
        for index, stamp in enumerate(self._stamps):
            if stamp is None:
                self.wanted.setdefault(target.hashes[index], []).append(index)
        self.tell("lacks", self._lacking())

    def _lacking(self):
        """A file for each content that has to be sent."""
        return sorted(places[0] for places in self.wanted.values())

    def put(self, files, data):
        """Writes contents that have arrived whole, one after the other in `data`, to wherever they belong."""
        target, wanted, stamps, write = self.target, self.wanted, self._stamps, disk.write_new
        hashes, sizes, paths, prefix = target.hashes, target.sizes, target.paths, self.root + b"/"
        view, end = memoryview(data), 0
        self.begin()
        for index in files:
            start, end = end, end + sizes[index]
            digest = hashes[index]
            places = wanted.get(digest)
            if places is None:
                continue
            content = view[start:end]
            if name_of(content) != digest:
                raise StoreError(
                    "corrupt", "failed to store %s: what arrived has another hash" % digest.decode("ascii")
                )
            mtime = target.mtime(index)
            for place in places:
                stamps[place] = write(prefix + paths[place], content, target.mode(place), mtime)
            del wanted[digest]
        self.tell("have", files)

    def lend(self, files):
        """Lets somebody else put these contents. Whether it does: each must be wanted, and in one place alone."""
        digests = [self.target.hashes[index] for index in files]
        is_named_twice = len(set(digests)) < len(digests)
        if is_named_twice or any(self.wanted.get(digest) != [index] for index, digest in zip(files, digests)):
            return False
        for digest in digests:
            del self.wanted[digest]
        self._lent.update(digests)
        return True

    def take_back(self, files, stamps):
        """What was lent: contents without a stamp, or with one of zeros, are wanted as before."""
        stamps, here = iter(stamps), []
        self._lent.difference_update(self.target.hashes[index] for index in files)
        for index in files:
            stamp = next(stamps, None)
            if stamp is not None and any(stamp):
                self._stamps[index] = stamp
                here.append(index)
            else:
                self.wanted[self.target.hashes[index]] = [index]
        self.tell("have", here)

    def stamps(self, files):
        return [self._stamps[index] for index in files]

    def adopt(self, index, file):
        """Moves a file that has just been hashed to where it belongs."""
        digest = self.target.hashes[index]
        places = self.wanted.get(digest)
        if places is None:
            return disk.remove(file)
        self.begin()
        path = self._at(self.target.paths[places[0]])
        disk.remove(path)
        os.rename(file, path)
        self._settle(places[0], os.open(path, disk.READ))
        self._spread(digest, path, places[1:])
        self.tell("have", [index])

    def _settle(self, index, descriptor):
        try:
            self._stamps[index] = disk.settled(descriptor, self.target.mode(index), self.target.mtime(index))
        finally:
            os.close(descriptor)

    def _spread(self, digest, source, places):
        """Copies a content to its further places."""
        target = self.target
        for index in places:
            path = self._at(target.paths[index])
            args = digest, target.sizes[index], target.mode(index), target.mtime(index)
            self._stamps[index] = disk.copy(source, path, *args)
            if self._stamps[index] is None:
                self.wanted[digest] = [index for index in places if self._stamps[index] is None]
                return False
        self.wanted.pop(digest, None)
        return True

    def begin(self):
        """Takes out what the target doesn't have, once there is something to change."""
        if self._begun:
            return
        if not self._is_same:
            self.slot.write("unfinished", self.target.data)
            self.slot.write("id", self.target.id.encode("ascii"))
            self.slot.drop("manifest")
            if len(self.base) or self._standing:
                self._clear()
        if not os.path.isdir(self.root):
            os.mkdir(self.root)
        for path in sorted(self.target.directories - self._standing):
            disk.make_directory(self._at(path))
        self._begun = True

    def shed(self):
        """Removes what the target doesn't have, where not even its record fits on the disk. Whether there was any."""
        if self._is_same or self._begun or not self._dropped:
            return False
        if self._is_finished:
            os.rename(self.slot.beside("manifest"), self.slot.beside("unfinished"))
            self._is_finished = False
        dropped, self._dropped = self._dropped, []
        for path, _ in dropped:
            disk.remove(self._at(path))
        return True

    def _clear(self):
        # What a test has been at is replaced or goes as a stray, once no link is left that would lead astray.
        for path, digest in self._dropped:
            self._attic.put(self._at(path), digest)
        leaves = set(self.target.paths)
        leaves.update(path for path, _ in self.target.links)
        if os.path.isdir(self.root):
            disk.remove_strays(self.root, b"", leaves, self.target.directories)

    def complete(self, trees):
        """Makes the tree whole with what is on this machine. Returns the files whose contents have to be sent; with
        none the tree is whole."""
        links_stand = self._is_same and all(
            disk.is_link(self._at(path), to) for path, to in self.target.links
        )
        if self._is_same and not self.wanted and links_stand and self._standing >= self.target.directories:
            if self._is_stale:
                self._record()
            return []
        self.begin()
        self._gather(trees)
        missing = self._lacking()
        self.tell("lacks", missing)
        if missing:
            return missing
        for path, to in self.target.links:
            disk.make_link(self._at(path), to)
        self._record()
        if not self._is_same:
            os.rename(self.slot.beside("unfinished"), self.slot.beside("manifest"))
        self.base, self._is_finished, self._is_same, self._is_stale = self.target, True, True, False
        self._standing = set(self.target.directories)
        return []

    def standing(self):
        """What others can have of the tree: where it is and where it gathers large contents, the manifest, the stamps of
        its files, and the hashes of what is not here yet."""
        incoming = os.fsencode(self.slot.beside("incoming"))
        return self.root, incoming, self.target, self._stamps, self._lent.union(self.wanted)

    def _gather(self, trees):
        target = self.target
        for digest, places in list(self.wanted.items()):
            if not self._attic.may_have(digest):
                continue
            first = places[0]
            path = self._at(target.paths[first])
            disk.remove(path)
            args = digest, path, target.sizes[first], target.mode(first), target.mtime(first)
            self._stamps[first] = self._attic.take(*args)
            if self._stamps[first] is not None:
                self._spread(digest, path, places[1:])
        if self.wanted:
            own = zip(target.hashes, target.paths, self._stamps)
            self._gather_from(self.root, {digest: path for digest, path, stamp in own if stamp is not None})
        for _, slot in by_age(trees):
            if not self.wanted:
                break
            if slot.name != self.slot.name:
                try:
                    other = Manifest(slot.read("manifest") or HEADER)
                except StoreError:
                    continue
                self._gather_from(os.fsencode(slot.tree), dict(zip(other.hashes, other.paths)))

    def _gather_from(self, root, paths):
        for digest in [digest for digest in self.wanted if digest in paths]:
            self._spread(digest, root + b"/" + paths[digest], self.wanted[digest])

    def _record(self):
        flat = array("Q", [number for stamp in self._stamps for number in stamp])
        self.slot.write("stat", flat.tobytes())
        self.slot.write("bytes", b"%d" % sum(self.target.sizes))
        self.slot.write("id", self.target.id.encode("ascii"))
        try:
            self.slot.write("columns", self.target.columns())
        except OSError:
            pass  # The next run reads the manifest instead.
        self._is_stale = False

    def find(self, digest):
        """A descriptor of a file that is said to have this content."""
        descriptor = self._attic.open(digest)
        for manifest in (self.target, self.base) if descriptor is None else ():
            for index, known in enumerate(manifest.hashes):
                if known == digest:
                    try:
                        return os.open(self._at(manifest.paths[index]), disk.READ)
                    except OSError:
                        continue
        return descriptor
