"""The store of a machine: trees that become whatever snapshot is wanted next, and an attic for what they had before.

Lives under the machine's cloudist directory, is shared by every run there, and survives them. Never trusts what it has
not hashed, never talks to the engine.
"""

import hashlib
import os
import threading
import time

from .attic import Attic
from .faults import StoreError, is_full
from .manifest import HEADER, LIMIT, Manifest, inflate, spliced
from .slots import by_age, checked_key, claim, clear_away, manifest_of
from .trees import Tree
from .uploads import Uploads

KEPT_TREES = 16
KEPT_BYTES = 2 << 30
PACK_LIMIT = 64 << 20
# So many contents have to be wanted before further processes are worth it.
MANY = 4000


class Store:
    """One run's hold on the store of its machine: `snapshot` says what is wanted, `pack` and `part` bring contents,
    `build` makes the tree whole or tells what it lacks."""

    def __init__(
        self, base, run, kept_trees=KEPT_TREES, kept_bytes=KEPT_BYTES, crew=None, meanwhile=lambda: None
    ):
        """`crew` is what `Writers` need, if there are cores for more than one process. `meanwhile` is called every few
        milliseconds of work that takes long."""
        self.base = os.path.realpath(os.path.expanduser(base))
        self.run = run
        self.kept_trees = kept_trees
        self.kept_bytes = kept_bytes
        self.trees = os.path.join(self.base, "trees")
        self.attic = Attic(os.path.join(self.base, "store", "attic"))
        self._crew = crew
        self._meanwhile = meanwhile
        self._writers = None
        self._held = {}
        self._guess = self._tree = self._uploads = self._awaits_manifest = self._when_aimed = None
        try:
            os.makedirs(self.base, 0o700, exist_ok=True)
            os.makedirs(self.trees, exist_ok=True)
            os.makedirs(self.attic.root, exist_ok=True)
        except OSError as error:
            raise StoreError.of(error, "create the store") from error

    def guess(self):
        """Looks at the tree that was used last: it is probably the one that will be wanted."""
        try:
            for _, slot in by_age(self.trees)[:1]:
                if slot.claim():
                    self._guess = Tree(slot, self.attic)
                    self._guess.look()
        except OSError:
            self._forget_guess()
        if self._guess is None and self._crew is not None:
            # All of it has to be written, probably.
            from . import writer  # noqa: F401

    def _forget_guess(self):
        guess, self._guess = self._guess, None
        if guess is not None:
            guess.slot.release()

    def snapshot(self, header, blob):
        """Takes a tree of the project for a snapshot: `blob` holds its manifest, or with `base` what has to be spliced
        into the manifest of that snapshot."""
        snapshot, key = header["id"], checked_key(header["key"])
        self._awaits_manifest = snapshot
        if self._uploads is not None:
            self._uploads.pause()
        self._uploads = None
        self.settle()
        self._with_room("look at the store", self._aim, snapshot, key, header, blob)
        if self._when_aimed is not None and self.aims_at(self._when_aimed[0]):
            action, self._when_aimed = self._when_aimed[1], None
            action(self._tree)

    def _aim(self, snapshot, key, header, blob):
        manifest = self._stands(snapshot, key)
        if manifest is None:
            data = self._manifest(header, key, blob)
            if data is None:
                return
            if hashlib.sha256(data).hexdigest() != snapshot:
                if header.get("base"):
                    return
                raise StoreError("corrupt", "failed to read the manifest: it is not the one of %s" % snapshot)
            manifest = Manifest(data, meanwhile=self._meanwhile)
        self._tree = self._held.get(key) or self._claim(key)
        os.utime(self._tree.slot.side)
        self._tree.aim(manifest)
        self._meanwhile()
        self._uploads = Uploads(self._tree)
        self._awaits_manifest = None

    def _with_room(self, doing, action, *arguments):
        """Does what may need the disk; while that is full, again without what the store keeps for later."""
        while True:
            try:
                return action(*arguments)
            except OSError as error:
                if not (is_full(error) and self._make_room()):
                    raise StoreError.of(error, doing) from error

    def _make_room(self):
        """Gives up contents of the attic and trees of nobody, or else what the tree has and isn't to have. Whether there was any."""
        return bool(self._keep(0, 0)) or (self._tree is not None and self._tree.shed())

    def _stands(self, snapshot, key):
        """The manifest of a snapshot, if it is that of the tree which was looked at."""
        guess = self._guess
        if guess is not None and guess.slot.name == key and guess.base.id == snapshot:
            return guess.base
        return None

    def _manifest(self, header, key, blob):
        if not header.get("base"):
            return bytes(blob) if blob.startswith(HEADER) else inflate(blob, LIMIT, "the manifest")
        base = manifest_of(self.trees, key, header["base"])
        return None if base is None else spliced(base, header["ops"], inflate(blob, LIMIT, "the difference"))

    def _claim(self, key):
        guess, self._guess = self._guess, None
        if guess is not None and guess.slot.name != key:
            guess.slot.release()
            guess = None
        tree = self._held[key] = guess or Tree(claim(self.trees, key), self.attic)
        return tree

    def pack(self, header, blob):
        """Takes contents, one after the other, of the files that the header lists."""
        if self._awaits_manifest is not None:
            return
        tree = self._current()
        try:
            if min(header["files"], default=0) < 0:
                raise IndexError
            lengths = [tree.target.sizes[index] for index in header["files"]]
        except (IndexError, TypeError):
            raise StoreError("corrupt", "failed to store contents: nobody asked for them") from None
        data = inflate(blob, PACK_LIMIT, "contents") if header.get("z") else blob
        if sum(lengths) != len(data):
            raise StoreError("corrupt", "failed to store contents: they are not as long as they should be")
        self._with_room("store contents", self._put, tree, header["files"], data)

    def _put(self, tree, files, data):
        if not self._hand_over(tree, files, data):
            tree.put(files, data)

    def _hand_over(self, tree, files, data):
        """Lets other processes write contents, if that is worth it."""
        if self._writers is None:
            if self._crew is None or len(tree.wanted) < MANY or threading.active_count() > 1:
                return False
            from .writer import Writers

            tree.begin()
            try:
                self._writers = Writers(tree, *self._crew, self._meanwhile)
            except OSError:
                self._crew = None
                return False
        try:
            return self._writers.put(files, data)
        except StoreError as error:
            self._do_alone(error)
            self.settle()
            return False

    def _do_alone(self, error):
        """What the others had no room for stays wanted. It is written here, where room can be made."""
        if error.kind != "disk-full":
            raise error
        self._crew = None

    def settle(self):
        """Waits until what has come is written, and tells what was wrong with it."""
        writers, self._writers = self._writers, None
        if writers is None:
            return
        try:
            writers.settle()
        except StoreError as error:
            self._do_alone(error)
        finally:
            rest = writers.end()
        for files, data in rest:
            self._with_room("store contents", self._tree.put, files, data)

    def part(self, header, blob):
        """Takes a piece of one large content: bytes, or with `from` and `ops` what comes of another content."""
        if self._awaits_manifest is not None:
            return
        tree = self._current()
        index, old = header["file"], header.get("from")
        if not 0 <= index < len(tree.target) or header["offset"] < 0:
            raise StoreError("corrupt", "failed to store a content: nobody asked for it")
        data = inflate(blob, PACK_LIMIT, "a content") if header.get("z") else blob
        splice = () if old is None else (old.encode("ascii"), header["ops"])
        self._with_room("store a content", self._uploads.part, index, header["offset"], data, *splice)

    def build(self, snapshot):
        """Makes the tree whole. Returns the header of `built`, or that of `need` with what has to be sent before the next
        `build`: runs of files, and how much of some is here."""
        started = time.monotonic()
        if self._awaits_manifest == snapshot:
            return dict(t="need", id=snapshot, manifest=True), {}
        tree = self._current()
        if tree.target.id != snapshot:
            raise StoreError("corrupt", "failed to build %s: its manifest was never sent" % snapshot)
        self.settle()
        missing = self._with_room("build the tree", tree.complete, self.trees)
        try:
            if missing:
                self._uploads.pause()
                arrived = {str(index): self._uploads.arrived(index) for index in missing}
                body = {
                    "files": runs(missing),
                    "arrived": {key: size for key, size in arrived.items() if size},
                }
                return dict(t="need", id=snapshot, manifest=False), body
            self._uploads.clear()
        except OSError as error:
            raise StoreError.of(error, "build the tree") from error
        seconds = round(time.monotonic() - started, 6)
        return dict(t="built", id=snapshot, tree=tree.slot.tree, seconds=seconds), None

    def aims_at(self, snapshot):
        """Whether it is known what the snapshot consists of."""
        return self._awaits_manifest is None and self._tree is not None and self._tree.target.id == snapshot

    def when_aimed(self, snapshot, action):
        """Calls with the tree as soon as it is known what the snapshot consists of."""
        if self.aims_at(snapshot):
            action(self._tree)
        else:
            self._when_aimed = snapshot, action

    def _current(self):
        if self._tree is None:
            raise StoreError("corrupt", "failed to build the tree: its manifest was never sent")
        return self._tree

    def close(self):
        """Lets go of everything, and prunes. The trees stay for the next run."""
        self._forget_guess()
        if self._writers is not None:
            self._writers.abandon()
        if self._uploads is not None:
            self._uploads.pause()
        for tree in self._held.values():
            tree.slot.release()
        self._held.clear()
        self._tree = self._uploads = None
        try:
            self.prune()
        except OSError as error:
            raise StoreError.of(error, "prune the store") from error

    def prune(self):
        """Drops what was used least recently, trees nobody holds and contents in the attic, until the rest is small
        enough."""
        self._keep(self.kept_bytes, self.kept_trees)

    def _keep(self, kept_bytes, kept_trees):
        """How much was dropped so that no more than this, and the tree used last, is left."""
        clear_away(self.trees)
        found = [(time, int(slot.read("bytes") or 0), slot) for time, slot in by_age(self.trees)]
        found.extend(self.attic.files())
        found.sort(key=lambda each: each[0], reverse=True)
        total = trees = dropped = 0
        for _, size, what in found:
            total += size
            is_tree = not isinstance(what, bytes)
            trees += is_tree
            is_newest = is_tree and trees == 1
            if is_newest or total <= kept_bytes and (not is_tree or trees <= kept_trees):
                continue
            if is_tree:
                if not what.claim():
                    continue
                trees -= 1
                what.remove()
            else:
                remove(what)
            total, dropped = total - size, dropped + 1
        return dropped


def remove(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def runs(numbers):
    """Ascending numbers as `[first, last]` pairs."""
    found = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found
