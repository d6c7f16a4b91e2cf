"""Plugins of others, which take this process for an xdist controller."""

from __future__ import annotations

import re
import subprocess
from typing import List

import pytest

from suites import PATIENCE, Outcome, Suite, assert_same, normal_line


def installed(suite: Suite, module: str) -> None:
    probe = [suite.python, "-c", f"import {module}"]
    if subprocess.run(probe, capture_output=True, timeout=PATIENCE).returncode:
        pytest.skip(f"{module} is not installed for {suite.python}")


PACKAGE = {
    "pkg/__init__.py": "",
    "pkg/numbers.py": """
        def sign(x):
            if x > 0:
                return 1
            if x < 0:
                return -1
            return 0

        def never():
            return None
    """,
    "tests/test_positive.py": "from pkg.numbers import sign\ndef test_positive(): assert sign(3) == 1",
    "tests/test_negative.py": "from pkg.numbers import sign\ndef test_negative(): assert sign(-3) == -1",
}


@pytest.mark.parametrize("options", [["--cov=pkg"], ["--cov=pkg", "--cov-branch"], ["--cov=."]], ids=" ".join)
def test_coverage(suite: Suite, options: list) -> None:
    installed(suite, "pytest_cov")
    suite.write(PACKAGE)
    options = [*options, "--cov-report=term-missing"]
    assert_same(suite.plain(*options), suite.cloudist(*options))


def test_coverage_from_a_directory_below(suite: Suite) -> None:
    installed(suite, "pytest_cov")
    suite.write({**PACKAGE, "conftest.py": ""})
    suite.root /= "tests"
    options = ["--rootdir=..", "-c", "../pytest.ini", "--cov=../pkg", "--cov-report=term-missing"]
    environment = {"PYTHONPATH": suite.environment()["PYTHONPATH"] + ":" + str(suite.root.parent)}
    plain, cloudist = suite.plain(*options, **environment), suite.cloudist(*options, workers=1, **environment)
    assert_same(plain, cloudist)


def test_coverage_when_the_plugin_comes_late(suite: Suite) -> None:
    installed(suite, "pytest_cov")
    suite.write({**PACKAGE, "conftest.py": "pytest_plugins = ['pytest_cloudist']"})
    plain = suite.plain("--cov=pkg")
    late = suite._run(suite.command("--cloudist=test", "--cd-provider=local", "--cov=pkg"), {})
    assert_same(plain, late)


def test_coverage_below_the_limit_fails(suite: Suite) -> None:
    installed(suite, "pytest_cov")
    suite.write(PACKAGE)
    assert suite.cloudist("--cov=pkg", "--cov-fail-under=99").exit == 1
    assert suite.cloudist("--cov=pkg", "--cov-fail-under=50").exit == 0


@pytest.mark.parametrize("without", [[], ["-p", "no:xdist"]], ids=" ".join)
def test_random_order_has_one_seed(suite: Suite, without: list) -> None:
    installed(suite, "pytest_randomly")
    text = "import random\ndef test_{0}(): print('drawn', random.random()); assert 0"
    suite.write({f"test_{name}.py": text.format(name) for name in "abc"})
    command = [suite.python, "-m", "pytest"]
    options = ["--randomly-seed=7", "-rA", *without]
    plain = suite._run([*command, *options], {})
    chosen = ["-p", "pytest_cloudist", "--cloudist=test", "--cd-provider=local"]
    cloudist = suite._run([*command, *chosen, *options], {})
    drawn = re.compile(r"drawn [\d.]+")
    assert len(drawn.findall(plain.out)) >= 3
    assert sorted(set(drawn.findall(cloudist.out))) == sorted(set(drawn.findall(plain.out)))


def test_hypothesis(suite: Suite) -> None:
    installed(suite, "hypothesis")
    suite.write({"test_h.py": """
                from hypothesis import given, settings, strategies

                @settings(database=None, derandomize=True)
                @given(strategies.integers())
                def test_small(number):
                    assert number < 1000
            """})
    plain, cloudist = suite.plain(), suite.cloudist()
    assert "number=1000" in cloudist.out
    assert cloudist.last_lines()[-1] == plain.last_lines()[-1]


def test_reruns(suite: Suite) -> None:
    installed(suite, "pytest_rerunfailures")
    suite.write({"test_r.py": """
                tries = []

                def test_third_time():
                    tries.append(1)
                    assert len(tries) == 3

                def test_never():
                    assert 0
            """})
    options = ["--reruns=3", "-rR"]
    plain, cloudist = suite.plain(*options), suite.cloudist(*options)

    def summary(done: Outcome) -> List[str]:
        lines = [normal_line(line) for line in done.out.splitlines()]
        return [
            line for line in lines if line.startswith(("RERUN", "PASSED", "FAILED")) or "rerun in" in line
        ]

    # Either test may be over first.
    assert len(summary(plain)) == 8
    assert sorted(summary(cloudist)) == sorted(summary(plain))
    assert cloudist.exit == plain.exit


NODES = {
    "conftest.py": """
        import pytest

        class Controller:
            def pytest_configure_node(self, node):
                node.workerinput["told"] = {"bytes": b"\\x00\\xff", "number": 7}
                print("CONFIGURED", node.workerinput["workerid"])

            def pytest_testnodeready(self, node):
                print("READY", node.gateway.id, node.workerinfo["version_info"][0], node.gateway._rinfo().platform)

            def pytest_testnodedown(self, node, error):
                print("DOWN", node.gateway.id, error, sorted(node.workeroutput["mine"]))

        def pytest_configure(config):
            if config.pluginmanager.hasplugin("xdist") and not hasattr(config, "workerinput"):
                config.pluginmanager.register(Controller())

        def pytest_sessionfinish(session):
            if hasattr(session.config, "workerinput"):
                told = session.config.workerinput["told"]
                session.config.workeroutput["mine"] = {told["bytes"].hex(): b"back"}
    """,
    "test_a.py": "def test_1(worker_id): assert worker_id.startswith('gw')",
    "test_b.py": "def test_2(testrun_uid): assert testrun_uid",
}


@pytest.mark.parametrize("without", [[], ["-p", "no:xdist"]], ids=" ".join)
def test_workers_look_like_xdist_workers(suite: Suite, without: list) -> None:
    suite.write(NODES)
    done = suite.cloudist("-s", *without)
    assert done.exit == 0, done.out + done.err
    assert "CONFIGURED gw0" in done.out
    assert re.search(r"READY gw\d 3 ", done.out)
    assert re.search(r"DOWN gw\d None \['00ff'\]", done.out)


def test_xdist_is_held_back(suite: Suite) -> None:
    installed(suite, "xdist")
    suite.write(
        {"pytest.ini": "[pytest]\naddopts = -n 3 --dist loadfile\n", "test_a.py": "def test_1(): pass"}
    )
    done = suite.cloudist()
    assert done.exit == 0, done.out + done.err
    assert "collected 1 item" in done.out
    assert "bringing up nodes" not in done.out


def test_output_that_is_not_captured_is_shown(suite: Suite) -> None:
    suite.write({"test_a.py": "import sys\ndef test_1(): print('seen'); print('seen too', file=sys.stderr)"})
    done = suite.cloudist("-s")
    assert "seen" in done.out
    assert "seen too" in done.err
