"""The local environment of a test, and runs that mirror it on a machine."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import uuid

from places import Server
from tool import Done, Tool


class Local:
    """A virtual environment here, and what is in it."""

    def __init__(self, directory: pathlib.Path, fresh: pathlib.Path, packages: pathlib.Path) -> None:
        """A copy of a fresh one: its scripts are of no use, its interpreter finds what is here."""
        self.python = directory / "bin" / "python"
        self._packages = packages
        shutil.copytree(fresh, directory, symlinks=True)

    def install(self, *what: str) -> None:
        pip = [
            str(self.python),
            "-m",
            "pip",
            "install",
            "-q",
            "--no-index",
            "--no-deps",
            "--no-build-isolation",
        ]
        subprocess.run([*pip, "--find-links", str(self._packages), *what], check=True)


class Run:
    """Runs commands on a machine with the local environment mirrored there."""

    def __init__(self, directory: pathlib.Path, local: Local) -> None:
        self.root = directory / "project"
        self.root.mkdir(parents=True)
        (self.root / "pytest.ini").write_text("[pytest]\n")
        self.cache = directory / "cache"
        self._directory, self._local = directory, local

    def __call__(self, machine: Server, *words: str, options=(), **variables: str) -> Done:
        config = self._directory / f"ssh_config-{machine.name}"
        config.write_text(machine.client_configuration())
        tool = Tool(self.cache, uuid.uuid4().hex, CLOUDIST_SSH_CONFIG=str(config))
        env = {"CLOUDIST_ENV": None, "PIP_CONFIG_FILE": os.devnull, **variables}
        command = ("ssh-run", "-n1", f"--hosts={machine.name}", f"--local-python={self._local.python}")
        return tool(*command, *options, "--", *words, cwd=self.root, env=env, patience=120)
