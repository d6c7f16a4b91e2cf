"""What runs leave in the history, and what `cloudist history`, `slowest` and `flaky` make of it."""

from __future__ import annotations

import contextlib
import json
import pathlib
import sqlite3

import pytest

SUITE = {
    "test_quick.py": """
        import os
        def test_sure(): pass
        def test_moody(): assert os.environ.get("MOOD") != "bad"
        """,
    "test_slow.py": """
        import time
        def test_slow(): time.sleep(0.3)
        def test_bad(): assert 0
        """,
}
RUN = ("pytest", "--provider=local", "-n", "2")


def state(cloudist) -> pathlib.Path:
    return pathlib.Path(cloudist.environment["CLOUDIST_STATE_DIR"])


def told(cloudist, *arguments, cwd):
    return json.loads(cloudist(*arguments, "--json", cwd=cwd).check(0).out)


def test_a_run_is_written_down(cloudist, project):
    root = project(SUITE)
    assert "nothing is known" in cloudist("history", cwd=root).check(0).out
    cloudist(*RUN, cwd=root).check(1)
    (run,) = told(cloudist, "history", cwd=root)
    kept = ("tests", "failed", "workers", "machines", "provider", "mode", "ending")
    assert {name: run[name] for name in kept} == {
        "tests": 4,
        "failed": 1,
        "workers": 2,
        "machines": 1,
        "provider": "local",
        "mode": "test",
        "ending": "done",
    }
    assert run["began"] < run["ended"]
    table = cloudist("history", cwd=root).check(0).out.splitlines()
    assert table[0].split()[:3] == ["run", "began", "took"] and len(table) == 2
    slowest = told(cloudist, "slowest", "-n", "1", cwd=root)
    assert [(test["nodeid"], test["measured"]) for test in slowest] == [("test_slow.py::test_slow", 1)]
    assert 0.3 <= slowest[0]["seconds"] < 10


def test_a_project_knows_nothing_of_others(cloudist, project, tmp_path):
    cloudist(*RUN, cwd=project(SUITE)).check(1)
    other = tmp_path / "other"
    other.mkdir()
    (other / "pytest.ini").write_text("[pytest]\n")
    assert told(cloudist, "history", cwd=other) == []


def test_tests_that_change_their_minds_are_told(cloudist, project):
    root = project(SUITE)
    for mood in ("good", "bad", "good"):
        cloudist(*RUN, f"--setenv=MOOD={mood}", cwd=root).check(1)
    assert told(cloudist, "flaky", cwd=root) == [
        {
            "nodeid": "test_quick.py::test_moody",
            "runs": 3,
            "failed": 1,
            "rerun": 0,
            "changes": 2,
            "last": "passed",
        }
    ]
    assert "test_quick.py::test_moody" in cloudist("flaky", cwd=root).check(0).out


def test_durations_are_exported_and_imported(cloudist, project, tmp_path):
    root = project(SUITE)
    cloudist(*RUN, cwd=root).check(1)
    assert "4 durations written to .test_durations" in cloudist("history", "export", cwd=root).check(0).err
    written = json.loads((root / ".test_durations").read_text())
    assert written == json.loads(cloudist("history", "export", "-", cwd=root).check(0).out)
    assert sorted(written) == [
        "test_quick.py::test_moody",
        "test_quick.py::test_sure",
        "test_slow.py::test_bad",
        "test_slow.py::test_slow",
    ]
    elsewhere = {"CLOUDIST_STATE_DIR": str(tmp_path / "elsewhere")}
    done = cloudist("history", "import", cwd=root, env=elsewhere).check(0)
    assert "4 durations taken over" in done.err
    again = cloudist("history", "export", "-", cwd=root, env=elsewhere).check(0)
    assert json.loads(again.out) == written
    replaced = b'{"test_quick.py::test_sure": 7.5, "test_new.py::test_x": 1}'
    cloudist("history", "import", "-", cwd=root, env=elsewhere, input=replaced).check(0)
    slowest = cloudist("slowest", "--json", cwd=root, env=elsewhere).check(0).out
    known = {test["nodeid"]: test["seconds"] for test in json.loads(slowest)}
    assert known["test_quick.py::test_sure"] == 7.5 and known["test_new.py::test_x"] == 1
    assert known["test_slow.py::test_slow"] == written["test_slow.py::test_slow"]


@pytest.mark.parametrize("text", [b"", b"[1, 2]", b'{"a.py::x": "long"}', b"\xff\xfe"])
def test_what_is_no_durations_is_refused_by_name(cloudist, project, text):
    root = project({**SUITE, "durations.json": text})
    done = cloudist("history", "import", "durations.json", cwd=root).check(90)
    assert "durations.json" in done.err
    assert told(cloudist, "slowest", cwd=root) == []


def test_a_file_that_is_not_there_is_named(cloudist, project):
    done = cloudist("history", "import", cwd=project(SUITE)).check(90)
    assert "failed to read .test_durations: No such file" in done.err


