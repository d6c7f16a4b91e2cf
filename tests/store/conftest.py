"""What the store's tests share: snapshots described by data, and an engine that answers `need`."""

import hashlib
import importlib.util
import pathlib
import sys
import zlib

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "templates" / "remote" / "store.py"


def load_store():
    spec = importlib.util.spec_from_file_location("store", str(SOURCE))
    module = importlib.util.module_from_spec(spec)
    sys.modules["store"] = module
    spec.loader.exec_module(module)
    return module


store = load_store()


class Snapshot:
    """`{path: content}`: bytes are a file, ("x", bytes) an executable one, ("link", target) a symbolic
    link, None an empty directory. Paths are bytes, or str for short."""

    def __init__(self, entries):
        self.contents = {}
        records = []
        for path, content in sorted((p.encode() if isinstance(p, str) else p, c) for p, c in entries.items()):
            if content is None:
                records.append(b"d %b\0" % path)
            elif isinstance(content, tuple) and content[0] == "link":
                records.append(b"l %b\0%b\0" % (path, content[1]))
            else:
                kind, data = (b"x", content[1]) if isinstance(content, tuple) else (b"f", content)
                digest = hashlib.sha256(data).hexdigest()
                self.contents[digest] = data
                records.append(b"%b %d %b %b\0" % (kind, len(data), digest.encode(), path))
        self.manifest = store.HEADER + b"".join(records)
        self.id = hashlib.sha256(self.manifest).hexdigest()

    def send(self, target, digests, piece=1 << 20, z=False):
        for digest in digests:
            data = self.contents[digest]
            for offset in range(0, max(len(data), 1), piece):
                part = data[offset : offset + piece]
                header = {"hash": digest, "size": len(data), "offset": offset, "z": z}
                target.blob(header, zlib.compress(part) if z else part)

    def put(self, target):
        """The whole exchange. Returns the tree's path as bytes, and the hashes that had to be sent."""
        need, missing = target.begin(self.id, self.manifest)
        self.send(target, missing)
        if not need["complete"]:
            built = target.build(self.id)
            assert built["tree"] == need["tree"]
        return need["tree"].encode(), missing


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
