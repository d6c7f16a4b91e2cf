"""Compiled code that the runner and its workers leave on the machine for those that come after them."""

import os

import pytest

from harness import Machine, Project, Run

TEST = "def test_1(): pass\n"


def run_once(base, python, name):
    """A whole run of one test; returns what stands in the directory of compiled code afterwards."""
    project = Project(base / name, python)
    project.write("test_a.py", TEST)
    machine = Machine(base).hello()
    try:
        run = Run(machine, project)
        run.file(0, "test_a.py")
        assert [outcome.passed for outcome in run.finish(1).values()] == [True]
        assert machine.hang_up() == 0
    finally:
        machine.end()
    code = base / "code"
    return {entry.name: entry for entry in os.scandir(code)} if code.is_dir() else {}


def stamps(entries):
    return {name: entry.stat().st_mtime_ns for name, entry in entries.items()}


def test_code_is_kept_once_for_the_runner_and_once_for_workers(tmp_path, python):
    first = run_once(tmp_path, python, "first")
    assert sorted(name.rpartition("-")[2] for name in first) == ["runner", "worker"]
    assert stamps(run_once(tmp_path, python, "second")) == stamps(first)


@pytest.mark.parametrize("damage", [b"", b"\0\0\0\0nonsense", None], ids=["empty", "nonsense", "bit"])
def test_damaged_code_is_compiled_anew(tmp_path, python, damage):
    kept = run_once(tmp_path, python, "first")
    whole = {name: (tmp_path / "code" / name).read_bytes() for name in kept}
    for name, content in whole.items():
        spoilt = bytearray(content)
        spoilt[len(content) // 2] ^= 1
        (tmp_path / "code" / name).write_bytes(bytes(spoilt) if damage is None else damage)
    run_once(tmp_path, python, "second")
    assert {len((tmp_path / "code" / name).read_bytes()) for name in kept} == {
        len(content) for content in whole.values()
    }


def test_a_machine_that_can_keep_nothing_works_all_the_same(tmp_path, python):
    (tmp_path / "code").write_text("in the way")
    assert run_once(tmp_path, python, "first") == {}


def test_the_oldest_code_is_dropped(tmp_path, python):
    (tmp_path / "code").mkdir()
    for number in range(20):
        old = tmp_path / "code" / ("old-%02d" % number)
        old.write_bytes(b"")
        os.utime(old, (number, number))
    kept = run_once(tmp_path, python, "first")
    assert len(kept) == 12
    assert "old-09" not in kept and "old-19" in kept
