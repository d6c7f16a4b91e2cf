"""The manifest of a snapshot as a machine reads it: columns of paths, sizes and hashes.

Refuses what isn't canonical, paths that leave the tree, and anything below a file or a link. Ten thousand files cost a
few milliseconds, since each check looks at all of them at once. Touches no file.
"""

import hashlib
import marshal
import operator
import zlib
from itertools import islice

from .faults import StoreError

HEADER = b"cloudist-manifest 2\n"
LIMIT = 512 << 20
EXECUTABLE = b"x "
# So many records take some milliseconds.
A_WHILE = 2500


class Manifest:
    """The files are numbered from 0 in the order of their paths; messages name them by that number."""

    def __init__(self, data, meanwhile=lambda: None):
        """`meanwhile` is called every few milliseconds."""
        self.data = data
        self.id = hashlib.sha256(data).hexdigest()
        self.paths, self.kinds, self.hashes, self.sizes = [], [], [], []
        self.links = []
        self.directories = set()
        try:
            everything = self._parse(data, meanwhile)
            meanwhile()
            self._find_directories(everything)
            meanwhile()
            self._check(everything)
        except (ValueError, StopIteration):
            raise StoreError("corrupt", "failed to read the manifest: it is malformed") from None

    def columns(self):
        """What reading it came to, for `recalled`."""
        found = self.paths, self.kinds, self.hashes, self.sizes, self.links, sorted(self.directories)
        columns = marshal.dumps(found, 2)
        return self._seal(columns) + columns

    @classmethod
    def recalled(cls, data, columns):
        """The manifest in `data`, with the columns that it had when it was read before; None if these are not its columns."""
        manifest = cls.__new__(cls)
        manifest.data, manifest.id = data, hashlib.sha256(data).hexdigest()
        seal, columns = columns[:64], columns[64:]
        if seal != manifest._seal(columns):
            return None
        found = marshal.loads(columns)
        manifest.paths, manifest.kinds, manifest.hashes, manifest.sizes, manifest.links, directories = found
        manifest.directories = set(directories)
        return manifest

    def _seal(self, columns):
        return hashlib.sha256(self.id.encode("ascii") + columns).hexdigest().encode("ascii")

    def __len__(self):
        return len(self.paths)

    def _parse(self, data, meanwhile):
        if not data.startswith(HEADER):
            raise StoreError("corrupt", "failed to read the manifest: it is of another version")
        fields = iter(data[len(HEADER) :].split(b"\0"))
        everything = []
        sizes = []
        for record in fields:
            kind = record[:2]
            if kind == b"f " or kind == EXECUTABLE:
                _, size, digest, path = record.split(b" ", 3)
                sizes.append(size)
                self.kinds.append(kind)
                self.hashes.append(digest)
                self.paths.append(path)
            elif kind == b"l ":
                path, target = record[2:], next(fields)
                if not target:
                    raise ValueError(record)
                self.links.append((path, target))
            elif kind == b"d ":
                path = record[2:]
                self.directories.add(path)
            elif not record and next(fields, None) is None:
                break
            else:
                raise ValueError(record)
            everything.append(path)
            if not len(everything) % A_WHILE:
                meanwhile()
        else:
            raise ValueError("truncated")
        if not all(sizes) or (sizes and not b"".join(sizes).isdigit()):
            raise ValueError("sizes")
        self.sizes = list(map(int, sizes))
        return everything

    def _find_directories(self, everything):
        for parent in {path.rpartition(b"/")[0] for path in everything}:
            while parent and parent not in self.directories:
                self.directories.add(parent)
                parent = parent.rpartition(b"/")[0]

    def _check(self, everything):
        if b"".join(self.hashes).translate(None, b"0123456789abcdef") or set(map(len, self.hashes)) - {64}:
            raise ValueError("hashes")
        framed = b"/%b/" % b"/\0/".join(everything)
        if everything and any(wrong in framed for wrong in (b"//", b"/./", b"/../")):
            raise StoreError("corrupt", "failed to read the manifest: it has paths that lead astray")
        if not all(map(operator.lt, everything, islice(everything, 1, None))):
            raise StoreError("corrupt", "failed to read the manifest: its paths are out of order")
        inside = self.directories.intersection(self.paths)
        inside.update(path for path, _ in self.links if path in self.directories)
        if inside:
            raise StoreError("corrupt", "failed to read the manifest: %r has two natures" % min(inside))

    def entries(self):
        """What each file is: path, hash and kind."""
        return zip(self.paths, self.hashes, self.kinds)

    def mode(self, index):
        return 0o755 if self.kinds[index] == EXECUTABLE else 0o644

    def mtime(self, index):
        """Depends on nothing but the content, so that whatever compares times (byte code, build tools) sees a
        change exactly when the content changed."""
        return (1262304000 + int(self.hashes[index][:7], 16)) * 10**9  # in 2010 to 2018


def inflate(data, limit, subject):
    engine = zlib.decompressobj()
    try:
        plain = engine.decompress(data, limit + 1)
    except zlib.error as error:
        raise StoreError("corrupt", "failed to decompress %s: %s" % (subject, error)) from None
    if len(plain) > limit or not engine.eof:
        raise StoreError(
            "corrupt", "failed to decompress %s: it is larger than announced, or cut off" % subject
        )
    return plain


def spliced(base, ops, data):
    """What comes of `base` by `ops`: `[start, length]` stands for a piece of it, a number for so many bytes of
    `data`, in order."""
    pieces, at = [], 0
    base, data = memoryview(base), memoryview(data)
    for op in ops:
        if isinstance(op, int):
            pieces.append(data[at : at + op])
            at += op
        else:
            start, length = op
            pieces.append(base[start : start + length])
    return b"".join(pieces)
