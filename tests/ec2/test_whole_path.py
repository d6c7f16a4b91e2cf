"""The whole path, from a suite to its results: twenty rented machines, and an account that looks as before."""

from __future__ import annotations

import re

import pytest

from renter import ONE_WORKER_EACH, SCRIPTS, in_pytest, outcomes, summary

SUITE = {f"tests/test_{letter}.py": f"""
        import pytest

        @pytest.fixture(scope="module")
        def resource():
            return {{"name": "{letter}"}}

        @pytest.mark.parametrize("n", range(12))
        def test_n(n, resource):
            print("n is", n)
            assert resource["name"] != "c" or n != 7

        @pytest.mark.skip(reason="not today")
        def test_skipped(): pass

        @pytest.mark.xfail(reason="known")
        def test_known(): assert False

        def test_broken_fixture(no_such_fixture): pass
        """ for letter in "abcdefghij"}


@pytest.mark.parametrize("caller", ["pytest --cloudist", "cloudist pytest"])
def test_twenty_machines(renters, caller):
    renter = renters()
    renter.project(SUITE)
    plain = renter.plain("-v")
    options = ("--num-workers=20", *ONE_WORKER_EACH)
    if caller == "cloudist pytest":
        done = renter.pytest(*options, args=("-v",))
    else:
        done = renter.hook("-v", *in_pytest(*options))
    done.check(plain.exit)
    assert outcomes(done) == outcomes(plain) and len(outcomes(plain)) == 150
    assert summary(done) == summary(plain) == "1 failed, 119 passed, 10 skipped, 10 xfailed, 10 errors"
    assert len(renter.launched()) == 20
    assert {instance.reason[0] for instance in renter.launched()} == {"Client.UserInitiatedShutdown"}
    (bill,) = re.findall(r"^cloudist: \d+ machines for .*$", done.out, re.MULTILINE)
    # A machine is billed for a minute at least.
    market = renter.rig.account.market
    spot = sum(market.spot_price(instance.type, instance.zone) for instance in renter.launched()) / 60
    assert re.fullmatch(
        rf"cloudist: 20 machines for 0\.33 machine-hours: \$0\.\d+ \(spot \${spot:.3f}, disk \$0\.\d+, "
        r"addresses \$0\.\d+\); on-demand would have cost about \$0\.\d+",
        bill,
    ), (bill, spot)
    renter.nothing_left()


def test_the_first_machine_works_before_the_last_one_is_there(renters, tmp_path):
    """The late machines boot only when a test has already had its result."""
    renter = renters()
    renter.project({"test_a.py": """
                import pytest
                @pytest.mark.parametrize("n", range(30))
                def test_n(n): pass
                """})
    renter.rig.faults.never_boots(skip=1)
    process = renter.start("pytest", "--num-workers=4", *ONE_WORKER_EACH, "--", "-v")
    renter.hear(process, "PASSED")
    states = [instance.state for instance in renter.launched()]
    assert states == ["running", "pending", "pending", "pending"]
    done = renter.finish(process).check(0)
    assert len(outcomes(done)) == 30
    renter.nothing_left()


def test_any_command(renters):
    renter = renters()
    renter.project({"data.txt": "from here\n"})
    script = 'echo "$CLOUDIST_WORKER_INDEX $(cat data.txt) $(hostname)"'
    done = renter.run("ssh-run", "-n3", *ONE_WORKER_EACH, "--", "sh", "-c", script).check(0)
    lines = sorted(done.out.splitlines())
    assert [line.rpartition(" ")[0] for line in lines] == [f"[{n}] {n} from here" for n in range(3)]
    assert len({line.rpartition(" ")[2] for line in lines}) == 3
    assert "cloudist: 3 machines for " in done.err
    renter.nothing_left()


def test_two_runs_at_once_take_nothing_from_each_other(renters):
    renter = renters()
    command = ("ssh-run", "-n2", *ONE_WORKER_EACH, "--", "hostname")
    runs = [renter.start(*command) for _ in range(3)]
    hosts = [line.split()[1] for run in runs for line in renter.finish(run).check(0).out.splitlines()]
    assert len(set(hosts)) == 6
    renter.nothing_left()


def test_the_interpreter_on_the_machines_is_theirs(renters):
    renter = renters()
    renter.project(
        {"test_a.py": f"import sys\ndef test_a(): assert sys.executable.startswith({str(SCRIPTS)!r})"}
    )
    renter.pytest("-n1").check(0)
    renter.nothing_left()
