"""What the store's tests share: snapshots described by data, and an engine that answers `need`."""

import hashlib
import os
import pathlib
import subprocess
import sys
import types
import zlib

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "templates" / "remote"
package = sys.modules["_cloudist"] = types.ModuleType("_cloudist")
package.__path__ = [str(SOURCE)]

from _cloudist import digests, disk, faults, manifest, slots, store, trees  # noqa: E402, F401

KEY = "0123456789abcdef"
PART = 1 << 20


class Snapshot:
    """`{path: content}`: bytes are a file, ("x", bytes) an executable one, ("link", target) a symbolic
    link, None an empty directory. Paths are bytes, or str for short."""

    def __init__(self, entries):
        self.contents = []
        records = []
        for path, content in sorted((p.encode() if isinstance(p, str) else p, c) for p, c in entries.items()):
            if content is None:
                records.append(b"d %b\0" % path)
            elif isinstance(content, tuple) and content[0] == "link":
                records.append(b"l %b\0%b\0" % (path, content[1]))
            else:
                kind, data = (b"x", content[1]) if isinstance(content, tuple) else (b"f", content)
                self.contents.append(data)
                records.append(b"%b %d %b %b\0" % (kind, len(data), digests.digest(data), path))
        self.manifest = manifest.HEADER + b"".join(records)
        self.id = hashlib.sha256(self.manifest).hexdigest()

    def aim(self, target, key=KEY):
        target.snapshot({"id": self.id, "key": key}, zlib.compress(self.manifest))

    def aim_from(self, base, target, key=KEY):
        """The same with what the base's manifest begins with taken from there."""
        shared = 0
        while base.manifest[: shared + 1] == self.manifest[: shared + 1] != base.manifest[:shared]:
            shared += 1
        rest = self.manifest[shared:]
        header = {"id": self.id, "key": key, "base": base.id, "ops": [[0, shared], len(rest)]}
        target.snapshot(header, zlib.compress(rest))

    def send(self, target, need, z=False, part=PART):
        """Sends what was asked for."""
        for first, last in need["files"]:
            for index in range(first, last + 1):
                data = self.contents[index]
                if len(data) <= PART:
                    target.pack({"files": [index], "z": z}, zlib.compress(data) if z else data)
                else:
                    self.send_parts(target, index, need["arrived"].get(str(index), 0), z, part)

    def send_parts(self, target, index, start=0, z=False, part=PART, end=None):
        data = self.contents[index][:end]
        for offset in range(start, len(data), part):
            piece = data[offset : offset + part]
            header = {"file": index, "offset": offset, "z": z}
            target.part(header, zlib.compress(piece) if z else piece)

    def lacks(self, target):
        """The contents that have to be sent, by file, in the order of their paths."""
        _, need = target.build(self.id)
        numbers = [
            index for first, last in (need or {"files": []})["files"] for index in range(first, last + 1)
        ]
        return [self.contents[number] for number in numbers]

    def put(self, target, key=KEY):
        """The whole exchange. Returns the tree's path as bytes, and the contents that had to be sent."""
        self.aim(target, key)
        sent = self.lacks(target)
        reply, need = target.build(self.id)
        if need is not None:
            self.send(target, need)
            reply, need = target.build(self.id)
        assert need is None and reply["t"] == "built"
        return reply["tree"].encode(), sent


def refused(call, *arguments):
    with pytest.raises(faults.StoreError) as caught:
        call(*arguments)
    return caught.value


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)]
    if os.geteuid() != 0 or subprocess.run(command, stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("mounting a file system needs to be root")
    yield str(mount)
    subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.fixture
def base(tmp_path):
    return str(tmp_path / "base")


@pytest.fixture
def open_store(base):
    stores = []

    def open_store(run="r1", where=base, **bounds):
        stores.append(store.Store(where, run, **bounds))
        return stores[-1]

    yield open_store
    for opened in stores:
        opened.close()
