"""Files and directories of a tree, handled so that nothing a test has left there leads astray.

Never follows a link inside a tree. Knows no manifest.
"""

import fcntl
import os
import stat
import sys

PIECE = 1 << 20
FICLONE = 0x40049409
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def stamp(status):
    """What tells a file that nobody touched from one that somebody did: every change of a file changes its ctime, and
    one within the same tick of the clock its mtime, which isn't the time of any clock."""
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def stamps(root, paths):
    """The stamp of each file below a directory, None for those that can't be looked at."""
    found, look = [], os.stat
    try:
        # By paths from here the system has less to walk.
        root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return [None] * len(paths)
    try:
        for path in paths:
            try:
                found.append(stamp(look(path, dir_fd=root, follow_symlinks=False)))
            except OSError:
                found.append(None)
    finally:
        os.close(root)
    return found


def create(path, mode):
    """A descriptor of a new file, in the place of whatever is there."""
    try:
        descriptor = os.open(path, CREATE, mode)
    except FileExistsError:
        remove(path)
        descriptor = os.open(path, CREATE, mode)
    return descriptor


def write_new(path, data, mode, mtime):
    """Makes a file of a content, in the place of whatever is there. Returns its stamp."""
    descriptor = create(path, mode)
    try:
        write_all(descriptor, data)
        return settled(descriptor, mode, mtime)
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(descriptor)


def settled(descriptor, mode, mtime):
    """Gives an open file its mode and times. Returns its stamp."""
    os.utime(descriptor, ns=(mtime, mtime))
    status = os.fstat(descriptor)
    if status.st_mode & 0o7777 != mode:
        os.fchmod(descriptor, mode)
        status = os.fstat(descriptor)
    return stamp(status)


def write_all(descriptor, data):
    written = os.write(descriptor, data)
    if written < len(data):
        view = memoryview(data)[written:]
        while view:
            view = view[os.write(descriptor, view) :]


def sha256(data=b""):
    """A hash begun with `data`. Not before it is needed: OpenSSL, which comes with it, takes longer to load than all of the runner."""
    import hashlib

    return hashlib.sha256(data)


def hasher_of(descriptor, size=0):
    """A hasher that has taken what is in an open file from where it stands, and how much that was. More may follow; with
    the `size` of all, on threads if that is worth it."""
    from .digests import Hasher

    hasher, taken = Hasher(size), 0
    try:
        for piece in iter(lambda: os.read(descriptor, PIECE), b""):
            hasher.update(piece)
            taken += len(piece)
    except OSError:
        hasher.close()
        raise
    return hasher, taken


def digest_of(descriptor, size=0):
    """The name of the content of an open file, from where that stands."""
    return hasher_of(descriptor, size)[0].name()


def restore(path, digest, size, mode, mtime):
    """Hashes a file that looks touched. Unchanged, it gets back its mode and times, and a new stamp."""
    try:
        descriptor = os.open(path, READ)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size != size or status.st_nlink != 1:
            return None
        if digest_of(descriptor, size) != digest:
            return None
        return settled(descriptor, mode, mtime)
    finally:
        os.close(descriptor)


def copy(source, target, digest, size, mode, mtime):
    """Makes `target` a file of its own with the content of `source`, if that has this hash, and returns its stamp. A
    reflink where the file system has them, never a hard link: tests write into their files."""
    try:
        source = os.open(source, READ)
    except OSError:
        return None
    try:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            return None
        target_descriptor = create(target, mode)
        try:
            if _transfer(source, target_descriptor, size) == digest:
                return settled(target_descriptor, mode, mtime)
            os.unlink(target)
            return None
        except OSError:
            os.unlink(target)
            raise
        finally:
            os.close(target_descriptor)
    finally:
        os.close(source)


def _transfer(source, target, size):
    cloned = size >= 4 * PIECE and _clone(source, target)
    if cloned:
        # What was cloned is what has to be right.
        again = os.open("/dev/fd/%d" % target, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return digest_of(again, size)
        finally:
            os.close(again)
    from .digests import Hasher

    hasher = Hasher(size)
    try:
        for piece in iter(lambda: os.read(source, PIECE), b""):
            hasher.update(piece)
            write_all(target, piece)
        return hasher.name()
    finally:
        hasher.close()


def _clone(source, target):
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(target, FICLONE, source)
        return True
    except OSError:
        return False


def is_directory(path):
    """Whether there is a directory, no link to one, in which its owner can work."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) and mode & 0o700 == 0o700


def is_link(path, target):
    try:
        return os.readlink(path) == target
    except OSError:
        return False


def make_directory(path):
    try:
        return os.mkdir(path)
    except FileExistsError:
        pass
    if is_directory(path):
        return
    if not os.path.islink(path) and os.path.isdir(path):
        return os.chmod(path, 0o755)
    os.unlink(path)
    os.mkdir(path)


def make_link(path, target):
    if not is_link(path, target):
        remove(path)
        os.symlink(target, path)


def remove(path):
    """Removes whatever is at a path, also what a test has made unwritable; links are not followed."""
    try:
        mode = os.lstat(path).st_mode
        if not stat.S_ISDIR(mode):
            return os.unlink(path)
        if mode & 0o700 != 0o700:
            os.chmod(path, 0o700)
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    remove(entry.path)
                else:
                    os.unlink(entry.path)
        os.rmdir(path)
    except (FileNotFoundError, NotADirectoryError):
        pass


def remove_strays(root, below, leaves, directories):
    """Leaves byte code where its source stays: it counts only while the source's time and size are those
    it was made from, and these follow the content."""
    for entry in list(os.scandir(root + b"/" + below)):
        path = below + entry.name
        is_dir = entry.is_dir(follow_symlinks=False)
        if not is_dir:
            if path not in leaves:
                remove(entry.path)
        elif entry.name == b"__pycache__" and path not in directories:
            for name in os.listdir(entry.path):
                if below + name.partition(b".")[0] + b".py" not in leaves:
                    remove(entry.path + b"/" + name)
        elif path in directories and is_directory(entry.path):
            remove_strays(root, path + b"/", leaves, directories)
        else:
            remove(entry.path)
