"""A machine whose system is its own: /etc, /usr and /var are this computer's, and what is written there goes with the machine.

Needs root on Linux. Packages for it are made here, with the tools of their kind, and served on loopback.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import pathlib
import subprocess
import threading
from typing import List

from places import Server

# $1 is a directory for the layers, $2 a script that sets the system up; the rest is what runs in it.
ENTER = """
set -eu
layers=$1 setup=$2
shift 2
mount -t tmpfs apart "$layers"
for place in etc usr var; do
    mkdir -p "$layers/$place" "$layers/work-$place"
    mount -t overlay -o "lowerdir=/$place,upperdir=$layers/$place,workdir=$layers/work-$place" apart "/$place"
done
eval "$setup"
exec "$@"
"""


class Apart(Server):
    """`setup` is run in it by a shell, before anybody can log in."""

    def __init__(self, directory: pathlib.Path, setup: str) -> None:
        self._layers, self._setup = directory / "layers", setup
        self._layers.mkdir(parents=True)
        super().__init__("apart", directory, "127.0.0.1")

    def _command(self, sshd: List[str]) -> List[str]:
        enter = ["unshare", "--mount", "sh", "-c", ENTER, "enter", str(self._layers), self._setup]
        return [*enter, *super()._command(sshd)]


class Repository:
    """A directory on loopback, and what was asked of it."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.asked: List[str] = []
        self.directory = directory
        repository = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_request(self, *_: object) -> None:
                repository.asked.append(self.path)

            def log_message(self, *_: object) -> None:
                pass

        handler = functools.partial(Handler, directory=str(directory))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def make_deb(directory: pathlib.Path, name: str, says: str) -> None:
    """A package with one program, and an index of packages that lists it."""
    tree = directory / "tree"
    program = tree / "usr" / "bin" / name
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho {says}\n")
    program.chmod(0o755)
    control = f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: none\n"
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN" / "control").write_text(control)
    package = directory / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", str(tree), str(package)], check=True)
    data = package.read_bytes()
    entry = f"{control}Filename: ./{package.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    (directory / "Packages").write_text(entry)


SPEC = """
Name: {name}
Version: 1.0
Release: 1
Summary: none
License: MIT
BuildArch: noarch
AutoReqProv: no
%description
none
%install
mkdir -p %{{buildroot}}/usr/bin
printf '#!/bin/sh\\necho {says}\\n' >%{{buildroot}}/usr/bin/{name}
chmod 755 %{{buildroot}}/usr/bin/{name}
%files
/usr/bin/{name}
"""


def make_rpm(directory: pathlib.Path, name: str, says: str) -> None:
    """The same for dnf."""
    spec = directory / f"{name}.spec"
    spec.write_text(SPEC.format(name=name, says=says))
    top = ["--define", f"_topdir {directory}/build", "--define", f"_rpmdir {directory}"]
    subprocess.run(["rpmbuild", "--quiet", "-bb", *top, str(spec)], check=True)
    subprocess.run(["createrepo_c", "--quiet", str(directory)], check=True)
