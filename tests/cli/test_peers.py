"""Several machines: what goes out from here, and what they have from each other."""

from __future__ import annotations

import os
import re

import pytest

from places import Server

MACHINES = 4
PAYLOAD = 2 << 20


@pytest.fixture
def machines(tmp_path):
    """Machines that know nothing of each other, and a client configuration for them."""
    started = []
    try:
        for number in range(MACHINES):
            (tmp_path / f"m{number}").mkdir()
            started.append(Server(f"m{number}", tmp_path / f"m{number}", f"127.0.0.{number + 1}"))
        path = tmp_path / "ssh_config_of_many"
        path.write_text("\n".join(server.client_configuration() for server in started))
        yield started, {"CLOUDIST_SSH_CONFIG": str(path)}
    finally:
        for server in started:
            server.end()


@pytest.fixture
def sent(cloudist, project, machines):
    """Runs a command everywhere; answers with what it took from here, and what machines had from each other."""

    def run(*options):
        servers, environment = machines
        root = project({"data.bin": os.urandom(PAYLOAD), "tests/test_a.py": "def test_a(): pass\n"})
        hosts = ",".join(server.name for server in servers)
        done = cloudist(
            "ssh-run",
            f"-n{MACHINES}",
            f"--hosts={hosts}",
            "--timings",
            *options,
            "--",
            "cksum data.bin",
            cwd=root,
            env=environment,
        ).check(0)
        sums = set(re.findall(r"\] (\d+ \d+) data.bin", done.out))
        assert len(sums) == 1 and str(PAYLOAD) in sums.pop(), done
        sent = [int(number) for number in re.findall(r"sent (\d+) bytes", done.err)]
        between = [int(number) for number in re.findall(r"(\d+) bytes from other machines", done.err)]
        assert len(sent) == MACHINES, done.err
        return sum(sent), sum(between)

    return run


def test_the_payload_leaves_once(sent):
    sent_here, between = sent()
    assert PAYLOAD < sent_here < 1.2 * PAYLOAD
    assert between >= (MACHINES - 1) * PAYLOAD


def test_it_leaves_once_for_each_machine_if_that_is_wished(sent):
    sent_here, between = sent("--peers=off")
    assert sent_here > MACHINES * PAYLOAD and between == 0


def test_a_peer_run_of_pytest(cloudist, project, machines):
    servers, environment = machines
    tests = "".join(f"def test_{n}(): assert len(open('data.bin', 'rb').read()) == {PAYLOAD}\n" for n in range(20))
    root = project({"data.bin": os.urandom(PAYLOAD), "tests/test_a.py": tests, "tests/test_b.py": tests})
    hosts = ",".join(server.name for server in servers)
    done = cloudist("pytest", f"-n{MACHINES}", f"--hosts={hosts}", cwd=root, env=environment).check(0)
    assert "40 passed" in done.out, done
