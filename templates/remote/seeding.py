"""Lets other machines of the run have the contents of a tree that is whole here.

A child of the runner listens on the address by which the engine reached this machine. It serves whoever has a token of
the engine's, each token once, and sends no content but what the manifest names. Never writes to the tree.
"""

import hashlib
import hmac
import json
import os
import random
import select
import signal
import socket
import ssl
import stat
import struct
import tempfile
import threading
import time
import zlib

from . import disk
from .faults import StoreError
from .processes import stand_alone
from .runner import frame

PARCEL = 1 << 20
GREETING_LIMIT = 4 << 10
REQUEST_LIMIT = 64 << 20
GREETING_PATIENCE = 5.0
PATIENCE = 20.0
MOST_AT_ONCE = 8
LENGTH = struct.Struct(">I")


class Seeding:
    """The runner's side: starts the child and says what becomes of it."""

    def __init__(self, runner, store):
        self._runner = runner
        self._store = store
        self._control = None
        self._has_failed = False

    def begin(self, header):
        try:
            seed = Seed(header, WholeTree(*self._store.whole(header["id"])))
        except StoreError as error:
            return self._tell({"failure": error.message})
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)
        self._runner.loop.on_readable(self._control.fileno(), self._read)
        self._runner.processes.fork(lambda: seed.run(theirs.detach()), self._ended)
        theirs.close()

    def _read(self):
        try:
            said = self._control.recv(4 << 10)
        except OSError:
            said = b""
        if said:
            self._tell(json.loads(said.decode("ascii")))
        else:
            self._runner.loop.forget(self._control.fileno())

    def _ended(self, status):
        self._runner.loop.forget(self._control.fileno())
        self._tell({"failure": "what serves other machines ended with status %d" % status})

    def _tell(self, what):
        if not self._has_failed:
            self._has_failed = "failure" in what
            self._runner.send(dict(what, t="seeding"))


