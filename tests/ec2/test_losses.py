"""Machines that are lost in the middle of a run, and such that are about to be taken away."""

from __future__ import annotations

import collections
import time

import pytest

from renter import ONE_WORKER_EACH, outcomes, summary, until

MACHINES, FILES, TESTS_EACH = 16, 40, 50


def many(seconds):
    """2,000 tests that take so long each."""
    return {f"test_{number:02}.py": f"""
        import time
        import pytest

        @pytest.mark.parametrize("n", range({TESTS_EACH}))
        def test_n(n):
            time.sleep({seconds})
            assert n != {number} + 5
        """ for number in range(FILES)}


MANY = many(0.01)

BEGINNING_TOGETHER = """
    import os, subprocess, time
    import pytest

    @pytest.fixture(scope="session", autouse=True)
    def at_work():
        with subprocess.Popen(["sleep", "600"]) as shown:
            while not os.path.exists("/run/rig/go"):
                time.sleep(0.01)
            shown.kill()
    """

DRAINED = {
    "conftest.py": """
        import os, pathlib
        import pytest

        @pytest.fixture(scope="session", autouse=True)
        def of_the_session():
            yield
            pathlib.Path("/run/rig/told/teardown").touch()
        """,
    **{f"test_{letter}.py": """
            import os, pathlib, subprocess, time
            import pytest

            @pytest.mark.parametrize("n", range(10))
            def test_n(n):
                told = pathlib.Path("/run/rig/told")
                while not os.access(told, os.W_OK):
                    time.sleep(0.01)
                (told / f"{pathlib.Path(__file__).stem}-{n}").touch()
                while not os.path.exists("/run/rig/go"):
                    time.sleep(0.01)
            """ for letter in "abcd"},
}


def node(told):
    """The node id of a test that was told of as test_a-3."""
    file, _, number = told.partition("-")
    return f"{file}.py::test_n[{number}]"


def test_a_third_of_the_machines_is_lost(renter, capsys):
    """Two crash, two fall silent, one is interrupted: every test has one outcome, and its own."""
    # Those that are lost must still have something to do by then.
    renter.project({**many(0.03), "conftest.py": BEGINNING_TOGETHER})
    process = renter.start("pytest", f"-n{MACHINES}", *ONE_WORKER_EACH, "--", "-v")
    renter.at_work("sleep 600", MACHINES)
    began = time.monotonic()
    renter.let_go()
    # Those that come in their place wait for nobody.
    renter.rig.on_call("*", lambda call: renter.let_go(), when="after")
    renter.hear(process, "[ 30%]")
    ids = [instance.id for instance in renter.launched()]
    for identity in ids[:2]:
        renter.rig.crash(identity)
    for identity in ids[2:4]:
        renter.rig.lose(identity)
    renter.rig.interrupt(ids[4], notice=3)
    done = renter.finish(process, patience=120).check(1)
    with capsys.disabled():
        print(f" [2,000 tests, 5 of 16 machines lost: {time.monotonic() - began:.1f} s]", end="")
    found = outcomes(done)
    assert len(found) == FILES * TESTS_EACH
    failed = {node for node, word in found.items() if word == "FAILED"}
    assert failed == {f"test_{number:02}.py::test_n[{number + 5}]" for number in range(FILES)}
    assert collections.Counter(found.values()) == {"FAILED": FILES, "PASSED": FILES * (TESTS_EACH - 1)}
    assert summary(done) == f"{FILES} failed, {FILES * (TESTS_EACH - 1)} passed"
    untold = [identity for identity in ids[:5] if identity not in done.out]
    assert not untold, f"losses that were not told\n{done}"
    assert MACHINES < len(renter.launched()) <= MACHINES + 5
    renter.nothing_left()


