"""Fixtures for the tests of the command line: the tool, projects, and places for workers.

CLOUDIST_BIN names the program under test. Every test also fails if a process of its run outlives it.
"""

from __future__ import annotations

import os
import pathlib
import textwrap
import uuid
from typing import Callable, Dict, Iterator, Union

import pytest

from places import PROGRAM, Place, Server
from processes import all_gone
from tool import BINARY, Tool

Files = Dict[str, Union[str, bytes]]


def pytest_configure(config: pytest.Config) -> None:
    for path in (BINARY, PROGRAM):
        if not os.access(path, os.X_OK):
            raise pytest.UsageError(f"{path} is not there or cannot be executed")
    if os.getuid() == 0:
        pathlib.Path("/run/sshd").mkdir(exist_ok=True)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dict[str, Server]]:
    """Two machines, `one` and `two`, that know nothing of each other."""
    addresses = {"one": "127.0.0.1", "two": "127.0.0.2"}
    started: Dict[str, Server] = {}
    try:
        for name, address in addresses.items():
            started[name] = Server(name, tmp_path_factory.mktemp(name), address)
        yield started
    finally:
        for server in started.values():
            server.end()


@pytest.fixture
def ssh_config(servers: Dict[str, Server], tmp_path: pathlib.Path) -> Callable[..., pathlib.Path]:
    """Writes a client configuration from blocks; without any, one that reaches both servers."""

    def write(*blocks: str) -> pathlib.Path:
        path = tmp_path / "ssh_config"
        chosen = blocks or tuple(server.client_configuration() for server in servers.values())
        path.write_text("\n".join(chosen))
        return path

    return write


@pytest.fixture
def cloudist(
    cache: pathlib.Path, ssh_config: Callable[..., pathlib.Path], servers: Dict[str, Server]
) -> Iterator[Tool]:
    """The tool. Whatever it started must be gone when the test is over."""
    tool = Tool(cache, uuid.uuid4().hex, CLOUDIST_SSH_CONFIG=str(ssh_config()))
    yield tool
    for mark in (tool.mark, *(server.mark for server in servers.values())):
        all_gone(mark)


@pytest.fixture(params=["local", "sshd"])
def place(request: pytest.FixtureRequest, cloudist: Tool, servers: Dict[str, Server]) -> Place:
    """One machine, by either provider."""
    if request.param == "local":
        return Place("local", ["--provider=local"], [cloudist.mark])
    return Place("sshd", ["--hosts=one"], [cloudist.mark, servers["one"].mark])


@pytest.fixture
def project(tmp_path: pathlib.Path) -> Callable[[Files], pathlib.Path]:
    """Writes a project; every project is the root of its own."""

    def write(files: Files) -> pathlib.Path:
        root = tmp_path / "project"
        root.mkdir(exist_ok=True)
        for name, content in {
            "pytest.ini": "[pytest]\naddopts = -p no:randomly -p no:cacheprovider\n",
            **files,
        }.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(
                content if isinstance(content, bytes) else textwrap.dedent(content).lstrip("\n").encode()
            )
        return root

    return write
