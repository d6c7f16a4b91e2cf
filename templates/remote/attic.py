"""Contents that a tree had and has no more, kept for the day it gets them back.

    store/attic/ab/<hash>

They get there by being renamed out of a tree, and leave it the same way, so that switching between branches sends
nothing twice. A content is hashed when it is taken, not when it is put. The least recently used go first.
"""

import os

from .disk import remove, restore


class Attic:
    def __init__(self, root):
        self.root = os.fsencode(root)
        self._folders = set()
        self._listed = {}

    def _path(self, digest):
        return b"%b/%b/%b" % (self.root, digest[:2], digest)

    def may_have(self, digest):
        """As far as was known when that folder was first looked at: thousands of contents are looked for at a time."""
        names = self._listed.get(digest[:2])
        if names is None:
            try:
                names = set(os.listdir(b"%b/%b" % (self.root, digest[:2])))
            except FileNotFoundError:
                names = set()
            self._listed[digest[:2]] = names
        return digest in names

    def put(self, path, digest):
        """Takes a file out of a tree that nobody has touched there."""
        if digest[:2] not in self._folders:
            os.makedirs(b"%b/%b" % (self.root, digest[:2]), exist_ok=True)
            self._folders.add(digest[:2])
        try:
            os.rename(path, self._path(digest))
            self._listed.pop(digest[:2], None)
        except FileNotFoundError:
            # A run that prunes has taken an empty folder away.
            self._folders.discard(digest[:2])
            remove(path)

    def take(self, digest, target, size, mode, mtime):
        """Moves a content to `target`, where nothing is. Returns its stamp, or None if it isn't here in order: a damaged
        one is dropped."""
        try:
            os.rename(self._path(digest), target)
        except (FileNotFoundError, NotADirectoryError):
            return None
        stamp = restore(target, digest, size, mode, mtime)
        if stamp is None:
            remove(target)
        return stamp

    def open(self, digest):
        try:
            return os.open(self._path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None

    def files(self):
        """`(time it came here, size, path)` of each content."""
        found = []
        try:
            for folder in os.scandir(self.root):
                for file in os.scandir(folder.path):
                    status = file.stat(follow_symlinks=False)
                    found.append((status.st_ctime_ns, status.st_size, file.path))
        except FileNotFoundError:
            pass
        return found
