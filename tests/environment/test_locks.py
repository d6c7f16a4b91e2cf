"""An environment from a lock file: every kind, the versions that it says, and refusal of what has another content."""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess

import pytest

LIST = (
    "python",
    "-c",
    "import importlib.metadata as m; "
    "print(sorted((d.metadata['Name'], d.version) for d in m.distributions() if d.metadata['Name'] in ('apple', 'pear', 'plum')))",
)
PYPROJECT = """
[project]
name = "own"
version = "0.1"
requires-python = ">=3.8"
dependencies = ["apple==1.0", "plum ; sys_platform == 'win32'"]

[dependency-groups]
dev = ["pear<2"]
"""
LOCKED = [("apple", "1.0"), ("pear", "1.0")]
"""What all locks here say for this platform; an index alone would give newer ones."""


class Project:
    """A project with dependencies, and the tools that lock them, over one index."""

    def __init__(self, root: pathlib.Path, index, uv: pathlib.Path, packages: pathlib.Path) -> None:
        self.root, self._index, self._uv, self._packages = root, index, uv, packages
        (root / "pyproject.toml").write_text(PYPROJECT)

    def digest(self, name: str, version: str) -> str:
        return hashlib.sha256(
            (self._packages / f"{name}-{version}-py3-none-any.whl").read_bytes()
        ).hexdigest()

    def uv(self, *words: str) -> None:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "UV_DEFAULT_INDEX": self._index.url,
            "UV_CACHE_DIR": str(self.root.parent / "uv-cache"),
            "UV_PYTHON_DOWNLOADS": "never",
        }
        subprocess.run([str(self._uv), *words], cwd=self.root, env=env, check=True)

    def uv_lock(self) -> str:
        self.uv("lock", "-q")
        return "uv.lock"

    def pylock(self) -> str:
        self.uv("lock", "-q")
        self.uv("export", "-q", "--format=pylock.toml", "-o", "pylock.toml")
        (self.root / "uv.lock").unlink()
        return "pylock.toml"

    def hashed(self) -> str:
        self.uv("lock", "-q")
        self.uv("export", "-q", "--no-emit-project", "-o", "requirements-dev.txt")
        (self.root / "uv.lock").unlink()
        assert "--hash=sha256:" in (self.root / "requirements-dev.txt").read_text()
        return "requirements-dev.txt"

    def poetry(self) -> str:
        """As poetry 2 writes it."""
        packages = []
        for name, version, group, marker in (
            ("apple", "1.0", "main", ""),
            ("pear", "1.0", "dev", ""),
            ("plum", "2.0", "main", 'markers = "sys_platform == \\"win32\\""\n'),
        ):
            packages.append(
                f'[[package]]\nname = "{name}"\nversion = "{version}"\ndescription = ""\noptional = false\n'
                f'python-versions = "*"\ngroups = ["{group}"]\n{marker}files = [\n'
                f'    {{file = "{name}-{version}-py3-none-any.whl", hash = "sha256:{self.digest(name, version)}"}},\n]\n'
            )
        metadata = '[metadata]\nlock-version = "2.1"\npython-versions = ">=3.8"\ncontent-hash = "0"\n'
        (self.root / "poetry.lock").write_text("\n".join(packages + [metadata]))
        return "poetry.lock"

    def pdm(self) -> str:
        """As pdm 2 writes it."""
        parts = [
            '[metadata]\ngroups = ["default", "dev"]\nlock_version = "4.5.0"\ncontent_hash = "sha256:0"\n'
        ]
        parts.append('[[metadata.targets]]\nrequires_python = ">=3.8"\n')
        for name, version, group, marker in (
            ("apple", "1.0", "default", ""),
            ("pear", "1.0", "dev", ""),
            ("plum", "2.0", "default", "marker = 'sys_platform == \"win32\"'\n"),
        ):
            parts.append(
                f'[[package]]\nname = "{name}"\nversion = "{version}"\nsummary = ""\ngroups = ["{group}"]\n{marker}files = [\n'
                f'    {{file = "{name}-{version}-py3-none-any.whl", hash = "sha256:{self.digest(name, version)}"}},\n]\n'
            )
        (self.root / "pdm.lock").write_text("\n".join(parts))
        return "pdm.lock"


