"""What goes wrong while a snapshot is on its way to a machine: afterwards it is whole there, or the error is clear."""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess

import pytest

from cutting import line_to
from places import Server

MIB = 1 << 20
LARGE = 24 * MIB
# At most so much of what has gone out is lost when a connection breaks: of each of up to four channels what OpenSSH takes in
# advance and a part that hasn't arrived whole, and what is beyond a whole MiB.
LOST = (4 * (2 + 1) + 1) * MIB
SUM = "cat large.bin small/* | sha256sum"


def contents(large: int = LARGE):
    """Enough for several messages; none of it is on a machine already."""
    files = {f"small/{number:03}": os.urandom(2000) for number in range(300)}
    return {**files, "large.bin": os.urandom(large)}


def sum_of(root: pathlib.Path) -> str:
    small = sorted((root / "small").iterdir())
    return hashlib.sha256(b"".join(path.read_bytes() for path in (root / "large.bin", *small))).hexdigest()


@pytest.fixture
def machine(tmp_path, cloudist):
    """A machine of this test's own."""
    (tmp_path / "machine").mkdir()
    server = Server("apart", tmp_path / "machine", "127.0.0.1")
    configuration = tmp_path / "ssh_config_apart"
    cloudist.environment["CLOUDIST_SSH_CONFIG"] = str(configuration)
    configuration.write_text(server.client_configuration())
    yield server
    server.end()


@pytest.fixture
def line(machine, tmp_path):
    with line_to(machine) as line:
        block = machine.client_configuration(f"HostKeyAlias [127.0.0.1]:{machine.port}", f"Port {line.port}")
        (tmp_path / "ssh_config_apart").write_text(block)
        yield line


@pytest.fixture
def run(cloudist, machine):
    def run(root, command=SUM):
        return cloudist("ssh-run", "-n1", "--hosts=apart", "--", command, cwd=root)

    return run


def test_a_connection_that_is_cut_at_every_tenth(run, project, line):
    root = project(contents())
    assert sum_of(root) in run(root).check(0).out
    whole = line.sent
    for tenth in range(1, 10):
        root = project(contents())
        cut = whole * tenth // 10
        line.begin(breaks_at=cut)
        done = run(root).check(93)
        assert (
            "the connection to apart was lost" in done.err and "help: " in done.err and done.out == ""
        ), done
        line.begin()
        assert sum_of(root) in run(root).check(0).out
        assert line.sent < whole - max(0, cut - LOST) + MIB, (tenth, whole, line.sent)


def test_a_file_that_changes_while_it_is_sent(run, cloudist, project, line):
    root = project(contents(2 * LARGE))
    path = root / "large.bin"
    os.utime(path, (1, 1))
    line.begin(stands_at=2 * MIB)
    process = cloudist.start("ssh-run", "-n1", "--hosts=apart", "--", SUM, cwd=root)
    assert line.stands.wait(60)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    line.released.set()
    done = cloudist.finish(process).check(93)
    assert "large.bin" in done.err and "changed" in done.err and done.out == "", done
    assert sum_of(root) in run(root).check(0).out


def test_a_disk_that_fills_up(run, project, machine):
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs to be root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(machine.home)]
    subprocess.run(mount, check=True)
    try:
        done = run(project(contents())).check(93)
        assert "apart" in done.err and "space" in done.err and "help: " in done.err and done.out == "", done
        root = project(contents(MIB))
        assert sum_of(root) in run(root).check(0).out
    finally:
        subprocess.run(["umount", "-l", str(machine.home)], check=True)


def test_a_content_that_was_damaged_on_the_machine(run, project, machine):
    root = project({**contents(MIB), "a.txt": "a" * 5000})
    run(root, "true").check(0)
    (root / "a.txt").unlink()
    run(root, "true").check(0)
    attic = machine.home / ".cache/cloudist/store/attic"
    (kept,) = (path for path in attic.rglob("*") if path.is_file())
    damaged = kept.read_bytes()[:-1] + b"b"
    kept.write_bytes(damaged)
    (root / "a.txt").write_text("a" * 5000)
    assert run(root, "cat a.txt").check(0).out == "a" * 5000


def test_two_snapshots_of_a_project_at_once(run, cloudist, project, machine):
    root = project({**contents(MIB), "a.txt": "before"})
    gate = root.parent / "gate"
    waiting = f"cat a.txt; until [ -e {gate} ]; do sleep 0.02; done; cat a.txt"
    first = cloudist.start("ssh-run", "-n1", "--hosts=apart", "--", waiting, cwd=root)
    assert first.stdout.read(6) == b"before"
    (root / "a.txt").write_text("after")
    assert run(root, "cat a.txt").check(0).out == "after"
    gate.touch()
    assert cloudist.finish(first).check(0).out == "before"
