"""uv on a machine: the one that is there, or one of a pinned version and content that is fetched or was brought.

Never runs what it has not verified.
"""

import hashlib
import html.parser
import io
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import urllib.error
import zipfile
from urllib.parse import urljoin

from .environment_index import Unreachable, open_url

SIMPLE = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
OLDEST = (0, 5)


def find_tool(desk, missing):
    """The path of a uv that works; raises `missing` if it has to be brought."""
    present = present_tool(desk)
    if present is not None:
        return present
    pinned, own = desk.request["tool"], own_place(desk)
    brought = desk.brought_tool()
    if brought:
        if brought.endswith(".whl"):
            with open(brought, "rb") as file:
                place(own, unpacked(file.read()))
        else:
            with open(brought, "rb") as file:
                place(own, file.read())
        return own
    digest = pinned["wheels"].get(platform.machine()) if sys.platform == "linux" else None
    if digest is None:
        raise missing("uv is not on this machine (%s %s)" % (sys.platform, platform.machine()))
    if not desk.access["no_index"]:
        for index in desk.access["indexes"]:
            data = fetch(desk, index, digest)
            if data is not None:
                place(own, unpacked(data))
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
    from .environment_build import Failed

    try:
        said = desk.run([path, "--version"], quiet=True)
    except Failed:
        return False
    number = re.match(r"uv (\d+)\.(\d+)", said)
    return bool(number) and tuple(map(int, number.groups())) >= OLDEST


def fetch(desk, index, digest):
    """The wheel with that digest, if the index lists it."""
    cert = desk.access.get("cert")
    page = index.rstrip("/") + "/uv/"
    try:
        with open_url(page, SIMPLE, cert) as answer:
            kind, body, base = answer.headers.get_content_type(), answer.read(), answer.geturl()
    except urllib.error.HTTPError:
        return None
    for url, hashes in files(kind, body.decode("utf-8", "replace")):
        if hashes == digest:
            break
    else:
        return None
    url = urljoin(base, url)
    own = urljoin(index, "/")
    if "@" in own and url.startswith(re.sub(r"//[^/@]*@", "//", own)):
        url = own + url[len(re.sub(r"//[^/@]*@", "//", own)) :]
    desk.say("fetching uv %s" % desk.request["tool"]["version"])
    try:
        with open_url(url, None, cert) as answer:
            data = answer.read()
    except urllib.error.HTTPError as error:
        raise Unreachable("uv could not be fetched (%d)" % error.code)
    if hashlib.sha256(data).hexdigest() != digest:
        raise Unreachable("what the index gives for uv is not what it should be")
    return data


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


def unpacked(wheel):
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".data/scripts/uv"))
        return archive.read(name)


def place(path, data):
    """Writes it whole: other runs may look for it now."""
    directory = os.path.dirname(path)
    os.makedirs(directory, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=directory)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        os.fchmod(file.fileno(), 0o755)
    os.rename(temporary, path)
