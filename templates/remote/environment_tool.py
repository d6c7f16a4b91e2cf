"""uv on a machine: the one that is there, or one of a pinned version and content that is fetched or was brought.

A wheel is unpacked while it arrives. Never runs what it has not verified.
"""

import hashlib
import html.parser
import http.client
import json
import os
import platform
import re
import shutil
import struct
import sys
import tempfile
import urllib.error
import zlib
from urllib.parse import urljoin

from .environment_desk import Failed
from .environment_index import Unreachable, open_url

SIMPLE = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
OLDEST = (0, 5)

# The head of a file in a zip archive: signature, version, flags, method, time, date, CRC, packed size, size, lengths.
HEAD = struct.Struct("<4s5H3I2H")
SIZES_FOLLOW = 8
DEFLATED = 8
PIECE = 1 << 18


def find_tool(desk, missing):
    """The path of a uv that works; raises `missing` if it has to be brought."""
    present = present_tool(desk)
    if present is not None:
        return present
    pinned, own = desk.request["tool"], own_place(desk)
    brought = desk.brought_tool()
    if brought:
        with open(brought, "rb") as file, Placing(own) as target:
            if brought.endswith(".whl"):
                extract(file, target)
            else:
                shutil.copyfileobj(file, target, PIECE)
        return own
    digest = pinned["wheels"].get(platform.machine()) if sys.platform == "linux" else None
    if digest is None:
        raise missing("uv is not on this machine (%s %s)" % (sys.platform, platform.machine()))
    if not desk.access["no_index"]:
        for index in desk.access["indexes"]:
            if fetch(desk, index, digest, own):
                return own
    raise missing("no index has uv %s" % pinned["version"])


def own_place(desk):
    return os.path.join(desk.places.base, "tools", "uv-" + desk.request["tool"]["version"], "uv")


def present_tool(desk):
    """The uv that is here and works, if there is one."""
    for path in (own_place(desk), shutil.which("uv")):
        if path and os.access(path, os.X_OK) and works(desk, path):
            return path
    return None


def works(desk, path):
    try:
        said = desk.run([path, "--version"], quiet=True)
    except Failed:
        return False
    number = re.match(r"uv (\d+)\.(\d+)", said)
    return bool(number) and tuple(map(int, number.groups())) >= OLDEST


def fetch(desk, index, digest, own):
    """Puts the program of the wheel with that digest in its place; false if the index doesn't list it."""
    cert = desk.access.get("cert")
    page = index.rstrip("/") + "/uv/"
    try:
        with open_url(page, SIMPLE, cert) as answer:
            kind, body, base = answer.headers.get_content_type(), answer.read(), answer.geturl()
    except urllib.error.HTTPError:
        return False
    for url, hashes in files(kind, body.decode("utf-8", "replace")):
        if hashes == digest:
            break
    else:
        return False
    url = urljoin(base, url)
    # Files beside the index are asked for with its credentials.
    host = urljoin(index, "/")
    bare = re.sub(r"//[^/@]*@", "//", host)
    if "@" in host and url.startswith(bare):
        url = host + url[len(bare) :]
    desk.say("fetching uv %s" % desk.request["tool"]["version"])
    try:
        with open_url(url, None, cert) as answer, Placing(own) as target:
            wheel = Hashed(answer)
            extract(wheel, target)
            while wheel.read(PIECE):
                pass
            if wheel.digest.hexdigest() != digest:
                raise Unreachable("what the index gives for uv is not what it should be")
    except urllib.error.HTTPError as error:
        raise Unreachable("uv could not be fetched (%d)" % error.code)
    return True


def files(kind, body):
    """The addresses on an index page, each with its SHA-256."""
    if kind.endswith("json"):
        for file in json.loads(body).get("files", ()):
            yield file["url"], file.get("hashes", {}).get("sha256")
        return
    links = Links()
    links.feed(body)
    for link in links.found:
        url, _, fragment = link.partition("#")
        yield url, fragment[len("sha256=") :] if fragment.startswith("sha256=") else None


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        link = dict(attributes).get("href") if tag == "a" else None
        if link:
            self.found.append(link)


class Hashed:
    """What comes from an index, read once, and the digest of what was read."""

    def __init__(self, file):
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size):
        try:
            data = self._file.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable("uv could not be fetched: %s" % (str(error) or type(error).__name__))
        self.digest.update(data)
        return data


def extract(wheel, target):
    """Writes the program that is in a wheel, which is read once and from its beginning."""
    while True:
        head = wheel.read(HEAD.size)
        if len(head) < HEAD.size or head[:4] != b"PK\3\4":
            raise Unreachable("there is no program in what should be the wheel of uv")
        _, _, flags, method, _, _, _, packed, _, name, extra = HEAD.unpack(head)
        if flags & SIZES_FOLLOW or method not in (0, DEFLATED):
            raise Unreachable("the wheel of uv is packed in a way that can't be read as it comes")
        wanted = wheel.read(name + extra)[:name].endswith(b".data/scripts/uv")
        inflate = zlib.decompressobj(-zlib.MAX_WBITS) if method == DEFLATED else None
        while packed:
            piece = wheel.read(min(packed, PIECE))
            if not piece:
                raise Unreachable("the wheel of uv ends too soon")
            packed -= len(piece)
            if wanted:
                target.write(inflate.decompress(piece) if inflate else piece)
        if wanted:
            return


class Placing:
    """A file that gets its name when it is whole, since other runs may look for it now."""

    def __init__(self, path):
        self._path = path
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor, self._temporary = tempfile.mkstemp(dir=os.path.dirname(path))
        self._file = os.fdopen(descriptor, "wb")

    def __enter__(self):
        return self._file

    def __exit__(self, kind, error, trace):
        with self._file:
            os.fchmod(self._file.fileno(), 0o755)
        if kind is None:
            os.rename(self._temporary, self._path)
        else:
            os.unlink(self._temporary)
