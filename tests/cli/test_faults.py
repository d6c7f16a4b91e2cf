"""Command lines and surroundings that are wrong: a clear word each, never a backtrace."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import time

import pytest

from tool import BINARY


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["ssh-run"],
        ["ssh-run", "--no-such", "--", "x"],
        ["pytest", "--fetch", "x"],
        ["pytest", "tests"],
        ["init", "--what"],
    ],
)
def test_a_command_line_that_makes_no_sense(cloudist, project, arguments):
    done = cloudist(*arguments, cwd=project({})).check(2)
    assert "Usage: " in done.err and done.out == ""


@pytest.mark.parametrize("command", ["pytest", "ssh-run", "demo", "plugin-path"])
def test_a_cache_that_cannot_be_written(cloudist, project, tmp_path, command):
    (tmp_path / "file").touch()
    rest = {"ssh-run": ["--", "echo", "ran"], "demo": ["--dir", str(tmp_path / "file" / "demo")]}.get(
        command, []
    )
    env = {"CLOUDIST_CACHE_DIR": str(tmp_path / "file" / "cache")}
    done = cloudist(command, *rest, cwd=project({"test_a.py": "def test_a(): pass"}), env=env)
    assert done.exit in range(90, 98), done
    done.check_no_fault()
    assert str(tmp_path / "file") in done.err, done
    if command != "plugin-path":
        assert "help: " in done.err, done


@pytest.mark.parametrize("command", ["pytest", "ssh-run"])
def test_without_a_python(cloudist, project, command, tmp_path):
    rest = ["--", "true"] if command == "ssh-run" else []
    done = cloudist(command, *rest, cwd=project({}), env={"PATH": str(tmp_path)}).check(95)
    assert "python3" in done.err and "help: " in done.err
    done = cloudist(command, "--local-python", "/no/such/python", *rest, cwd=project({})).check(95)
    assert "/no/such/python" in done.err, done


def test_without_a_home(cloudist, project):
    done = cloudist("ssh-run", "-n1", "--", "echo", "ran", cwd=project({}), env={"HOME": None}).check(0)
    assert done.out == "ran\n"
    nowhere = {"HOME": None, "CLOUDIST_CACHE_DIR": None, "XDG_CACHE_HOME": None}
    for run in (["ssh-run", "--", "true"], ["pytest"], ["plugin-path"]):
        done = cloudist(*run, cwd=project({}), env=nowhere)
        assert done.exit in range(90, 98) and "CLOUDIST_CACHE_DIR" in done.err, done
        done.check_no_fault()


def test_in_a_directory_that_is_gone(cloudist, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    for arguments in ("ssh-run -- true", "pytest", "init"):
        command = ["sh", "-c", f"rmdir {gone}; {BINARY} {arguments}; status=$?; mkdir {gone}; exit $status"]
        done = cloudist(command=command, cwd=gone)
        assert done.exit in range(90, 98), done
        assert "directory" in done.err, done
        done.check_no_fault()


def test_an_interpreter_without_pytest(cloudist, project, tmp_path):
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    root = project({"test_a.py": "def test_a(): pass"})
    for place in ("--provider=local", "--hosts=one"):
        done = cloudist("pytest", place, "--python", str(bare / "bin/python"), cwd=root).check(95)
        text = done.out + done.err
        assert "pytest" in text and "--cd-python" in text and "help: " in text, done
        done.check_no_fault()
    done = cloudist("pytest", "--python", "/no/such/python", cwd=root).check(95)
    assert "/no/such/python" in done.out + done.err, done
    done = cloudist("pytest", "--local-python", str(bare / "bin/python"), cwd=root)
    assert done.exit in range(90, 98) and "pytest" in done.err and "help: " in done.err, done


def test_results_that_nobody_reads(cloudist, project):
    root = project(
        {"test_a.py": "import pytest\n@pytest.mark.parametrize('n', range(50))\ndef test_n(n): pass"}
    )
    process = cloudist.start("pytest", "--", "-v", cwd=root)
    process.stdout.close()
    process.wait(60)
    assert b"panicked" not in process.stderr.read()
    process.stderr.close()


def test_a_project_that_cannot_be_read(cloudist, tmp_path):
    root = tmp_path / "odd"
    root.mkdir()
    (root / "pyproject.toml").mkdir()
    done = cloudist("ssh-run", "--", "true", cwd=root)
    assert done.exit in (0, 90), done
    done.check_no_fault()


def test_two_runs_at_once(cloudist, project):
    root = project({"a.txt": "a"})
    runs = [cloudist.start("ssh-run", "-n2", "--", "cat", "a.txt", cwd=root) for _ in range(4)]
    for run in runs:
        assert cloudist.finish(run).check(0).out.count("a") == 2


def test_a_run_is_over_soon(cloudist, project):
    root = project({})
    cloudist("ssh-run", "-n1", "--", "true", cwd=root).check(0)
    began = time.monotonic()
    cloudist("ssh-run", "-n1", "--", "true", cwd=root).check(0)
    assert time.monotonic() - began < 10
