"""Machines on which something failed stay for a while, when asked, and end when told or when their time is over."""

from __future__ import annotations

import pathlib
from typing import Callable

from machines import machines, watched
from places import Place
from processes import until
from tool import BINARY, Tool

SUITE = """
    import os
    import pathlib
    import tempfile

    def test_fails(request):
        pathlib.Path("left.txt").write_text("what it was at")
        assert False

    def test_passes():
        pass
"""


def test_a_machine_with_a_failure_stays_until_it_is_ended(
    place: Place, cloudist: Tool, project: Callable[..., pathlib.Path]
) -> None:
    root = project({"test_some.py": SUITE})
    options = ["-n", "1", "--keep-on-failure", "--setenv=SET=here"]
    done = cloudist("pytest", *place.arguments, *options, cwd=root).check(1)
    (machine,) = machines(cloudist, root)
    assert f"{machine['machine']} stays for 30m" in done.err
    assert not machine["running"] and 0 < machine["lease_left_seconds"] <= 1800
    done = cloudist("exec", "--", "cat left.txt; echo; echo $SET", cwd=root).check(0)
    assert done.out == "what it was at\nhere\n"
    assert "kept to be looked at" in cloudist("ps", cwd=root).out
    assert "has ended" in cloudist("down", cwd=root).check(0).out
    assert machines(cloudist, root) == []
    place.all_gone()


def test_the_next_run_on_a_host_leaves_what_is_kept_alone(
    cloudist: Tool, servers: dict, project: Callable[..., pathlib.Path]
) -> None:
    root = project({"test_some.py": SUITE})
    host = ["--hosts=one", "-n", "1"]
    cloudist("pytest", *host, "--keep-on-failure", cwd=root).check(1)
    (kept,) = machines(cloudist, root)
    done = cloudist("ssh-run", *host, "--", "pwd; ls", cwd=root).check(0)
    assert kept["directory"] not in done.out and "left.txt" not in done.out
    cloudist("exec", "--", "cat", "left.txt", cwd=root).check(0)
    tree = pathlib.Path(kept["directory"]).parents[1]
    mark = tree.with_name(tree.name + ".cloudist") / "kept"
    assert mark.exists()
    cloudist("down", cwd=root).check(0)
    assert not mark.exists()


def test_without_a_failure_nothing_stays(
    place: Place, cloudist: Tool, project: Callable[..., pathlib.Path]
) -> None:
    root = project({"test_some.py": SUITE})
    options = ["-n", "1", "--keep-on-failure=1h"]
    cloudist("pytest", *place.arguments, *options, "--", "-k", "passes", cwd=root).check(0)
    assert machines(cloudist, root) == []
    place.all_gone()


def test_a_machine_that_was_kept_ends_by_itself(cloudist: Tool, project: Callable[..., pathlib.Path]) -> None:
    root = project({"test_some.py": SUITE})
    cloudist("pytest", "--provider=local", "-n", "1", "--keep-on-failure=5s", cwd=root).check(1)
    assert len(machines(cloudist, root)) == 1
    until(lambda: machines(cloudist, root) == [], "its time is over")


def test_of_two_machines_the_one_with_the_failure_stays(
    cloudist: Tool, project: Callable[..., pathlib.Path]
) -> None:
    root = project({"x.txt": ""})
    options = ["--provider=local", "-n", "2", "--keep-on-failure"]
    done = cloudist("ssh-run", *options, "--", "sh", "-c", "exit $CLOUDIST_WORKER_INDEX", cwd=root).check(1)
    (machine,) = machines(cloudist, root)
    assert f"{machine['machine']} stays" in done.err
    cloudist("down", "--all", cwd=root).check(0)


def test_machines_of_a_run_that_goes_on_are_left_to_it(
    cloudist: Tool, project: Callable[..., pathlib.Path]
) -> None:
    place = Place("local", ["--provider=local"], [cloudist.mark])
    with watched(cloudist, place, project) as run:
        assert "goes on" in run("down", run.ps()[0]["machine"]).check(91).err
        assert "no machine was kept" in run("down", "--all").check(0).err


def test_pytest_takes_the_option_with_and_without_a_duration(
    cloudist: Tool, project: Callable[..., pathlib.Path]
) -> None:
    root = project({"test_some.py": SUITE})
    cloudist("init", cwd=root).check(0)
    python, binary = ["python", "-m", "pytest", "--cloudist=test", "--cd-provider=local"], {
        "CLOUDIST_BIN": BINARY
    }
    for option in ("--cd-keep-on-failure", "--cd-keep-on-failure=1h"):
        cloudist(cwd=root, command=[*python, option], env=binary).check(1)
        assert len(machines(cloudist, root)) == 1
        cloudist("down", "--all", cwd=root).check(0)
    done = cloudist(cwd=root, command=[*python, "--cd-keep-on-failure=1s"], env=binary)
    assert "at least 5 seconds" in done.out + done.err
