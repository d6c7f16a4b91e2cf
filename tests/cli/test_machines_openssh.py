"""OpenSSH's own ssh, scp, sftp and rsync reach machines through the written configuration."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
from typing import Callable, List

import pytest

from machines import Watched, watched
from places import Place
from tool import Tool


@pytest.fixture
def run(place: Place, cloudist: Tool, project: Callable[..., pathlib.Path]):
    with watched(cloudist, place, project) as run:
        yield run


@pytest.fixture
def configuration(run: Watched, tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "machines"
    path.write_text(run("ssh-config").check(0).out)
    return path


def call(words: List[str], **options) -> subprocess.CompletedProcess:
    return subprocess.run(words, capture_output=True, timeout=60, stdin=subprocess.DEVNULL, **options)


def test_ssh_runs_commands_and_forwards(run: Watched, configuration: pathlib.Path) -> None:
    machine = f"cloudist-{run.ps()[0]['machine']}"
    done = call(["ssh", "-F", str(configuration), machine, "echo $HOME; exit 3"])
    assert done.returncode == 3 and done.stdout.strip(), done
    full = f"{machine}.{run.ps()[0]['run']}"
    done = call(["ssh", "-tt", "-F", str(configuration), full, "tty && stty size"])
    assert done.returncode == 0 and b"/dev/pts/" in done.stdout, done


def test_a_host_key_that_is_not_the_expected_one_is_refused(
    run: Watched, configuration: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    key = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    text = configuration.read_text()
    known = tmp_path / "known"
    for line in text.splitlines():
        if "UserKnownHostsFile" in line:
            real = pathlib.Path(line.split('"')[1]).read_text().split()[0]
            known.write_text(f"{real} {key}\n")
            text = text.replace(line, f"  UserKnownHostsFile {known}")
    configuration.write_text(text)
    done = call(["ssh", "-F", str(configuration), f"cloudist-{run.ps()[0]['machine']}", "true"])
    assert done.returncode == 255 and b"HOST IDENTIFICATION HAS CHANGED" in done.stderr, done


def test_scp_and_sftp_copy_files(run: Watched, configuration: pathlib.Path, tmp_path: pathlib.Path) -> None:
    machine = f"cloudist-{run.ps()[0]['machine']}"
    there = f"{run.ps()[0]['directory']}/copied"
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    (source / "below" / "file").write_bytes(os.urandom(1_500_000))
    (source / "below" / "file").chmod(0o741)
    options = ["-F", str(configuration), "-q"]
    for protocol in ([], ["-O"]):
        done = call(["scp", *protocol, *options, "-rp", str(source), f"{machine}:{there}"])
        assert done.returncode == 0, done
        back = tmp_path / f"back{len(protocol)}"
        done = call(["scp", *protocol, *options, "-rp", f"{machine}:{there}", str(back)])
        assert done.returncode == 0, done
        copied = back / "below" / "file"
        assert copied.read_bytes() == (source / "below" / "file").read_bytes()
        assert copied.stat().st_mode & 0o777 == 0o741
        shutil.rmtree(back)
        call(["ssh", "-F", str(configuration), machine, f"rm -r {there}"])
    batch = tmp_path / "batch"
    batch.write_text(
        f"mkdir {there}\ncd {there}\nput {source}/below/file one\nrename one two\nsymlink two link\n"
        f"ls -l\nget link {tmp_path}/got\nchmod 600 two\nrm link\nrm two\ncd ..\nrmdir {there}\n"
    )
    done = call(["sftp", *options, "-b", str(batch), machine])
    assert done.returncode == 0, done
    assert (tmp_path / "got").read_bytes() == (source / "below" / "file").read_bytes()


def test_rsync_brings_directories(run: Watched, configuration: pathlib.Path, tmp_path: pathlib.Path) -> None:
    machine, there = run.ps()[0]["machine"], run.ps()[0]["directory"]
    shell = f"ssh -F {configuration}"
    done = call(["rsync", "-a", "-e", shell, f"cloudist-{machine}:{there}/", str(tmp_path / "all")])
    assert done.returncode == 0, done
    assert (tmp_path / "all" / "data.txt").read_text() == "from here\n"
    done = call(["rsync", "-a", "-e", shell, f"{tmp_path}/all/", f"cloudist-{machine}:{there}/again"])
    assert done.returncode == 0, done
    assert run("exec", "--", "cat", "again/data.txt").check(0).out == "from here\n"


def test_ssh_knows_machines_for_good_once_they_are_installed(
    cloudist: Tool, project: Callable[..., pathlib.Path], tmp_path: pathlib.Path
) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    own = home / ".ssh" / "config"
    own.write_text("Host other\n  Port 7\n")
    own.chmod(0o600)
    cloudist.environment["HOME"] = str(home)
    for _ in range(2):
        cloudist("ssh-config", "--install", cwd=tmp_path).check(0)
    text = own.read_text()
    assert text.count("Include") == 1 and text.endswith("Host other\n  Port 7\n")
    assert own.stat().st_mode & 0o777 == 0o600
    place = Place("local", ["--provider=local"], [cloudist.mark])
    with watched(cloudist, place, project) as run:
        # ssh itself finds the home directory elsewhere.
        done = call(["ssh", "-F", str(own), f"cloudist-{run.ps()[0]['machine']}", "echo reached"])
        assert done.stdout == b"reached\n", done
    cloudist("ssh-config", "--remove", cwd=tmp_path).check(0)
    assert own.read_text() == "Host other\n  Port 7\n"
