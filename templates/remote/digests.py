"""The hash that names a content.

Of a content of up to one piece it is the SHA-256; of a larger one the SHA-512, cut to 32 bytes, of its pieces' SHA-256s.
So many threads can hash one content, here and where it comes from. Knows no file and no store.
"""

import hashlib
import os
import threading
from queue import SimpleQueue

PIECE = 1 << 20
# From this size on it is worth the threads.
SHARED = 8 << 20
MOST_THREADS = 4


def digest(data):
    """The name of a content that is in memory."""
    if len(data) <= PIECE:
        return hashlib.sha256(data).hexdigest().encode()
    hasher = Hasher()
    hasher.update(data)
    return hasher.name()


class Hasher:
    """Takes a content as it comes. With a size that is worth it the pieces are hashed on threads of their own, which
    end with `name` or `close`."""

    def __init__(self, size=0):
        self._pieces = []
        self._begun, self._length = hashlib.sha256(), 0
        threads = min(MOST_THREADS, os.cpu_count() or 1)
        self._crew = Crew(self._pieces, threads) if size >= SHARED and threads > 1 else None

    def update(self, data):
        view = memoryview(data)
        while view:
            if self._crew is not None and not self._length and len(view) >= PIECE:
                self._crew.take(view[:PIECE])
                view = view[PIECE:]
                continue
            now = view[: PIECE - self._length]
            self._begun.update(now)
            self._length += len(now)
            view = view[len(now) :]
            if self._length == PIECE:
                self._pieces.append(self._begun.digest())
                self._begun, self._length = hashlib.sha256(), 0

    def name(self):
        """The hash of all that came, in hexadecimal, as bytes. Nothing may follow."""
        self.close()
        if not self._pieces:
            return self._begun.hexdigest().encode()
        if len(self._pieces) == 1 and not self._length:
            return self._pieces[0].hex().encode()
        if self._length:
            self._pieces.append(self._begun.digest())
        return hashlib.sha512(b"".join(self._pieces)).hexdigest()[:64].encode()

    def close(self):
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.end()


class Crew:
    """Threads that hash whole pieces. What is handed to them must not change."""

    def __init__(self, pieces, count):
        self._pieces = pieces
        self._jobs = SimpleQueue()
        self._room = threading.Semaphore(2 * count)
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def take(self, piece):
        self._room.acquire()
        self._pieces.append(None)
        self._jobs.put((len(self._pieces) - 1, piece))

    def _work(self):
        for place, piece in iter(self._jobs.get, None):
            self._pieces[place] = hashlib.sha256(piece).digest()
            del piece  # It is large.
            self._room.release()

    def end(self):
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