def test_the_longest_file_goes_first(cloudist, project):
    names = [f"test_{letter}.py" for letter in "abcd"]
    root = project({name: "def test_it(): pass" for name in names})
    durations = {f"{name}::test_it": seconds for name, seconds in zip(names, (1, 30, 5, 60))}
    (root / ".test_durations").write_text(json.dumps(durations))
    cloudist("pytest", "--provider=local", "-n", "1", "--mode=file", "--collect=stream", cwd=root).check(0)
    with contextlib.closing(sqlite3.connect(state(cloudist) / "history.sqlite3")) as history:
        order = history.execute(
            "SELECT nodeid FROM outcomes JOIN tests ON tests.id = test ORDER BY position"
        ).fetchall()
    assert [nodeid for (nodeid,) in order] == [f"test_{letter}.py::test_it" for letter in "dbca"]


@pytest.mark.parametrize("how", ["option", "variable", "file"])
def test_what_failed_goes_before_the_longest(cloudist, project, how):
    root = project(
        {
            "pytest.ini": "[pytest]\naddopts = -p no:randomly\n",
            "test_a.py": "import time\ndef test_long(): time.sleep(0.5)\n",
            "test_b.py": "import time\ndef test_longer(): time.sleep(0.8)\n",
            "test_c.py": "def test_bad(): assert 0\n",
        }
    )
    run = ("pytest", "--provider=local", "-n", "1", "--", "-v", "--tb=no")
    cloudist(*run, cwd=root).check(1)
    if how == "file":
        (root / "pyproject.toml").write_text("[tool.cloudist]\nfailed-first = true\n")
    env = {"CLOUDIST_FAILED_FIRST": "1"} if how == "variable" else {}
    options = ("--failed-first",) if how == "option" else ()
    done = cloudist(run[0], *options, *run[1:], cwd=root, env=env).check(1)
    ended = [line.split("::")[0] for line in done.out.splitlines() if " PASSED" in line or " FAILED" in line]
    assert ended[:3] == ["test_c.py", "test_a.py", "test_b.py"]


def test_two_runs_at_once_are_both_written_down(cloudist, project):
    root = project(SUITE)
    runs = [cloudist.start(*RUN, cwd=root) for _ in range(2)]
    for run in runs:
        done = cloudist.finish(run)
        done.check(1)
        assert "history" not in done.out + done.err, done
    assert [run["tests"] for run in told(cloudist, "history", cwd=root)] == [4, 4]
    (sure,) = (test for test in told(cloudist, "slowest", cwd=root) if test["nodeid"].endswith("sure"))
    assert sure["measured"] == 2


def test_an_interrupted_run_is_written_down(cloudist, project):
    root = project({"test_x.py": "import os, signal\ndef test_a(): pass\ndef test_b(): assert 0\n"})
    cloudist("pytest", "--provider=local", "-n", "1", "--", "-x", cwd=root).check(1)
    (run,) = told(cloudist, "history", cwd=root)
    assert (run["ending"], run["failed"]) == ("stopped", 1)


@pytest.mark.parametrize("choice", [(), ("--num-workers", "auto")], ids=["number", "auto"])
def test_a_damaged_history_is_set_aside_and_the_run_goes_on(cloudist, project, choice):
    root = project(SUITE)
    path = state(cloudist) / "history.sqlite3"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this was never a database\n" * 1000)
    done = cloudist(*RUN, *choice, cwd=root).check(1)
    assert "the history was damaged; it is now" in done.out + done.err
    assert [run["tests"] for run in told(cloudist, "history", cwd=root)] == [4]
    (aside,) = path.parent.glob("history.sqlite3-damaged-*")
    assert aside.read_bytes().startswith(b"this was never a database")


def test_a_history_damaged_in_its_middle_is_set_aside(cloudist, project):
    root = project(SUITE)
    cloudist(*RUN, cwd=root).check(1)
    path = state(cloudist) / "history.sqlite3"
    # All pages but the first: it opens, and then can't be read.
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    done = cloudist(*RUN, cwd=root).check(1)
    assert "the history was damaged" in done.out + done.err
    assert [run["tests"] for run in told(cloudist, "history", cwd=root)] == [4]


def test_the_verbs_set_a_damaged_history_aside_too(cloudist, project):
    root = project(SUITE)
    path = state(cloudist) / "history.sqlite3"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * 5000)
    done = cloudist("slowest", cwd=root).check(0)
    assert "the history was damaged; it is now" in done.err and "nothing is known" in done.out


def test_a_history_of_a_newer_cloudist_is_left_alone(cloudist, project):
    root = project(SUITE)
    cloudist(*RUN, cwd=root).check(1)
    path = state(cloudist) / "history.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as history:
        history.execute("PRAGMA user_version = 99")
    done = cloudist(*RUN, cwd=root).check(1)
    assert "nothing is known of earlier runs" in done.out and "this run is not in the history" in done.err
    refused = cloudist("history", cwd=root).check(90)
    assert "help: use that version" in refused.err
    with contextlib.closing(sqlite3.connect(path)) as history:
        assert history.execute("SELECT count(*) FROM runs").fetchone() == (1,)
