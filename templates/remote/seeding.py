"""Lets other machines of the run have the contents of a tree, those that are still to come as soon as they have.

A child of the runner listens on the address by which the engine reached this machine. It serves whoever has a token of
the engine's, each token once, and sends no content but what the manifest names.
"""

import hashlib
import hmac
import json
import os
import random
import select
import socket
import ssl
import tempfile
import threading
import time
import zlib
from array import array

from .processes import stand_alone
from .runner import LENGTH, Frames, Outlet, frame, read_some
from .seed_tree import SeedTree
from .trees import WIDTH, nobody

GREETING_LIMIT = 4 << 10
REQUEST_LIMIT = 64 << 20
GREETING_PATIENCE = 5.0
PATIENCE = 20.0
MOST_AT_ONCE = 8


class Seeding:
    """The runner's side: starts the child, tells it what arrives, and says what becomes of it."""

    def __init__(self, runner, store):
        self._runner = runner
        self._store = store
        self._outlet = self._tree = None
        self._has_failed = False

    def begin(self, header):
        """Starts as soon as it is known what the tree is to become."""
        self._header = header
        self._store.when_aimed(header["id"], self._aimed)

    def _aimed(self, tree):
        self._tree = tree
        tree.tell = self._hear
        self._start()

    def _start(self):
        if threading.active_count() > 1:
            # A fork would copy locks that threads hold. They hash one content: with the next one it is tried again.
            if not self._tree.wanted:
                self._tell({"failure": "threads are at work there"})
            return
        try:
            seed = Seed(self._header, SeedTree(*self._tree.standing()))
            control, theirs = socket.socketpair()
            self._runner.processes.fork(lambda: seed.run(theirs.detach()), self._ended)
        except OSError as error:
            self._tree.tell = nobody
            return self._tell({"failure": str(error)})
        theirs.close()
        descriptor = control.detach()
        self._outlet = Outlet(self._runner.loop, descriptor, broken=lambda: None)
        self._runner.loop.on_readable(descriptor, lambda: self._read(descriptor))

    def _hear(self, kind, files, size=0):
        if self._tree.target.id != self._header["id"]:
            return
        if self._outlet is None:
            return self._start()
        stamps = array("Q")
        for stamp in self._tree.stamps(files) if kind == "have" else ():
            stamps.extend(stamp or (0,) * WIDTH)
        header = {"t": kind, "count": len(files), "size": size}
        self._outlet.send(*frame(header, array("I", files).tobytes() + stamps.tobytes()))

    def _read(self, descriptor):
        said = read_some(descriptor, 4 << 10)
        if said:
            self._tell(json.loads(said.decode("ascii")))
        elif said is not None:
            self._runner.loop.on_readable(descriptor, None)

    def _ended(self, status):
        self._outlet.close()
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
        frames = Frames()
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if control in ready:
                try:
                    for header, blob in frames.receive(control):
                        self._hear(header, blob)
                except EOFError:
                    return 0
            if listener.fileno() not in ready:
                continue
            try:
                peer = listener.accept()[0]
            except OSError:
                continue  # It has gone again.
            if self._room.acquire(blocking=False):
                threading.Thread(target=self._attend, args=(context, peer), daemon=True).start()
            else:
                peer.close()

    def _hear(self, header, blob):
        split = header["count"] * array("I").itemsize
        numbers = iter(array("Q", blob[split:]))
        self._tree.hear(header["t"], array("I", blob[:split]), zip(*[numbers] * WIDTH), header["size"])

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
            offsets = {int(index): size for index, size in (wanted.get("arrived") or {}).items()}
            for parcel in self._tree.parcels(files, offsets):
                send(line, *parcel)
            send(line, {"t": "end"})


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
    header, _, blob = receive_whole(line, limit, patience).partition(b"\n")
    return json.loads(header.decode("ascii")), blob


def receive_whole(line, limit, patience):
    """The next frame, if it is no longer than `limit` and all of it comes in time. Without patience there is time."""
    deadline = None if patience is None else time.monotonic() + patience
    length = LENGTH.unpack(exactly(line, LENGTH.size, deadline))[0]
    if length > limit:
        raise ValueError("a frame of %d bytes is too long" % length)
    return exactly(line, length, deadline)


def exactly(line, size, deadline):
    data = bytearray(size)
    view, got = memoryview(data), 0
    while got < size:
        line.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))
        count = line.recv_into(view[got:])
        if not count:
            raise ConnectionError("the other end has closed the connection")
        got += count
    return data
