"""Real OpenSSH servers with a home each, seen through a distance, and the client configuration that names them.

The servers are those of tests/cli. Never touches the user's ~/.ssh.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "cli"))

from places import Server  # noqa: E402

ADDRESS = "127.0.0.1"


class Machines:
    """`count` machines, `rtt` seconds away, over one uplink of `rate` bytes a second (0: as fast as it goes)."""

    def __init__(self, home: Path, count: int, rtt: float, rate: float = 0) -> None:
        # A new place each time, and nothing is deleted: file systems are slow to create for a while after a mass deletion.
        home.mkdir(parents=True, exist_ok=True)
        self.home = home = Path(tempfile.mkdtemp(dir=home))
        self._forgotten = 0
        self.servers: List[Server] = [Server(f"m{n}", home / f"m{n}", ADDRESS) for n in range(count)]
        ports = [server.port for server in self.servers]
        self._proxy = None
        if rtt or rate:
            pairs = [f"{ADDRESS}:0={ADDRESS}:{port}" for port in ports]
            command = [sys.executable, str(HERE / "distance.py"), str(rtt), str(rate), *pairs]
            self._proxy = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            ports = [int(port) for port in self._proxy.stdout.readline().split()]
            assert len(ports) == count
        blocks = []
        for server, port in zip(self.servers, ports):
            # What the client sees is the distant end.
            server.port = port
            blocks.append(server.client_configuration())
        self.configuration = home / "ssh_config"
        self.configuration.write_text("\n".join(blocks))

    @property
    def names(self) -> List[str]:
        return [server.name for server in self.servers]

    def sent(self) -> int:
        """Bytes that have gone out through the uplink so far."""
        self._proxy.stdin.write("\n")
        self._proxy.stdin.flush()
        return int(self._proxy.stdout.readline())

    def forget(self) -> None:
        """Gives the machines new homes."""
        for server in self.servers:
            self._forgotten += 1
            server.home.rename(server.directory / f"forgotten-{self._forgotten}")
            server.home.mkdir()

    def end(self) -> None:
        if self._proxy is not None:
            self._proxy.stdin.close()
            self._proxy.wait()
        for server in self.servers:
            server.end()
