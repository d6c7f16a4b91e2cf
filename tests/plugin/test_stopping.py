"""How a run ends before its tests do: -x, Ctrl-C, a plugin's wish, and an engine that is gone."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import uuid

import pytest

from suites import PATIENCE, Suite

SLOW = """
    import time
    import pytest

    @pytest.mark.parametrize("number", range(30))
    def test_slow(number):
        time.sleep(0.1)
        assert number not in {failing}
"""


def counts(out: str) -> dict:
    return {
        word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error)", out.splitlines()[-1])
    }


@pytest.mark.parametrize("option, failures", [("-x", 1), ("--maxfail=2", 2)])
def test_failures_stop_the_run(suite: Suite, option: str, failures: int) -> None:
    suite.write({f"test_{name}.py": SLOW.format(failing=(2, 4, 6)) for name in "abcd"})
    done = suite.cloudist(option)
    assert done.exit == 1
    assert f"stopping after {failures} failures" in done.out
    assert counts(done.out)["failed"] == failures
    assert counts(done.out)["passed"] < 60


def test_a_late_teardown_is_still_told(suite: Suite) -> None:
    suite.write({"test_a.py": """
                import pytest

                @pytest.fixture(scope="session")
                def lasting():
                    yield
                    raise RuntimeError("at the very end")

                def test_fails(lasting):
                    assert 0
            """})
    plain, cloudist = suite.plain("-x"), suite.cloudist("-x", workers=1)
    assert counts(cloudist.out) == counts(plain.out) == {"failed": 1, "error": 1}


def test_a_plugin_can_stop_the_run(suite: Suite) -> None:
    suite.write(
        {
            "conftest.py": """
                def pytest_runtest_logreport(report):
                    if HERE and "[3]" in report.nodeid and report.when == "call":
                        SESSION.shouldstop = "seen enough"

                def pytest_sessionstart(session):
                    global HERE, SESSION
                    HERE, SESSION = not hasattr(session.config, "workerinput"), session
            """,
            "test_a.py": SLOW.format(failing=()),
        }
    )
    done = suite.cloudist()
    assert done.exit == 2
    assert "Interrupted: seen enough" in done.out
    assert counts(done.out)["passed"] < 30


def test_exit_on_a_worker_stops_the_run(suite: Suite) -> None:
    suite.write({"test_a.py": "import pytest\ndef test_exits(): pytest.exit('that was it')"})
    done = suite.cloudist()
    assert done.exit == 2
    assert "that was it" in done.out


def test_an_internal_error_on_a_worker(suite: Suite) -> None:
    suite.write(
        {
            "conftest.py": "def pytest_runtest_protocol(item): raise RuntimeError('this hook is broken')",
            "test_a.py": "def test_1(): pass",
        }
    )
    plain, cloudist = suite.plain(), suite.cloudist()
    assert cloudist.exit == plain.exit == 3
    assert "INTERNALERROR> RuntimeError: this hook is broken" in cloudist.out


def left_running(mark: str) -> list:
    """The processes whose environment holds the mark."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = path.read_bytes()
        except OSError:
            continue
        if mark.encode() in environment and path.parent.name != str(os.getpid()):
            found.append(path.parent.name)
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
def test_interrupt_leaves_nothing_running(suite: Suite) -> None:
    suite.write({f"test_{name}.py": SLOW.format(failing=()) for name in "abcd"})
    mark = uuid.uuid4().hex
    command = suite.command("-p", "pytest_cloudist", "--cloudist=test", "--cd-provider=local", "-v")
    process = subprocess.Popen(
        command,
        cwd=suite.root,
        env=suite.environment(MARK=mark),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seen = []
    assert process.stdout is not None
    for line in process.stdout:
        seen.append(line)
        if "PASSED" in line:
            process.send_signal(signal.SIGINT)
            break
    rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2, "".join(seen) + rest
    assert "KeyboardInterrupt" in rest
    assert counts(rest)["passed"] < 60
    assert left_running(mark) == []


def engine(suite: Suite, script: str) -> str:
    path = suite.root.parent / "engine"
    path.write_text(script)
    path.chmod(0o755)
    return str(path)


def test_an_engine_that_dies(suite: Suite) -> None:
    suite.write({"test_a.py": "def test_1(): pass"})
    done = suite.cloudist(CLOUDIST_BIN=engine(suite, "#!/bin/sh\nexit 3\n"))
    assert done.exit == 97
    assert "cloudist: the engine ended with exit status 3 before the run was over" in done.out


def test_an_engine_that_is_not_there(suite: Suite) -> None:
    suite.write({"test_a.py": "def test_1(): pass"})
    done = suite.cloudist(CLOUDIST_BIN=str(suite.root / "nowhere"))
    assert done.exit == 4
    assert "cloudist: failed to start" in done.err


def test_a_run_that_cannot_be(suite: Suite) -> None:
    suite.write({"test_a.py": "def test_1(): pass"})
    done = suite.cloudist("--cd-num-workers=none")
    assert done.exit not in (0, 1, 2, 3, 5)
    assert "num-workers" in done.out + done.err


@pytest.mark.parametrize("option", ["--pdb", "--trace"])
def test_what_is_not_possible_is_said(suite: Suite, option: str) -> None:
    suite.write({"test_a.py": "def test_1(): pass"})
    done = suite.cloudist(option)
    assert done.exit == 4
    assert f"not possible with cloudist: {option}" in done.err
