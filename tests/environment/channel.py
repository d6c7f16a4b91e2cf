"""A conda channel on loopback: packages that are made here, and as much of an installer as an explicit list takes.

The packages are real ones, which conda installs as well.
"""

from __future__ import annotations

import hashlib
import io
import json
import pathlib
import sys
import tarfile
from typing import Dict, List

GENERATION = "python%d.%d" % sys.version_info[:2]
SITE = f"lib/{GENERATION}/site-packages"

INSTALLER = '''#!{python}
"""`create -y -p PREFIX --file LIST`: what it takes of conda to install an explicit list."""
import hashlib, io, json, os, sys, tarfile, urllib.request

assert sys.argv[1:4] == ["create", "-y", "-p"] and sys.argv[5] == "--file" and len(sys.argv) == 7, sys.argv
prefix, listing = sys.argv[4], sys.argv[6]
lines = open(listing).read().split()
assert lines[0] == "@EXPLICIT"
os.makedirs(os.path.join(prefix, "conda-meta"))
for line in lines[1:]:
    url, _, digest = line.partition("#")
    data = urllib.request.urlopen(url).read()
    if hashlib.md5(data).hexdigest() != digest:
        sys.exit(url + " has another content")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        index = json.load(archive.extractfile("info/index.json"))
        archive.extractall(prefix, [member for member in archive if not member.name.startswith("info/")])
    name = os.path.join(prefix, "conda-meta", "%(name)s-%(version)s-%(build)s.json" % index)
    json.dump(dict(index, url=url, md5=digest), open(name, "w"))
'''


class Channel:
    """A directory with packages of one platform, and its index."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory / "linux-64"
        self.directory.mkdir()
        (directory / "noarch").mkdir()
        empty = {"info": {"subdir": "noarch"}, "packages": {}, "packages.conda": {}}
        (directory / "noarch" / "repodata.json").write_text(json.dumps(empty))
        self._index: Dict[str, dict] = {}

    def add(self, name: str, version: str, files: Dict[str, bytes], links: Dict[str, str] = {}) -> None:
        index = {
            "name": name,
            "version": version,
            "build": "0",
            "build_number": 0,
            "depends": [],
            "subdir": "linux-64",
        }
        paths = [
            {
                "_path": path,
                "path_type": "hardlink",
                "sha256": hashlib.sha256(data).hexdigest(),
                "size_in_bytes": len(data),
            }
            for path, data in files.items()
        ]
        paths += [{"_path": path, "path_type": "softlink"} for path in links]
        info = {
            "info/index.json": json.dumps(index).encode(),
            "info/files": "\n".join([*files, *links]).encode(),
            "info/paths.json": json.dumps({"paths_version": 1, "paths": paths}).encode(),
        }
        package = self.directory / f"{name}-{version}-0.tar.bz2"
        with tarfile.open(package, "w:bz2") as archive:
            for path, data in {**info, **files}.items():
                member = tarfile.TarInfo(path)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
            for path, target in links.items():
                member = tarfile.TarInfo(path)
                member.type, member.linkname = tarfile.SYMTYPE, target
                archive.addfile(member)
        data = package.read_bytes()
        digests = {"md5": hashlib.md5(data).hexdigest(), "sha256": hashlib.sha256(data).hexdigest()}
        self._index[package.name] = {**index, **digests, "size": len(data)}
        whole = {"info": {"subdir": "linux-64"}, "packages": self._index, "packages.conda": {}}
        (self.directory / "repodata.json").write_text(json.dumps(whole))

    def add_python(self) -> None:
        """This interpreter, by a link: what it finds is in the environment, since a pyvenv.cfg says so."""
        base = pathlib.Path(getattr(sys, "_base_executable", sys.executable)).resolve()
        config = f"home = {base.parent}\ninclude-system-site-packages = false\n"
        files = {"pyvenv.cfg": config.encode(), f"{SITE}/README.txt": b"packages\n"}
        links = {name: str(base) for name in ("bin/python", "bin/python3", f"bin/{GENERATION}")}
        self.add("python", "%d.%d.%d" % sys.version_info[:3], files, links)

    def add_module(self, name: str, version: str) -> None:
        info = f"{SITE}/{name}-{version}.dist-info"
        files = {
            f"{SITE}/{name}.py": f"VERSION = {version!r}\n".encode(),
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
            f"{info}/INSTALLER": b"conda\n",
        }
        files[f"{info}/RECORD"] = "".join(f"{path[len(SITE) + 1:]},,\n" for path in files).encode()
        self.add(name, version, files)

    def explicit(self, url: str, *names: str) -> str:
        lines: List[str] = ["@EXPLICIT"]
        for name, entry in self._index.items():
            if entry["name"] in names:
                lines.append(f"{url}linux-64/{name}#{entry['md5']}")
        return "\n".join(lines) + "\n"
