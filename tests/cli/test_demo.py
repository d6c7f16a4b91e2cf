"""`cloudist demo`: the first thing a newcomer runs. Needs a package index that pip can reach."""

from __future__ import annotations


def test_the_demo(cloudist, tmp_path):
    first = cloudist("demo", cwd=tmp_path, patience=240).check(0)
    assert "1 failed" in first.out and "FAILED" in first.out
    assert "Next:" in first.out and "cloudist-demo" in first.out and "--cloudist=test" in first.out
    python = tmp_path / "cloudist-demo/.venv/bin/python"
    made = python.lstat().st_mtime_ns
    again = cloudist("demo", "-n2", cwd=tmp_path).check(0)
    assert "1 failed" in again.out and "2 workers" in again.out
    assert python.lstat().st_mtime_ns == made, "the environment is used again"
    assert "8 passed" in again.out or " passed" in again.out


def test_a_directory_that_cannot_be_made(cloudist, tmp_path):
    (tmp_path / "file").touch()
    done = cloudist("demo", "--dir", "file/demo", cwd=tmp_path)
    assert done.exit == 90 and "help: " in done.err and "--dir" in done.err, done
