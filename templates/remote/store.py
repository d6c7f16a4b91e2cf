"""The store of a machine: contents by their hash, and the trees that are built from them.

Lives under the machine's cloudist directory, is shared by every run there, and survives them.
Never follows a link inside a tree, never trusts what it has not hashed, never talks to the engine.

    store/lock                    shared while a run lists contents, exclusive while pruning
    store/blobs/ab/<hash>         contents, read-only
    trees/<slot>/                 a tree: held by one run at a time, its tests may write into it
    trees/<slot>.cloudist/        beside it: lock, manifest, stat, incoming/
"""

import errno
import fcntl
import hashlib
import os
import stat
import struct
import sys
import time
import zlib

HEADER = b"cloudist-manifest 1\n"
KEPT_TREES = 4
KEPT_BYTES = 2 << 30
PIECE = 1 << 20
MANIFEST_LIMIT = 512 << 20
FICLONE = 0x40049409
STAT = struct.Struct("<QQQQQ")

_KINDS = {
    errno.ENOSPC: "disk-full",
    errno.EDQUOT: "disk-full",
    errno.EFBIG: "disk-full",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.EROFS: "permission",
}
_HELP = {
    "disk-full": "free space there, or choose another directory for cloudist on that machine",
    "permission": "the user of the machine must be able to write there",
}


class StoreError(Exception):
    """What went wrong with the store: `kind` is disk-full, corrupt, permission or io.

    After `corrupt` the damage has been taken out: `begin` lists what has to be sent again.
    """

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind
        self.message = message

    @classmethod
    def of(cls, error, doing):
        kind = _KINDS.get(error.errno, "io")
        message = "failed to %s: %s" % (doing, error.strerror or error)
        if error.filename is not None:
            message += ": %s" % os.fsdecode(error.filename)
        if kind in _HELP:
            message += " (%s)" % _HELP[kind]
        return cls(kind, message)


class Entry:
    """A file of a manifest. Its mtime depends on nothing but the content, so that whatever compares
    times (byte code, build tools) sees a change exactly when the content changed."""

    __slots__ = ("path", "size", "hash", "mode", "mtime")

    def __init__(self, path, size, digest, mode):
        self.path = path
        self.size = size
        self.hash = digest
        self.mode = mode
        self.mtime = (1262304000 + int(digest[:7], 16)) * 10**9  # in 2010 to 2018


class Manifest:
    """Paths and contents of a snapshot, checked: no path leaves the tree or leads through a link."""

    def __init__(self, data):
        self.data = data
        self.files = []
        self.links = []
        self.directories = set()
        try:
            self._parse(data)
        except (ValueError, StopIteration):
            raise StoreError("corrupt", "failed to read the manifest: it is malformed") from None

    def _parse(self, data):
        if not data.startswith(HEADER):
            raise StoreError("corrupt", "failed to read the manifest: it is of another version")
        fields = iter(data[len(HEADER) :].split(b"\0"))
        previous = b""
        leaves = set()
        for record in fields:
            kind = record[:2]
            if kind == b"f " or kind == b"x ":
                _, size, digest, path = record.split(b" ", 3)
                digest = digest.decode("ascii")
                if len(digest) != 64 or digest.strip("0123456789abcdef") or not size.isdigit():
                    raise ValueError(record)
                self.files.append(Entry(path, int(size), digest, 0o755 if kind == b"x " else 0o644))
                leaves.add(path)
            elif kind == b"l ":
                path, target = record[2:], next(fields)
                if not target:
                    raise ValueError(record)
                self.links.append((path, target))
                leaves.add(path)
            elif kind == b"d ":
                path = record[2:]
                self.directories.add(path)
            elif not record and next(fields, None) is None:
                break
            else:
                raise ValueError(record)
            framed = b"/%b/" % path
            if path <= previous or b"//" in framed or b"/./" in framed or b"/../" in framed:
                raise StoreError("corrupt", "failed to read the manifest: bad path %r" % path)
            previous = path
            parent = path.rpartition(b"/")[0]
            while parent and parent not in self.directories:
                self.directories.add(parent)
                parent = parent.rpartition(b"/")[0]
        else:
            raise ValueError("truncated")
        inside = leaves & self.directories
        if inside:
            raise StoreError("corrupt", "failed to read the manifest: %r has two natures" % min(inside))


