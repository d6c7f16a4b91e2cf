"""Fixtures for the tests over an EC2 account on loopback. Needs root on Linux and OpenSSH's server."""

from __future__ import annotations

import os
import pathlib
import sys
from typing import Callable, Iterator

import pytest

from client import Client
from rig import Rig


def pytest_configure(config: pytest.Config) -> None:
    if sys.platform != "linux" or os.getuid() != 0:
        raise pytest.UsageError(
            "the machines of the EC2 rig are made of namespaces: run this as root on Linux"
        )
    if not os.access("/usr/sbin/sshd", os.X_OK):
        raise pytest.UsageError("/usr/sbin/sshd is not there or cannot be executed")


@pytest.fixture
def rigs() -> Iterator[Callable[..., Rig]]:
    """Makes rigs that end with the test."""
    made = []

    def make(*arguments: object, **named: object) -> Rig:
        made.append(Rig(*arguments, **named))
        return made[-1]

    yield make
    for rig in made:
        rig.close()
    assert not [problem for rig in made for problem in rig.problems]


@pytest.fixture
def rig(rigs: Callable[..., Rig]) -> Rig:
    return rigs()


@pytest.fixture
def client(rig: Rig, tmp_path: pathlib.Path) -> Client:
    return Client(rig, tmp_path)
