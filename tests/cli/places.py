"""Real OpenSSH servers on loopback addresses, each with its own keys and its own home directory behind it.

Starts and ends them, and writes the client configuration that names them. Never touches the user's ~/.ssh.
"""

from __future__ import annotations

import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from typing import Iterable, List, Optional

from processes import MARK, all_gone, until

PROGRAM = "/usr/sbin/sshd"


def free_port(address: str) -> int:
    with socket.socket() as listener:
        listener.bind((address, 0))
        return listener.getsockname()[1]


def new_key(path: pathlib.Path) -> pathlib.Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


class Server:
    """One sshd: a machine that the user already has."""

    def __init__(self, name: str, directory: pathlib.Path, address: str) -> None:
        self.name = name
        self.address = address
        self.directory = directory
        self.port = free_port(address)
        self.home = directory / "home"
        self.home.mkdir(parents=True)
        self.mark = f"{name}-{self.port}"
        self.host_key = new_key(directory / "host_key")
        self.client_key = new_key(directory / "client_key")
        shutil.copy(directory / "client_key.pub", directory / "authorized_keys")
        self._log = directory / "log"
        (directory / "sshd_config").write_text(self._configuration())
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command([PROGRAM, "-D", "-e", "-f", str(directory / "sshd_config")]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(
            lambda: "Server listening" in self.log() or self._process.poll() is not None,
            f"sshd {name} listens",
        )
        assert self._process.poll() is None, self.log()

    def _command(self, sshd: List[str]) -> List[str]:
        return ["env", "--default-signal", *sshd]

    def _configuration(self) -> str:
        path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
        return f"""\
ListenAddress {self.address}
Port {self.port}
HostKey {self.host_key}
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
AuthorizedKeysFile {self.directory}/authorized_keys
LogLevel VERBOSE
PrintMotd no
AllowTcpForwarding yes
Subsystem sftp internal-sftp
SetEnv HOME={self.home} PATH={path} {MARK}={self.mark} PYTHONDONTWRITEBYTECODE=1
"""

    def log(self) -> str:
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    def known_hosts_line(self, key: Optional[pathlib.Path] = None) -> str:
        public = pathlib.Path(f"{key or self.host_key}.pub").read_text().split()
        return f"[{self.address}]:{self.port} {public[0]} {public[1]}\n"

    def client_configuration(self, *lines: str) -> str:
        """A `Host` block; lines given here win."""
        known = self.directory / "known_hosts"
        known.write_text(self.known_hosts_line())
        own = [
            f"HostName {self.address}",
            f"Port {self.port}",
            f"User {pwd.getpwuid(os.getuid()).pw_name}",
            f"IdentityFile {self.client_key}",
            "IdentitiesOnly yes",
            "IdentityAgent none",
            f"UserKnownHostsFile {known}",
            "GlobalKnownHostsFile /dev/null",
        ]
        return "\n  ".join([f"Host {self.name}", *lines, *own]) + "\n"

    def sessions(self) -> int:
        """How many commands it was asked to run so far."""
        return self.log().count("Starting session")

    def end(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()


class Place:
    """Where the workers of a test are: the arguments that say so, and what must be gone afterwards."""

    def __init__(self, name: str, arguments: Iterable[str], marks: Iterable[str]) -> None:
        self.name = name
        self.arguments: List[str] = list(arguments)
        self.marks = list(marks)

    def as_pytest_options(self) -> List[str]:
        return [word.replace("--", "--cd-", 1) for word in self.arguments]

    def all_gone(self) -> None:
        for mark in self.marks:
            all_gone(mark)
