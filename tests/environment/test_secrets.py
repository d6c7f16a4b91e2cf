"""Credentials of indexes reach neither output, nor command lines, nor any file, here and on the machine.

Command lines are looked at with every request that the index gets, while whoever asks waits for the answer.
"""

from __future__ import annotations

import base64
import os
import pathlib

import pytest

from wheels import Index, make_wheel

SECRET = "hush-4711"
IN_FORMS = [SECRET.encode(), base64.b64encode(f"user:{SECRET}".encode())]
NOWHERE = "http://127.0.0.1:9/simple/"
VERSIONS = ("python", "-c", "import apple, pear; print(apple.VERSION, pear.VERSION)")


def holds(data: bytes) -> bool:
    return any(form in data for form in IN_FORMS)


class Watched(Index):
    """An index with a password that looks around whenever somebody asks."""

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory, password=SECRET)
        self.seen = 0
        self.shown: list = []
        self.watch = self._look

    def _look(self) -> None:
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                line = (process / "cmdline").read_bytes()
            except OSError:
                continue
            self.seen += b"cloudist" in line or b"uv" in line
            if holds(line):
                self.shown.append(line)


@pytest.fixture
def watched(packages):
    index = Watched(packages)
    yield index
    index.end()


@pytest.fixture
def clean(run_on, machine, watched, tmp_path):
    """Judges what a run has left."""

    def judge(done) -> None:
        assert not holds(done.raw_out + done.raw_err), done
        for directory in (machine.directory, run_on.cache, run_on.root):
            for path in directory.rglob("*"):
                # Names, too: a cache may be sorted by addresses.
                assert not holds(os.fsencode(path.name)), path
                if path.is_file() and not path.is_symlink():
                    assert not holds(path.read_bytes()), path
        assert watched.asked and watched.seen and not watched.shown

    return judge


def test_where_it_succeeds(run, local, watched, clean):
    local.install("apple==1.0", "pear==1.0")
    done = run(*VERSIONS, PIP_INDEX_URL=watched.url).check(0)
    assert done.out == "1.0 1.0\n"
    clean(done)


def test_with_the_machines_own_pip(run, local, watched, clean):
    local.install("apple==1.0", "pear==1.0")
    done = run(*VERSIONS, options=("--env=pip",), PIP_INDEX_URL=watched.url).check(0)
    assert done.out == "1.0 1.0\n"
    clean(done)


@pytest.mark.parametrize("how", ["auto", "pip"])
def test_where_it_fails(run, local, watched, clean, tmp_path, how):
    """An installer that fails names the addresses that it has tried."""
    local.install("apple==1.0", str(make_wheel(tmp_path, "lonely", "1.0")))
    # As if it had come from an index that has it no more.
    for record in (local.python.parent.parent / "lib").glob("python*/site-packages/lonely*/direct_url.json"):
        record.unlink()
    done = run(*VERSIONS, options=(f"--env={how}",), PIP_INDEX_URL=watched.url).check(95)
    assert "lonely" in done.err, done
    clean(done)


def test_in_a_requirements_file(run, watched, clean):
    """The file names a variable; its value is put in here, and goes the way of other credentials."""
    address = watched.url.replace(SECRET, "${TOKEN}")
    wheel = f"http://user:${{TOKEN}}@{watched.host}/files/pear-1.0-py3-none-any.whl"
    (run.root / "wanted.txt").write_text(f"--index-url {address}\napple==1.0\npear @ {wheel}\n")
    done = run(*VERSIONS, options=("--env=wanted.txt",), PIP_INDEX_URL=NOWHERE, TOKEN=SECRET).check(0)
    assert done.out == "1.0 1.0\n"
    clean(done)


def test_where_wheels_are_collected_here(run, local, watched, clean, packages):
    """The machine isn't let in: it's told of an index that is nowhere, and the local pip of one that needs a password."""
    local.install("apple==1.0", "pear==1.0")
    done = run(
        *VERSIONS,
        PIP_INDEX_URL=NOWHERE,
        PIP_EXTRA_INDEX_URL=watched.url,
        PIP_RETRIES="0",
    ).check(0)
    assert done.out == "1.0 1.0\n"
    clean(done)


def test_in_a_file_of_pips(run, local, watched, clean, tmp_path):
    settings = tmp_path / "pip.conf"
    settings.write_text(f"[global]\nindex-url = {watched.url}\n")
    local.install("apple==1.0", "pear==1.0")
    done = run(*VERSIONS, PIP_CONFIG_FILE=str(settings)).check(0)
    assert done.out == "1.0 1.0\n"
    clean(done)
