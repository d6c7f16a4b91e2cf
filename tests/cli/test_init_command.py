"""The init command: when it runs, what becomes of its output, and what its failure does."""

from __future__ import annotations

import pytest


def once_more(log) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.fixture
def log(tmp_path):
    return tmp_path / "init.log"


def test_once_for_a_snapshot_and_again_when_it_changes(cloudist, project, place, log):
    root = project({"a.txt": "a"})
    init = f"echo run >> {log}; echo made > made.txt"

    def run(command):
        return cloudist(
            "ssh-run", "-n1", *place.arguments, "--init-command", command, "--", "cat", "made.txt", cwd=root
        )

    assert run(init).check(0).out == "made\n"
    assert run(init).check(0).out == "made\n"
    assert once_more(log) == 1
    run(f"{init}; true").check(0)
    assert once_more(log) == 2
    (root / "a.txt").write_text("b")
    assert run(init).check(0).out == "made\n"
    assert once_more(log) == 3


def test_once_on_each_machine(cloudist, project, log):
    run = ("ssh-run", "-n4", "--hosts=one,two", "--init-command", f"echo run >> {log}", "--", "true")
    for _ in range(2):
        cloudist(*run, cwd=project({})).check(0)
        assert once_more(log) == 2


def test_it_runs_in_the_project_and_before_anything_else(cloudist, project, place):
    root = project({"sub/here.txt": ""})
    run = (
        "ssh-run",
        "-n2",
        *place.arguments,
        "--init-command",
        "test -f here.txt && touch first",
        "--",
        "test",
        "-f",
        "first",
    )
    cloudist(*run, cwd=root / "sub").check(0)


def test_its_failure_ends_the_run_with_its_last_lines(cloudist, project, place, tmp_path):
    init = "for n in $(seq 200); do echo line $n; done; echo it broke >&2; exit 3"
    run = ("ssh-run", "-n1", *place.arguments, "--init-command", init, "--", "touch", str(tmp_path / "ran"))
    for _ in range(2):
        done = cloudist(*run, cwd=project({})).check(94)
        assert "exit status 3" in done.err and "it broke" in done.err and "line 200" in done.err, done
        assert "line 7\n" not in done.err
        assert "help: " in done.err and "init-" in done.err, "says where all of the output is"
    assert not (tmp_path / "ran").exists()


def test_a_failure_in_a_test_run(cloudist, project, tmp_path):
    root = project({"test_a.py": f"def test_a(): open({str(tmp_path / 'ran')!r}, 'w')"})
    done = cloudist("pytest", "--init-command", "echo it broke; exit 5", cwd=root).check(94)
    assert "exit status 5" in done.out + done.err and "it broke" in done.out + done.err, done
    assert not (tmp_path / "ran").exists()


def test_one_machine_of_two_may_fail(cloudist, project, servers):
    root = project(
        {"test_a.py": "import pytest\n@pytest.mark.parametrize('n', range(6))\ndef test_n(n): pass"}
    )
    init = f"case $HOME in {servers['two'].home}) echo not here; exit 4;; esac"
    done = cloudist(
        "pytest", "-n2", "--hosts=one,two", "--init-command", init, "--python", "python3", cwd=root
    ).check(0)
    assert "6 passed" in done.out
    assert "not here" in done.out + done.err and "two" in done.out + done.err, done


def test_its_output_is_kept(cloudist, project, servers):
    words = "a-remarkable-line-of-output"
    run = ("ssh-run", "-n1", "--hosts=one", "--init-command", f"echo {words}", "--", "true")
    cloudist(*run, cwd=project({})).check(0)
    logs = list(servers["one"].home.glob(".cache/cloudist/logs/init-*"))
    assert any(words in log.read_text() for log in logs), logs