class Blobs:
    """Contents by hash. A content is there whole or not at all."""

    def __init__(self, root):
        self.root = os.fsencode(root)
        self.reflinks = sys.platform == "linux"
        self._folders = set()

    def path(self, digest):
        return b"%b/%b/%b" % (self.root, digest[:2].encode(), digest.encode())

    def has(self, digest, size):
        try:
            return os.lstat(self.path(digest)).st_size == size
        except FileNotFoundError:
            return False

    def adopt(self, temporary, digest):
        if digest[:2] not in self._folders:
            os.makedirs(b"%b/%b" % (self.root, digest[:2].encode()), exist_ok=True)
            self._folders.add(digest[:2])
        os.rename(temporary, self.path(digest))

    def copy_to(self, entry, target):
        """Makes `target` a file of its own with that content and returns its stamp. None if the store
        lacks the content; a damaged one is dropped, so that it is asked for again."""
        try:
            source = os.open(self.path(entry.hash), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            copy = os.open(target, flags, entry.mode)
            try:
                if not self._transfer(source, copy, entry):
                    os.unlink(target)
                    os.unlink(self.path(entry.hash))
                    return None
                os.fchmod(copy, entry.mode)
                os.utime(copy, ns=(entry.mtime, entry.mtime))
                return stamp(os.fstat(copy))
            finally:
                os.close(copy)
        finally:
            os.close(source)

    def _transfer(self, source, copy, entry):
        cloned = entry.size >= 4 * PIECE and self._clone(source, copy)
        digest = hashlib.sha256()
        size = 0
        while True:
            piece = os.read(source, PIECE)
            digest.update(piece)
            size += len(piece)
            if not cloned:
                write_all(copy, piece)
            if len(piece) < PIECE and (not piece or size >= entry.size):
                break
        return size == entry.size and digest.hexdigest() == entry.hash

    def _clone(self, source, copy):
        if self.reflinks:
            try:
                fcntl.ioctl(copy, FICLONE, source)
                return True
            except OSError:
                self.reflinks = False
        return False

    def total(self):
        return sum(os.lstat(blob.path).st_size for blob in self._all())

    def sweep(self, mentioned):
        """Drops the contents that nothing mentions."""
        for blob in self._all():
            if os.fsdecode(blob.name) not in mentioned:
                remove(blob.path)

    def _all(self):
        for folder in os.scandir(self.root):
            yield from os.scandir(folder.path)


class Lock:
    """An flock, for as long as this object holds it; whoever can not have it now may ask to wait."""

    def __init__(self, path, operation):
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.descriptor, operation)
        except BaseException as error:
            self.release()
            if not isinstance(error, BlockingIOError):
                raise

    @property
    def held(self):
        return self.descriptor is not None

    def release(self):
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class Slot:
    """A place for one tree, and what lies beside it. Everything here needs its lock."""

    def __init__(self, trees, name):
        self.name = name
        self.tree = os.path.join(trees, name)
        self.side = self.tree + ".cloudist"
        os.makedirs(self.side, 0o700, exist_ok=True)
        self.lock = Lock(self.beside("lock"), fcntl.LOCK_EX | fcntl.LOCK_NB)

    def beside(self, name):
        return os.path.join(self.side, name)

    def read(self, name):
        try:
            with open(self.beside(name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def write(self, name, data):
        temporary = self.beside(name + ".new")
        with open(temporary, "wb") as file:
            file.write(data)
        os.rename(temporary, self.beside(name))

    def hashes(self):
        """The contents that its snapshot needs."""
        try:
            return {entry.hash for entry in Manifest(self.read("manifest") or b"").files}
        except StoreError:
            return set()

    def remove(self):
        """Takes the tree away, its record first: what an interruption leaves is never taken for whole."""
        for path in (self.beside("stat"), self.tree, self.tree + ".partial", self.side):
            remove(os.fsencode(path))
        self.lock.release()


def recycle(old, new, manifest):
    """Moves a tree of another snapshot to a new slot, without anything that isn't in the new manifest.
    As soon as it is touched it has no manifest, and what has none is never used."""
    stamps = {}
    recorded = old.read("stat") or b""
    for index, entry in enumerate(Manifest(old.read("manifest")).files):
        stamps[entry.path, entry.hash, entry.mode] = recorded[index * STAT.size : (index + 1) * STAT.size]
    remove(os.fsencode(old.beside("manifest")))
    remove(os.fsencode(old.beside("stat")))
    leaves = {entry.path for entry in manifest.files} | {path for path, _ in manifest.links}
    remove_strays(os.fsencode(old.tree), b"", leaves, manifest.directories)
    unknown = bytes(STAT.size)
    kept = [stamps.get((entry.path, entry.hash, entry.mode)) or unknown for entry in manifest.files]
    new.write("stat", b"".join(kept))
    new.write("manifest", manifest.data)
    os.rename(old.tree, new.tree)


def remove_strays(root, below, leaves, directories):
    """Leaves byte code where its source stays: it counts only while the source's time and size are those
    it was made from, and these follow the content."""
    for entry in list(os.scandir(root + b"/" + below)):
        path = below + entry.name
        if entry.name == b"__pycache__" and entry.is_dir(follow_symlinks=False):
            for name in os.listdir(entry.path):
                if below + name.partition(b".")[0] + b".py" not in leaves:
                    remove(entry.path + b"/" + name)
        elif entry.is_dir(follow_symlinks=False) and path in directories:
            if is_directory(entry.path):
                remove_strays(root, path + b"/", leaves, directories)
            else:
                remove(entry.path)
        elif entry.is_dir(follow_symlinks=False) or path not in leaves:
            remove(entry.path)


class Tree:
    """A snapshot's tree in a slot that this run holds: what is in order, and what has to be made."""

    def __init__(self, slot, manifest):
        self.slot = slot
        self.manifest = manifest
        self.root = os.fsencode(slot.tree)
        self.stamps = [b""] * len(manifest.files)
        self.damaged = list(range(len(manifest.files)))
        self.whole = False

    def inspect(self):
        """Compares the tree with what was recorded when it was built. What looks different is
        hashed: unchanged content gets its times and mode back, the rest is damaged."""
        recorded = self.slot.read("stat") or b""
        if len(recorded) != STAT.size * len(self.manifest.files):
            recorded = b""
        moved = tuple(path + b"/" for path in self.manifest.directories if not is_directory(self._at(path)))
        self.damaged = []
        stale = not recorded
        for index, entry in enumerate(self.manifest.files):
            expected = recorded[index * STAT.size : (index + 1) * STAT.size]
            try:
                found = stamp(os.lstat(self.root + b"/" + entry.path))
            except OSError:
                found = b""
            if moved and entry.path.startswith(moved):
                found = b""
            elif found and found != expected:
                found = restore(self._at(entry.path), entry)
                stale = True
            if not found:
                self.damaged.append(index)
            self.stamps[index] = found
        links_stand = all(is_link(self._at(path), target) for path, target in self.manifest.links)
        self.whole = not self.damaged and not moved and links_stand
        if self.whole and stale:
            self._record()

    def _at(self, path):
        return self.root + b"/" + path

    def make(self, blobs):
        """Makes what is damaged or missing; other files in the tree are left alone. Returns the
        hashes that the store turned out not to have."""
        if os.path.isdir(self.root):
            lost = self._make_at(self.root, blobs, fresh=False)
        else:
            partial = self.root + b".partial"
            remove(partial)
            os.mkdir(partial)
            try:
                lost = self._make_at(partial, blobs, fresh=True)
            except BaseException:
                remove(partial)
                raise
            if not lost:
                os.rename(partial, self.root)
        if not lost:
            self._record()
            self.damaged = []
            self.whole = True
        return lost

    def _make_at(self, root, blobs, fresh):
        for path in sorted(self.manifest.directories):
            make_directory(root + b"/" + path, fresh)
        lost = set()
        for index in self.damaged:
            entry = self.manifest.files[index]
            path = root + b"/" + entry.path
            if not fresh:
                remove(path)
            stamped = None if entry.hash in lost else blobs.copy_to(entry, path)
            if stamped is None:
                lost.add(entry.hash)
            else:
                self.stamps[index] = stamped
        for path, target in self.manifest.links:
            if not is_link(root + b"/" + path, target):
                remove(root + b"/" + path)
                os.symlink(target, root + b"/" + path)
        return lost

    def _record(self):
        self.slot.write("stat", b"".join(self.stamps))


class Upload:
    """A content that is arriving in pieces."""

    def __init__(self, path):
        self.path = path
        self.size = 0
        self.digest = hashlib.sha256()
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o444)

    def append(self, data):
        write_all(self.descriptor, data)
        self.digest.update(data)
        self.size += len(data)

    def close(self):
        os.close(self.descriptor)


class Store:
    """One run's hold on the store of its machine."""

    def __init__(self, base, run, kept_trees=KEPT_TREES, kept_bytes=KEPT_BYTES):
        self.base = os.path.realpath(os.path.expanduser(base))
        self.run = run
        self.kept_trees = kept_trees
        self.kept_bytes = kept_bytes
        self.trees = os.path.join(self.base, "trees")
        self.blobs = Blobs(os.path.join(self.base, "store", "blobs"))
        self._held = {}
        self._uploads = {}
        self._awaited = {}
        try:
            os.makedirs(self.base, 0o700, exist_ok=True)
            os.makedirs(self.trees, exist_ok=True)
            os.makedirs(self.blobs.root, exist_ok=True)
        except OSError as error:
            raise StoreError.of(error, "create the store") from error

    def begin(self, snapshot_id, manifest):
        """Takes a tree for this snapshot, an existing one if none else uses it. `manifest` may be
        zlib-compressed. Returns (header of `need`, hashes that have to be sent before `build`)."""
        try:
            manifest = Manifest(self._checked(snapshot_id, manifest))
            listing = Lock(os.path.join(self.base, "store", "lock"), fcntl.LOCK_SH)
            try:
                tree = self._held.get(snapshot_id) or self._claim(snapshot_id, manifest)
                if os.path.isdir(tree.slot.tree):
                    tree.inspect()
                needed = {
                    tree.manifest.files[index].hash: tree.manifest.files[index].size for index in tree.damaged
                }
                missing = {
                    digest: size for digest, size in needed.items() if not self.blobs.has(digest, size)
                }
            finally:
                listing.release()
        except OSError as error:
            raise StoreError.of(error, "look at the store") from error
        self._awaited.update(missing)
        return {"id": snapshot_id, "tree": tree.slot.tree, "complete": tree.whole}, list(missing)

    def blob(self, header, data):
        """Takes a piece of a content that `begin` asked for; pieces come in order."""
        digest, size, offset = header["hash"], header["size"], header["offset"]
        if self._awaited.get(digest) != size:
            if digest in self._awaited or not self.blobs.has(digest, size):
                raise StoreError("corrupt", "failed to store %s: nobody asked for it" % digest)
            return
        if not 0 <= offset <= size:
            raise StoreError("corrupt", "failed to store %s: a piece is out of place" % digest)
        if header.get("z"):
            data = inflate(data, size - offset, digest)
        try:
            self._append(digest, size, offset, data)
        except BaseException as error:
            self._abandon(digest)
            if isinstance(error, OSError):
                raise StoreError.of(error, "store the content %s" % digest) from error
            raise

    def build(self, snapshot_id):
        """Makes the tree of a begun snapshot whole. Returns the header of `built`."""
        started = time.monotonic()
        tree = self._held.get(snapshot_id)
        if tree is None:
            raise StoreError("corrupt", "failed to build %s: its manifest was never sent" % snapshot_id)
        if not tree.whole:
            try:
                lost = tree.make(self.blobs)
            except OSError as error:
                raise StoreError.of(error, "build the tree") from error
            if lost:
                message = (
                    "failed to build the tree: %d contents are missing or damaged in the store, such as %s"
                )
                raise StoreError("corrupt", message % (len(lost), min(lost)))
        seconds = round(time.monotonic() - started, 6)
        return {"id": snapshot_id, "tree": tree.slot.tree, "seconds": seconds}

    def close(self):
        """Lets go of everything, and prunes. The trees stay for the next run."""
        for digest in list(self._uploads):
            self._abandon(digest)
        for tree in self._held.values():
            tree.slot.lock.release()
        self._held.clear()
        self._awaited.clear()
        try:
            self.prune()
        except OSError as error:
            raise StoreError.of(error, "prune the store") from error

    def prune(self):
        """Keeps the newest trees and those in use, and drops contents that no tree mentions once
        the store is large. Does nothing while another run looks at the store."""
        lock = Lock(os.path.join(self.base, "store", "lock"), fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not lock.held:
            return
        try:
            kept = []
            for side in self._sides():
                slot = Slot(self.trees, os.path.basename(side)[: -len(".cloudist")])
                known = os.path.exists(slot.beside("manifest"))
                if slot.lock.held and (len(kept) >= self.kept_trees or not known):
                    slot.remove()
                else:
                    slot.lock.release()
                    kept.append(slot)
            if self.blobs.total() > self.kept_bytes:
                self.blobs.sweep(set().union(*(slot.hashes() for slot in kept)))
        finally:
            lock.release()

    def _checked(self, snapshot_id, manifest):
        if not manifest.startswith(HEADER):
            manifest = inflate(manifest, MANIFEST_LIMIT, "the manifest")
        if hashlib.sha256(manifest).hexdigest() != snapshot_id:
            raise StoreError("corrupt", "failed to read the manifest: it is not the one of %s" % snapshot_id)
        return manifest

    def _claim(self, snapshot_id, manifest):
        """The first slot of this snapshot that no other run holds."""
        number = 0
        while True:
            slot = Slot(self.trees, snapshot_id[:16] + ("-%d" % number if number else ""))
            known = slot.read("manifest") if slot.lock.held else b""
            if known is None or known == manifest.data:
                break
            slot.lock.release()
            number += 1
        if known is None:
            remove(os.fsencode(slot.tree))
            if not self._recycle(slot, manifest):
                slot.write("manifest", manifest.data)
        os.makedirs(slot.beside("incoming"), exist_ok=True)
        for name in os.listdir(slot.beside("incoming")):
            os.unlink(os.path.join(slot.beside("incoming"), name))
        os.utime(slot.side)
        tree = self._held[snapshot_id] = Tree(slot, manifest)
        return tree

    def _recycle(self, slot, manifest):
        """Turns the tree that would be pruned next into the new one: most of its files stay. Besides
        being quick, this spares file systems that are slow to create after a mass deletion."""
        sides = [side for side in self._sides() if os.path.exists(os.path.join(side, "manifest"))]
        if len(sides) < self.kept_trees:
            return False
        for side in reversed(sides):
            old = Slot(self.trees, os.path.basename(side)[: -len(".cloudist")])
            try:
                if old.lock.held and old.read("manifest") and os.path.isdir(old.tree):
                    recycle(old, slot, manifest)
                    return True
            finally:
                old.lock.release()
        return False

    def _sides(self):
        """What lies beside the trees, the one used last first."""
        sides = [side for side in os.scandir(self.trees) if side.name.endswith(".cloudist")]
        sides.sort(key=lambda side: side.stat().st_mtime_ns, reverse=True)
        return [side.path for side in sides]

    def _append(self, digest, size, offset, data):
        if offset == 0:
            self._abandon(digest)
            slot = next(iter(self._held.values())).slot
            self._uploads[digest] = Upload(os.fsencode(os.path.join(slot.beside("incoming"), digest)))
        upload = self._uploads.get(digest)
        if upload is None or upload.size != offset or offset + len(data) > size:
            raise StoreError("corrupt", "failed to store %s: a piece is out of place" % digest)
        upload.append(data)
        if upload.size == size:
            if upload.digest.hexdigest() != digest:
                raise StoreError("corrupt", "failed to store %s: what arrived has another hash" % digest)
            upload.close()
            del self._uploads[digest]
            self.blobs.adopt(upload.path, digest)
            del self._awaited[digest]

    def _abandon(self, digest):
        upload = self._uploads.pop(digest, None)
        if upload is not None:
            upload.close()
            remove(upload.path)


def stamp(status):
    """What tells a file that nobody touched from one that somebody did."""
    times = status.st_mtime_ns & (2**64 - 1), status.st_ctime_ns & (2**64 - 1)
    return STAT.pack(status.st_size, times[0], times[1], status.st_mode, status.st_ino)


def restore(path, entry):
    """Hashes a file that looks touched. Unchanged, it gets back its mode and times, and a new stamp."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size != entry.size or status.st_nlink != 1:
            return b""
        digest = hashlib.sha256()
        for piece in iter(lambda: os.read(descriptor, PIECE), b""):
            digest.update(piece)
        if digest.hexdigest() != entry.hash:
            return b""
        os.fchmod(descriptor, entry.mode)
        os.utime(descriptor, ns=(entry.mtime, entry.mtime))
        return stamp(os.fstat(descriptor))
    finally:
        os.close(descriptor)


def is_directory(path):
    """Whether there is a directory, no link to one, in which its owner can work."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) and mode & 0o700 == 0o700


def is_link(path, target):
    try:
        return os.readlink(path) == target
    except OSError:
        return False


def make_directory(path, fresh):
    if not fresh and os.path.lexists(path):
        if is_directory(path):
            return
        if not os.path.islink(path) and os.path.isdir(path):
            return os.chmod(path, 0o755)
        os.unlink(path)
    os.mkdir(path)


def remove(path):
    """Removes whatever is at a path, also what a test has made unwritable; links are not followed."""
    try:
        mode = os.lstat(path).st_mode
        if not stat.S_ISDIR(mode):
            return os.unlink(path)
        if mode & 0o700 != 0o700:
            os.chmod(path, 0o700)
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    remove(entry.path)
                else:
                    os.unlink(entry.path)
        os.rmdir(path)
    except FileNotFoundError:
        pass


def write_all(descriptor, data):
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


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
