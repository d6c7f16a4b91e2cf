"""`cloudist replay`: what a run printed, printed again; and what is kept of runs for it."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
from typing import Callable, List

import pytest

from machines import Watched
from places import Place
from tool import BINARY, Done, Tool, ended

Project = Callable[..., pathlib.Path]

SUITE = """
    import sys
    import warnings
    import pytest

    @pytest.mark.parametrize("n", range(12))
    def test_many(n):
        pass

    def test_fails():
        print("\\u20ac and \\u05e9, as printed")
        warnings.warn("once")
        assert [1, 2] == [1, 3]

    @pytest.mark.skip
    def test_skipped():
        pass
"""
TWO = ["-n", "2"]


def replayed(cloudist: Tool, root: pathlib.Path, *arguments: str, **variables: str) -> Done:
    return cloudist("replay", *arguments, cwd=root, env=dict(variables))


def same(one: Done, other: Done) -> None:
    assert (one.out, one.err) == (other.out, other.err)
    assert (one.raw_out, one.raw_err) == (other.raw_out, other.raw_err)


def test_a_run_is_printed_again_byte_for_byte(place: Place, cloudist: Tool, project: Project) -> None:
    root = project({"test_some.py": SUITE})
    options = ["--keep-on-failure=1m", "--", "-v", "-rA", "--color=yes"]
    run = cloudist("pytest", *place.arguments, *TWO, *options, cwd=root).check(1)
    assert "stays for 1m" in run.err and "\x1b[31m" in run.out
    same(replayed(cloudist, root).check(0), run)
    cloudist("down", "--all", cwd=root).check(0)


@pytest.mark.parametrize("capture", ["fd", "no"])
def test_a_run_of_the_plugin_is_printed_again(cloudist: Tool, project: Project, capture: str) -> None:
    files = {"test_some.py": SUITE, "test_bad.py": "import nothere_at_all\n", "conftest.py": "print('loaded')\n"}
    root = project(files)
    cloudist("init", cwd=root).check(0)
    command = ["python", "-m", "pytest", "--cloudist=test", "--cd-provider=local", f"--capture={capture}"]
    run = cloudist(cwd=root, command=command, env={"CLOUDIST_BIN": BINARY}).check(2)
    assert "nothere_at_all" in run.out and "Interrupted: 1 error during collection" in run.out
    printed = replayed(cloudist, root).check(0)
    # What conftests print while pytest starts is printed before anybody listens.
    assert run.out.endswith(printed.out) and printed.out.startswith("=")
    assert printed.err == run.err


def on_a_terminal(cloudist: Tool, root: pathlib.Path, *arguments: str) -> str:
    terminal = cloudist.terminal(*arguments, cwd=root)
    terminal.expect(r"\Z|$")
    said = terminal.read()
    ended(terminal)
    return str(terminal.before or "") + said if not said else said


def test_colours_are_those_of_the_terminal(cloudist: Tool, project: Project) -> None:
    root = project({"test_some.py": SUITE})
    shown = on_a_terminal(cloudist, root, "pytest", "--provider=local", *TWO, "--progress=off")
    assert "\x1b[31m" in shown and "100%" in shown
    assert on_a_terminal(cloudist, root, "replay") == shown
    plain = replayed(cloudist, root).check(0).out
    assert "\x1b" not in plain and "\r" not in plain
    assert "collected 14 items\n" in plain.replace(" / ", " ") or "14 items" in plain
    assert "1 failed, 12 passed, 1 skipped, 1 warning in " in plain.splitlines()[-2] + plain.splitlines()[-1]
    coloured = replayed(cloudist, root, FORCE_COLOR="1").check(0).out
    assert coloured.replace("\n", "\r\n") == shown
    cloudist.environment["NO_COLOR"] = "1"
    without = on_a_terminal(cloudist, root, "replay")
    del cloudist.environment["NO_COLOR"]
    assert without == re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", shown)


def test_a_command_is_printed_again_with_all_its_bytes(place: Place, cloudist: Tool, project: Project) -> None:
    root = project({"speaks.sh": "printf 'a\\0\\377\\r\\n'; printf 'to stderr' >&2; exit 7\n"})
    run = cloudist("ssh-run", *place.arguments, "-n", "1", "--", "sh", "speaks.sh", cwd=root).check(7)
    assert run.raw_out == b"a\0\xff\r\n"
    same(replayed(cloudist, root).check(0), run)


def test_commands_on_several_workers_are_in_history_and_report(cloudist: Tool, project: Project) -> None:
    root = project({"test_some.py": "def test_one():\n    pass\n"})
    cloudist("pytest", "--provider=local", cwd=root).check(0)
    line = "echo on $CLOUDIST_WORKER_INDEX; test $CLOUDIST_WORKER_INDEX = 0"
    options = ["--provider=local", "-n", "2", "--fetch", "*.py", "--report", "out", "--", "sh", "-c", line]
    run = cloudist("ssh-run", *options, cwd=root).check(1)
    assert "[1] on 1" in run.out and "report in out/report.html" in run.err
    newest, older = json.loads(cloudist("history", "--json", cwd=root).check(0).out)
    assert (newest["mode"], newest["workers"], newest["failed"], newest["tests"]) == ("ssh-run", 2, 1, 0)
    assert "CLOUDIST_WORKER_INDEX" in newest["command"] and older["command"] == "pytest"
    same(replayed(cloudist, root, str(newest["id"])).check(0), run)
    assert "1 passed" in replayed(cloudist, root, str(older["id"])).check(0).out
    same(replayed(cloudist, root, "out/events.jsonl").check(0), run)
    same(replayed(cloudist, root, "out").check(0), run)
    page = (root / "out" / "report.html").read_text()
    assert "The command failed on 1 of 2 workers" in page and "ended with status 1" in page
    listed = cloudist("report", "--list", cwd=root).check(0).out.splitlines()
    assert len(listed) == 2 and "ssh-run -- sh -c" in listed[0]
    refused = cloudist("rerun", str(newest["id"]), cwd=root).check(90)
    assert "ran no tests, but a command" in refused.err
    # Without a number, the last run of tests is meant.
    assert "1 passed" in cloudist("rerun", "--provider=local", cwd=root).check(0).out


def test_what_can_not_be_replayed_is_told(cloudist: Tool, project: Project) -> None:
    root = project({"test_some.py": SUITE})
    assert "no run's events are kept yet" in replayed(cloudist, root).check(90).err
    cloudist("pytest", "--provider=local", "--keep-events=0", cwd=root).check(1)
    assert "no run's events are kept yet" in replayed(cloudist, root).check(90).err
    assert "are not kept" in replayed(cloudist, root, "1").check(90).err
    assert "the history has no run 77" in replayed(cloudist, root, "77").check(90).err
    assert "neither a run nor a file nothing" in replayed(cloudist, root, "nothing").check(90).err
    assert "holds no events of a run" in replayed(cloudist, root, "test_some.py").check(90).err
    assert "a number above 0" in replayed(cloudist, root, "--speed", "0").check(2).err


def test_it_is_printed_at_a_pace_and_to_whom_reads(cloudist: Tool, project: Project) -> None:
    root = project({"test_some.py": SUITE})
    run = cloudist("pytest", "--provider=local", cwd=root).check(1)
    same(replayed(cloudist, root, "--speed", "50").check(0), run)
    command = f"{BINARY} replay --speed 1 | head -n 1; echo ${{PIPESTATUS[0]}} >&2"
    cut = cloudist(cwd=root, command=["bash", "-c", command]).check(0)
    assert cut.out == run.out.splitlines(keepends=True)[0] and cut.err == "141\n"


def test_of_much_output_the_beginning_and_the_end_are_kept(cloudist: Tool, project: Project) -> None:
    root = project({})
    line = "echo begin; head -c 30000000 /dev/zero | tr '\\0' x; echo; echo end"
    run = cloudist("ssh-run", "--provider=local", "-n", "1", "--", "sh", "-c", line, cwd=root).check(0)
    assert len(run.raw_out) == 30_000_011
    printed = replayed(cloudist, root).check(0)
    assert printed.out.startswith("begin\nxxx") and printed.out.endswith("xxx\nend\n")
    assert 8 << 20 < len(printed.raw_out) <= 16 << 20
    assert f"here {30_000_011 - len(printed.raw_out)} bytes were printed that are not kept" in printed.err


def test_a_run_keeps_its_events_while_others_end(cloudist: Tool, place: Place, project: Project) -> None:
    from machines import SUITE as WAITS

    if place.name != "local":
        pytest.skip("it is about this computer's files")
    root = project({"test_gate.py": WAITS, "test_other.py": "def test_one():\n    pass\n"})
    run = Watched(cloudist, place, root)
    cloudist("pytest", "--provider=local", "--keep-events=0", "--", "test_other.py", cwd=root).check(0)
    same(run.finish().check(1), replayed(cloudist, root).check(0))


def test_a_run_that_was_killed_is_printed_as_far_as_it_came(cloudist: Tool, project: Project) -> None:
    root = project({"test_some.py": SUITE})
    cloudist("pytest", "--provider=local", cwd=root).check(1)
    (kept,) = (pathlib.Path(cloudist.environment["CLOUDIST_STATE_DIR"]) / "events").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) * 2 // 3])
    cut = replayed(cloudist, root).check(0)
    assert "test session starts" in cut.out and "the run broke off here" in cut.err