def test_a_machine_that_is_about_to_be_taken_away_is_drained(renter):
    """The running test counts, what was queued runs elsewhere, the session ends there, another machine comes."""
    renter.project(DRAINED)
    kept = {}

    def told(instance):
        """What tests and fixtures said on the machine."""
        if instance.state != "running":
            return kept.get(instance.id, set())
        place = instance.machine.directory / "told"
        if not place.is_dir():
            place.mkdir()
            place.chmod(0o777)
        return {path.name for path in place.iterdir()}

    def keep(call=None):
        for instance in renter.launched():
            kept[instance.id] = told(instance)

    renter.rig.on_call("TerminateInstances", keep)
    renter.rig.on_call("DeleteFleets", keep)
    process = renter.start("pytest", "-n2", *ONE_WORKER_EACH, "--", "-v")
    until(lambda: sum(bool(told(one)) for one in renter.launched()) == 2, "a test runs on each machine", 60)
    leaving, _ = renter.launched()
    renter.rig.interrupt(leaving.id, notice=120)
    renter.rig.wait_call("CreateFleet", count=2)
    (running,) = told(leaving)

    def let_others_go():
        for one in renter.launched()[1:]:
            if one.state == "running":
                told(one)
                (one.machine.directory / "go").touch()

    def elsewhere():
        let_others_go()
        return set().union(*map(told, renter.launched()[1:])) - {"teardown"}

    until(lambda: len(elsewhere()) == 39, "what was queued runs elsewhere", 60)
    (leaving.machine.directory / "go").touch()
    done = renter.finish(process).check(0)
    assert kept[leaving.id] == {running, "teardown"}
    assert outcomes(done)[node(running)] == "PASSED" and summary(done) == "40 passed"
    replacement = renter.launched()[2]
    assert f"{leaving.id} will be taken away" in done.out and len(renter.launched()) == 3
    assert leaving.reason[0] == replacement.reason[0] == "Client.UserInitiatedShutdown"
    renter.nothing_left()


@pytest.mark.parametrize("how", ["crash", "lose", "reclaim"])
def test_the_only_machine_is_lost(renter, how):
    """Another one does all that was not done yet."""
    renter.project(MANY)
    process = renter.start(
        "pytest", "-n1", *ONE_WORKER_EACH, "--", "-v", *[f"test_0{n}.py" for n in range(4)]
    )
    renter.hear(process, "[ 30%]")
    getattr(renter.rig, how)(renter.launched()[0].id)
    done = renter.finish(process).check(1)
    assert len(outcomes(done)) == 200 and summary(done) == "4 failed, 196 passed"
    assert len(renter.launched()) == 2
    renter.nothing_left()


def test_a_frozen_machine_counts_as_lost(renter):
    renter.project(MANY)
    process = renter.start(
        "pytest", "-n2", *ONE_WORKER_EACH, "--", "-v", *[f"test_0{n}.py" for n in range(4)]
    )
    renter.hear(process, "[ 30%]")
    frozen = renter.launched()[0].id
    renter.rig.freeze(frozen)
    done = renter.finish(process, patience=120).check(1)
    assert len(outcomes(done)) == 200 and frozen in done.out
    renter.nothing_left()


def test_machines_that_all_vanish_end_the_run(renter):
    """Replacements are not without end."""
    renter.project(MANY)
    renter.rig.faults.vanishes()
    done = renter.hook("--cd-num-workers=2", *[one.replace("--", "--cd-", 1) for one in ONE_WORKER_EACH])
    assert done.exit == 91 and "help: " in done.out + done.err, done
    assert len(renter.launched()) <= 12
    renter.nothing_left()


def test_a_command_is_not_run_again_on_another_machine(renter):
    process = renter.start("ssh-run", "-n2", *ONE_WORKER_EACH, "--", "echo began; sleep 600")
    renter.at_work("sleep 600", 2)
    lost, other = renter.launched()
    renter.rig.crash(lost.id)
    renter.hear(process, "began")
    renter.rig.interrupt(other.id, notice=1)
    done = renter.finish(process).check(91)
    assert done.out.count("began") <= 2 and lost.id in done.err and other.id in done.err, done
    assert len(renter.launched()) == 2
    renter.nothing_left()
