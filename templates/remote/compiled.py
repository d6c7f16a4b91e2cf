"""Compiled code of the modules that came along, kept on the machine: to compile them takes longer than to run them.

One file per set of sources, interpreter, and process that uses it. Whatever is wrong with what was kept, the sources
are compiled as if there were none. Knows nothing of what the modules do.
"""

import _frozen_importlib_external as importing
import marshal
import os
import sys
import zlib

SUM_BYTES = 4
KEPT = 12


class Compiled:
    def __init__(self, directory, key, user):
        version = "%s-%s" % (sys.implementation.cache_tag, importing.MAGIC_NUMBER.hex())
        self._path = os.path.join(directory, "-".join([key, version, user]))
        self._codes = self._read()
        self._added = False

    def code(self, name, source, origin):
        code = self._codes.get(name)
        if code is None:
            code = self._codes[name] = compile(source, origin, "exec")
            self._added = True
        return code

    def keep(self):
        """Writes what had to be compiled; where that can't be, the next process compiles again."""
        if not self._added:
            return
        self._added = False
        directory = os.path.dirname(self._path)
        unfinished = "%s.%d" % (self._path, os.getpid())
        data = marshal.dumps(self._codes)
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            with open(unfinished, "wb") as file:
                file.write(zlib.crc32(data).to_bytes(SUM_BYTES, "big") + data)
            os.replace(unfinished, self._path)
            self._drop_oldest(directory)
        except OSError:
            if os.path.exists(unfinished):
                os.unlink(unfinished)

    def _read(self):
        try:
            with open(self._path, "rb") as file:
                content = file.read()
        except OSError:
            return {}
        data = content[SUM_BYTES:]
        if zlib.crc32(data).to_bytes(SUM_BYTES, "big") != content[:SUM_BYTES]:
            return {}
        try:
            return marshal.loads(data)
        except (EOFError, ValueError, TypeError):
            return {}

    @staticmethod
    def _drop_oldest(directory):
        entries = sorted(os.scandir(directory), key=lambda entry: entry.stat().st_mtime, reverse=True)
        for entry in entries[KEPT:]:
            os.unlink(entry.path)
