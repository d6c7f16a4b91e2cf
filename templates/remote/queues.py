"""The queue of one worker: tokens in a pipe that the worker claims by reading, and more of them behind it.

Claiming and taking back read the same pipe, so no token is ever held twice. Knows nothing of what a token
stands for, except the one that ends a session.
"""

import os
import select
import struct
from collections import deque

TOKEN = struct.Struct("<II")
NONE = 0xFFFFFFFF
END = (NONE, 0)
SHALLOW, DEEP = 256, 1024
BATCH = min(select.PIPE_BUF, 4096) // TOKEN.size


class Queue:
    def __init__(self):
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self._writer, False)
        self._handed = deque()
        self._behind = deque()

    def close(self):
        os.close(self.reader)
        os.close(self._writer)

    def append(self, tokens):
        self._behind.extend(tokens)
        self._feed()

    def insert(self, tokens):
        """Puts tokens in front of everything that isn't claimed."""
        self._take_back()
        self._behind.extendleft(reversed(tokens))
        self._feed()

    def recall(self, count):
        """Takes up to `count` tokens from the end; the one that ends the session stays."""
        self._take_back()
        taken, ends = [], []
        while self._behind and len(taken) < count:
            token = self._behind.pop()
            (ends if token == END else taken).append(token)
        self._behind.extend(ends)
        self._feed()
        taken.reverse()
        return taken

    def finish(self, token):
        """What the worker has claimed and is done with."""
        if self._handed and self._handed[0] == token:
            self._handed.popleft()
        elif token in self._handed:
            self._handed.remove(token)
        if len(self._handed) <= SHALLOW and self._behind:
            self._feed()

    def nearly_empty(self):
        """Whether the worker has at most one thing left."""
        return len(self._handed) + len(self._behind) <= 1

    def is_claimed(self):
        """Whether the worker is at something."""
        claimed = bool(self.claimed())
        self._feed()
        return claimed

    def claimed(self):
        """What a dead worker had claimed and not finished, oldest first."""
        self._take_back()
        return [token for token in self._handed if token != END]

    def _take_back(self):
        data = b""
        while True:
            try:
                piece = os.read(self.reader, 1 << 16)
            except BlockingIOError:
                break
            data += piece
        for _ in range(len(data) // TOKEN.size):
            self._behind.appendleft(self._handed.pop())

    def _feed(self):
        while self._behind and len(self._handed) < DEEP:
            batch = [self._behind[i] for i in range(min(BATCH, len(self._behind), DEEP - len(self._handed)))]
            try:
                os.write(self._writer, b"".join([TOKEN.pack(*token) for token in batch]))
            except BlockingIOError:
                return
            for _ in batch:
                self._handed.append(self._behind.popleft())