class Seed:
    """The child: listens, and serves each peer on a thread of its own."""

    def __init__(self, header, tree):
        self._secret = bytes.fromhex(header["secret"])
        self._certificate, self._key = header["certificate"], header["key"]
        self._ports = range(*header["ports"])
        self._tree = tree
        self._spent = set()
        self._lock = threading.Lock()
        self._room = threading.Semaphore(MOST_AT_ONCE)

    def run(self, control):
        """Ends when the other end of `control` does."""
        stand_alone(control)
        try:
            context = self._context()
            address = own_address()
            listener = listening(address, self._ports)
        except (OSError, ValueError) as error:
            os.write(control, json.dumps({"failure": str(error)}).encode("ascii"))
            return 0
        told = {"address": address, "port": listener.getsockname()[1]}
        os.write(control, json.dumps(told).encode("ascii"))
        poll = select.poll()
        poll.register(control, select.POLLIN)
        poll.register(listener, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if control in ready:
                return 0
            try:
                peer = listener.accept()[0]
            except OSError:
                continue  # It has gone again.
            if self._room.acquire(blocking=False):
                threading.Thread(target=self._attend, args=(context, peer), daemon=True).start()
            else:
                peer.close()

    def _context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(self._key + self._certificate)
            file.flush()
            context.load_cert_chain(file.name)
        return context

    def _attend(self, context, peer):
        try:
            peer.settimeout(GREETING_PATIENCE)
            with context.wrap_socket(peer, server_side=True) as line:
                if self._admits(receive(line, GREETING_LIMIT, GREETING_PATIENCE)[0]):
                    self._serve(line)
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            pass  # A peer that breaks off or talks nonsense is its own engine's business.
        finally:
            peer.close()
            self._room.release()

    def _admits(self, greeting):
        number, token = greeting["number"], greeting["token"]
        if greeting["id"] != self._tree.manifest.id or not isinstance(number, int):
            return False
        right = hmac.new(self._secret, b"%d" % number, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(right.encode("ascii"), token.encode("utf-8")):
            return False
        with self._lock:
            is_fresh = number not in self._spent
            self._spent.add(number)
        return is_fresh

    def _serve(self, line):
        while True:
            header, blob = receive(line, REQUEST_LIMIT, PATIENCE)
            line.settimeout(PATIENCE)
            if header["t"] == "manifest":
                send(line, {"t": "manifest"}, zlib.compress(self._tree.manifest.data, 1))
                continue
            wanted = json.loads(blob.decode("ascii"))
            count = len(self._tree.manifest)
            files = [index for first, last in wanted["files"] for index in range(first, min(last + 1, count))]
            for parcel in parcels(self._tree, files, wanted.get("arrived") or {}):
                send(line, *parcel)
            send(line, {"t": "end"})


class WholeTree:
    """What is needed of a tree to read from it: the manifest, and the stamps by which untouched files are told."""

    def __init__(self, root, manifest, stamps):
        self.root, self.manifest, self.stamps = root, manifest, stamps

    def open(self, index):
        """A descriptor of a file that has the content which the manifest promises, or None: tests may have been at
        it."""
        try:
            descriptor = os.open(self.root + b"/" + self.manifest.paths[index], disk.READ)
        except OSError:
            return None
        status = os.fstat(descriptor)
        is_right = stat.S_ISREG(status.st_mode) and status.st_size == self.manifest.sizes[index]
        if is_right and disk.stamp(status) != self.stamps[index]:
            is_right = disk.digest_of(descriptor, status.st_size) == self.manifest.hashes[index]
            os.lseek(descriptor, 0, os.SEEK_SET)
        if is_right:
            return descriptor
        os.close(descriptor)
        return None


def parcels(tree, files, arrived):
    """Contents as the engine sends them: many small ones in one parcel, a large one in many."""
    sizes = tree.manifest.sizes
    packed, pieces, held = [], [], 0
    for index in files:
        size = sizes[index]
        if packed and held + size > PARCEL:
            yield {"t": "pack", "files": packed}, b"".join(pieces)
            packed, pieces, held = [], [], 0
        descriptor = tree.open(index)
        if descriptor is None:
            continue
        try:
            if size > PARCEL:
                yield from parts(descriptor, index, size, arrived.get(str(index), 0))
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


def parts(descriptor, index, size, offset):
    while offset < size:
        data = os.pread(descriptor, min(PARCEL, size - offset), offset)
        if not data:
            return
        yield {"t": "part", "file": index, "offset": offset}, data
        offset += len(data)


def own_address():
    """The address by which the engine reached this machine: others of the run can probably reach it too."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    return words[2] if len(words) == 4 else "127.0.0.1"


def listening(address, ports):
    """A listener on one of these ports, or on any if they are all in use."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    target = socket.getaddrinfo(address, None, family, socket.SOCK_STREAM)[0][4]
    for port in random.sample(ports, len(ports)) + [0]:
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((target[0], port) + target[2:])
            listener.listen(MOST_AT_ONCE)
            listener.setblocking(False)
            return listener
        except OSError:
            listener.close()
            if port == 0:
                raise


def send(line, header, blob=b""):
    head, body = frame(header, blob)
    line.sendall(head)
    if body:
        line.sendall(body)


def receive(line, limit, patience):
    """The next frame, if it is no longer than `limit` and all of it comes in time. Without patience there is time."""
    deadline = None if patience is None else time.monotonic() + patience
    length = LENGTH.unpack(exactly(line, LENGTH.size, deadline))[0]
    if length > limit:
        raise ValueError("a frame of %d bytes is too long" % length)
    data = exactly(line, length, deadline)
    header, _, blob = data.partition(b"\n")
    return json.loads(header.decode("ascii")), blob


def exactly(line, size, deadline):
    data = bytearray()
    while len(data) < size:
        line.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))
        piece = line.recv(min(size - len(data), 256 << 10))
        if not piece:
            raise ConnectionError("the other end has closed the connection")
        data += piece
    return bytes(data)
