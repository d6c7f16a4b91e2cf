"""Has contents come from another machine of the run that has them, or gets them at the same time.

A child of the runner connects, and passes on what arrives; the store verifies each content as if a stranger had sent
it. Whatever goes wrong with the peer is told and no more: the engine knows another source.
"""

import hashlib
import hmac
import json
import socket
import ssl
import time

from .faults import StoreError
from .processes import stand_alone
from .runner import FRAME_LIMIT, LENGTH, Frames, Outlet, ProtocolError, frame
from .seeding import receive, receive_whole, send

CONNECT_PATIENCE = 2.0
PATIENCE = 15.0
PASSED_ON = ("manifest", "pack", "part", "end")


class Fetching:
    """The runner's side. Answered by `fetched-from`, and then by what `build` would be answered by."""

    def __init__(self, runner, store, on_end):
        self._runner = runner
        self._store = store
        self._on_end = on_end
        self._frames = Frames()
        self._bytes = 0
        self._pid = self._outlet = self._descriptor = None

    def begin(self, header):
        self._id, self._key = header["id"], header["key"]
        peer, first = Peer(header), ({"t": "manifest"},)
        if self._store.aims_at(self._id):
            first = self._request()
            if first is None:
                return self._on_end(self._id)
        ours, theirs = socket.socketpair()
        self._descriptor = ours.detach()
        self._outlet = Outlet(self._runner.loop, self._descriptor, broken=lambda: None)
        self._runner.loop.on_readable(self._descriptor, self._read)
        self._pid = self._runner.processes.fork(lambda: peer.run(theirs.detach()), lambda status: None)
        theirs.close()
        self._outlet.send(*frame(*first))

    def _request(self):
        """What to ask the peer for; nothing if the tree is whole."""
        missing = self._store.build(self._id)[1]
        return None if missing is None else ({"t": "contents"}, json.dumps(missing).encode("ascii"))

    def _read(self):
        try:
            for header, blob in self._frames.receive(self._descriptor):
                self._take(header, blob)
                if self._descriptor is None:
                    return
        except EOFError:
            self._end("the connection broke")
        except StoreError as error:
            if error.kind != "corrupt":
                # Not the peer's fault: a full disk is as full for the next source.
                self._close()
                return self._runner.error("snapshot", error.kind, error.message)
            self._end("what it sent is damaged: %s" % error.message)
        except (ProtocolError, ValueError, KeyError, TypeError, IndexError) as error:
            self._end("what it sent can't be understood: %s" % error)

    def _take(self, header, blob):
        kind = header["t"]
        self._bytes += len(blob)
        if kind == "manifest":
            self._store.snapshot({"id": self._id, "key": self._key}, blob)
            request = self._request()
            if request is None:
                return self._end()
            self._outlet.send(*frame(*request))
        elif kind == "pack":
            self._store.pack({"files": header["files"]}, blob)
        elif kind == "part":
            self._store.part({"file": header["file"], "offset": header["offset"]}, blob)
        elif kind == "end":
            self._end()
        elif kind == "failed":
            self._end(str(header["message"]), bool(header.get("slow")))
        else:
            raise ValueError(kind)

    def _end(self, failure=None, is_slow=False):
        self._close()
        try:
            self._store.settle()
        except StoreError as error:
            if error.kind != "corrupt":
                return self._runner.error("snapshot", error.kind, error.message)
            failure = failure or "what it sent is damaged: %s" % error.message
        told = {"t": "fetched-from", "bytes": self._bytes, "failure": failure, "slow": is_slow}
        self._runner.send(told)
        if not self._store.aims_at(self._id):
            return self._runner.send({"t": "need", "id": self._id, "manifest": True}, b"{}")
        try:
            self._on_end(self._id)
        except StoreError as error:
            self._runner.error("snapshot", error.kind, error.message)

    def _close(self):
        self._outlet.close()
        self._descriptor = None
        self._runner.processes.end_group(self._pid)


class Peer:
    """The child: speaks TLS with the one machine whose certificate the engine has told."""

    def __init__(self, header):
        self._address = header["address"], header["port"]
        self._pin = header["pin"]
        patience = header.get("patience")
        self._deadline = None if patience is None else time.monotonic() + patience
        self._greeting = {
            "t": "greeting",
            "id": header["id"],
            "number": header["number"],
            "token": header["token"],
        }

    def run(self, runner):
        stand_alone(runner)
        runner = socket.socket(fileno=runner)
        try:
            with self._connected() as line:
                send(line, self._greeting)
                while True:
                    header, blob = receive(runner, FRAME_LIMIT, None)
                    send(line, header, blob)
                    self._relay(line, runner)
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = str(error) or type(error).__name__
            is_slow = self._deadline is not None and time.monotonic() >= self._deadline
            try:
                send(runner, {"t": "failed", "message": message, "slow": is_slow})
            except OSError:
                pass  # The runner has had enough of it.
        return 0

    def _connected(self):
        plain = socket.create_connection(self._address, CONNECT_PATIENCE)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        # No authority has a say, and no clock: the certificate is the one that the engine has made, or it is not.
        context.verify_mode = ssl.CERT_NONE
        plain.settimeout(PATIENCE)
        line = context.wrap_socket(plain)
        found = hashlib.sha256(line.getpeercert(binary_form=True)).hexdigest()
        if not hmac.compare_digest(found, self._pin):
            line.close()
            raise ValueError("whoever listens there is not of this run")
        return line

    def _relay(self, line, runner):
        """Passes on what comes as it is, up to what ends it."""
        while True:
            data = receive_whole(line, FRAME_LIMIT, self._patience())
            kind = json.loads(data[: data.find(b"\n")].decode("ascii"))["t"]
            if kind == "wait":
                continue
            if kind not in PASSED_ON:
                raise ValueError("it sent %r" % kind)
            runner.sendall(LENGTH.pack(len(data)))
            runner.sendall(data)
            if kind in ("end", "manifest"):
                return

    def _patience(self):
        """For the next frame: one that has everything may take as long as it likes for all of them."""
        if self._deadline is None:
            return PATIENCE
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("it has been too slow")
        return min(PATIENCE, left)
