"""The projects whose own suites are run: what projects.toml says, and each one's source and virtual environment.

Keeps everything below target/compatibility, and makes it anew when its description changes. Runs no test.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path

from comparison import Explanation

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / "target" / "compatibility"
CONSTRAINTS = HERE / "constraints.txt"
INSTALLS = {"editable": ["-e"], "copy": []}


class PreparationError(Exception):
    """A project could not be brought to where its suite can run."""


@dataclass(frozen=True)
class Project:
    name: str
    version: str
    sha256: str
    brings: str
    args: list[str]
    install: str = "editable"
    extras: str = ""
    requirements: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    remove: list[str] = field(default_factory=list)
    volatile: list[str] = field(default_factory=list)
    explained: list[dict[str, str]] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return CACHE / self.name

    @property
    def source(self) -> Path:
        return self.home / "source"

    @property
    def python(self) -> Path:
        return self.home / "venv" / "bin" / "python"

    @property
    def explanations(self) -> list[Explanation]:
        return [Explanation(**item) for item in self.explained]

    @property
    def fingerprint(self) -> str:
        """Changes with all that the source and the environment are made of."""
        described = asdict(self)
        for name in ("args", "explained", "volatile", "brings"):
            del described[name]
        content = json.dumps(described, sort_keys=True) + CONSTRAINTS.read_text() + sys.version
        return hashlib.sha256(content.encode()).hexdigest()

    def prepare(self) -> None:
        stamp = self.home / "fingerprint"
        if stamp.is_file() and stamp.read_text() == self.fingerprint:
            return
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        self._unpack(self._downloaded())
        self._install()
        stamp.write_text(self.fingerprint)

    def _downloaded(self) -> Path:
        directory = CACHE / "downloads"
        directory.mkdir(parents=True, exist_ok=True)
        archive = self._archive(directory)
        if archive is None:
            wanted = f"{self.name}=={self.version}"
            _run(
                [*PIP, "download", "-q", "--no-deps", "--no-binary", self.name, "-d", str(directory), wanted]
            )
            archive = self._archive(directory)
        if archive is None:
            raise PreparationError(f"{self.name} {self.version} has no source distribution")
        return archive

    def _archive(self, directory: Path) -> Path | None:
        for archive in directory.glob("*.tar.gz"):
            if hashlib.sha256(archive.read_bytes()).hexdigest() == self.sha256:
                return archive
        return None

    def _unpack(self, archive: Path) -> None:
        with tarfile.open(archive) as file:
            file.extractall(self.home / "unpacked", filter="data")
        (top,) = (self.home / "unpacked").iterdir()
        top.rename(self.source)
        for path in self.remove:
            shutil.rmtree(self.source / path)

    def _install(self) -> None:
        environment = self.home / "venv"
        _run([sys.executable, "-m", "venv", "--without-pip", str(environment)])
        target = f"{self.source}{f'[{self.extras}]' if self.extras else ''}"
        wanted = ["pytest", *self.requirements, *INSTALLS[self.install], target]
        _run(
            [*PIP, "--python", str(self.python), "install", "-q", "-c", str(CONSTRAINTS), *wanted],
            own=self.env,
        )


PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def _run(command: list[str], own: dict[str, str] | None = None) -> None:
    environment = {**os.environ, **(own or {})}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode != 0:
        raise PreparationError(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")


def load(names: list[str]) -> list[Project]:
    with open(HERE / "projects.toml", "rb") as file:
        projects = [Project(**entry) for entry in tomllib.load(file)["project"]]
    unknown = set(names) - {project.name for project in projects}
    if unknown:
        raise SystemExit(f"projects.toml does not have: {', '.join(sorted(unknown))}")
    return [project for project in projects if not names or project.name in names]