@pytest.fixture
def project(run, index, uv, packages) -> Project:
    return Project(run.root, index, uv, packages)


KINDS = ("uv_lock", "pylock", "hashed", "poetry", "pdm")


@pytest.mark.parametrize("kind", KINDS)
def test_the_lock_decides(run, project, index, kind):
    name = getattr(project, kind)()
    done = run(*LIST, options=(f"--env={name}",), PIP_INDEX_URL=index.url).check(0)
    assert done.out == f"{LOCKED}\n", done


@pytest.mark.parametrize("kind", ("uv_lock", "pylock"))
def test_the_lock_of_the_project_without_its_name(run, project, index, kind):
    getattr(project, kind)()
    assert run(*LIST, options=("--env=uv",), PIP_INDEX_URL=index.url).check(0).out == f"{LOCKED}\n"


@pytest.mark.parametrize("kind", ("pylock", "poetry"))
def test_on_a_machine_that_reaches_no_index(run, project, packages, kind):
    name = getattr(project, kind)()
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple/", "PIP_RETRIES": "0"}
    done = run(*LIST, options=(f"--env={name}",), PIP_FIND_LINKS=str(packages), **nowhere).check(0)
    assert done.out == f"{LOCKED}\n", done


def test_a_uv_lock_on_a_machine_that_reaches_no_index(run, project, packages):
    """Which of its packages are for that machine is known to uv alone."""
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple/", "PIP_RETRIES": "0"}
    done = run("true", options=(f"--env={project.uv_lock()}",), PIP_FIND_LINKS=str(packages), **nowhere)
    assert "can't be reached" in done.check(95).err and "help: " in done.err, done


@pytest.mark.parametrize("kind", KINDS)
def test_another_content_than_was_locked_is_refused(run, project, machine, index, kind):
    name = getattr(project, kind)()
    lock = run.root / name
    text = lock.read_text()
    assert project.digest("pear", "1.0") in text
    lock.write_text(text.replace(project.digest("pear", "1.0"), "0" * 64))
    done = run(*LIST, options=(f"--env={name}",), PIP_INDEX_URL=index.url).check(95)
    assert "ash mismatch" in done.err and "pear" in done.err, done
    assert not list((machine.home / ".cache/cloudist/environments").glob("*/cloudist.json"))


@pytest.mark.parametrize(("kind", "how"), [*((kind, "auto") for kind in KINDS), ("hashed", "pip")])
def test_what_is_installed_is_held_to_the_locked_content(run, local, project, index, kind, how):
    local.install("apple==1.0", "pear==1.0")
    name = getattr(project, kind)()
    lock = run.root / name
    lock.write_text(lock.read_text().replace(project.digest("pear", "1.0"), "0" * 64))
    done = run(*LIST, options=(f"--env={how}",), PIP_INDEX_URL=index.url).check(95)
    assert "pear" in done.err and ("ash mismatch" in done.err or "DO NOT MATCH THE HASHES" in done.err), done


def test_a_lock_that_makes_no_sense(run, index):
    (run.root / "poetry.lock").write_text("[[package]\n")
    done = run("true", options=("--env=poetry.lock",), PIP_INDEX_URL=index.url)
    assert "poetry.lock can't be understood" in done.err, done
    done.check(95)


def test_there_has_to_be_a_lock(run, index):
    done = run("true", options=("--env=uv",), PIP_INDEX_URL=index.url).check(95)
    assert "needs a uv.lock or pylock.toml" in done.err and "help: " in done.err, done


def test_there_has_to_be_such_a_file(run, index):
    done = run("true", options=("--env=nowhere.lock",), PIP_INDEX_URL=index.url).check(95)
    assert "--cd-env=nowhere.lock: there is no such file" in done.err, done
