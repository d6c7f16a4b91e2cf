"""What can go wrong with a machine's store, in words that the engine knows.

Turns errors of the system into such words. Repairs nothing.
"""

import errno
import os

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


def is_full(error):
    return _KINDS.get(error.errno) == "disk-full"


class StoreError(Exception):
    """`kind` is disk-full, corrupt, permission or io."""

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
