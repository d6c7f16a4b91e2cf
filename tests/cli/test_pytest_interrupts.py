"""Ctrl-C, signals and kills during `cloudist pytest` and `pytest --cloudist`: what is shown, and that nothing remains."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from processes import all_gone, commands, running, until
from tool import ended

SLOW = """
    import os, subprocess, time
    import pytest
    @pytest.mark.parametrize("n", range(4))
    def test_n(n):
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        open(os.environ.get("STARTED", "/dev/null"), "a").write("x")
        time.sleep(600)
    """


def at_work(cloudist):
    until(lambda: len(commands(cloudist.mark, "sleep 600")) >= 2, "two tests run")


@pytest.mark.parametrize("caller", ["cloudist pytest", "pytest --cloudist"])
def test_ctrl_c(cloudist, project, caller):
    root = project({"test_slow.py": SLOW})
    if caller == "cloudist pytest":
        terminal = cloudist.terminal("pytest", "-n2", cwd=root)
    else:
        cloudist("init", cwd=root).check(0)
        cloudist.environment["CLOUDIST_BIN"] = cloudist.command()[0]
        terminal = cloudist.terminal(
            cwd=root, command=[sys.executable, "-m", "pytest", "--cloudist=test", "--cd-provider=local"]
        )
    at_work(cloudist)
    terminal.sendintr()
    assert ended(terminal) == 2, terminal.before
    assert "KeyboardInterrupt" in terminal.before, terminal.before
    assert "no tests ran" in terminal.before or "Interrupted" in terminal.before or "!!!!" in terminal.before
    assert "Traceback" not in terminal.before, terminal.before
    all_gone(cloudist.mark)


def test_ctrl_c_twice(cloudist, project):
    terminal = cloudist.terminal("pytest", "-n2", cwd=project({"test_slow.py": SLOW}))
    at_work(cloudist)
    terminal.sendintr()
    terminal.sendintr()
    assert ended(terminal) != 0
    all_gone(cloudist.mark)


def test_ctrl_c_before_a_worker_is_there(cloudist, project):
    run = ("pytest", "-n2", "--local-machines=2", "--init-command", "sleep 600")
    terminal = cloudist.terminal(*run, cwd=project({"test_slow.py": SLOW}))
    at_work(cloudist)
    terminal.sendintr()
    assert ended(terminal) == 2, terminal.before
    all_gone(cloudist.mark)


def test_sigint_to_the_tool_alone(cloudist, project):
    process = cloudist.start("pytest", "-n2", cwd=project({"test_slow.py": SLOW}))
    at_work(cloudist)
    process.send_signal(signal.SIGINT)
    done = cloudist.finish(process).check(2)
    assert "KeyboardInterrupt" in done.out


def test_sigint_to_the_tool_alone_on_a_terminal(cloudist, project):
    """Ctrl-C would reach pytest as well; this does not."""
    terminal = cloudist.terminal("pytest", "-n2", cwd=project({"test_slow.py": SLOW}))
    at_work(cloudist)
    os.kill(terminal.pid, signal.SIGINT)
    assert ended(terminal) == 2, terminal.before
    assert "! KeyboardInterrupt !" in terminal.before, terminal.before
    all_gone(cloudist.mark)


def test_sigint_to_the_tool_alone_without_workers(cloudist, project):
    files = {"test_slow.py": "import time\ndef test_slow():\n    print('at it')\n    time.sleep(600)\n"}
    terminal = cloudist.terminal("pytest", "--mode=no", "--", "-s", cwd=project(files))
    terminal.expect_exact("at it")
    os.kill(terminal.pid, signal.SIGINT)
    assert ended(terminal) == 2, terminal.before
    assert "KeyboardInterrupt" in terminal.before


def test_sigterm_to_the_tool(cloudist, project):
    process = cloudist.start("pytest", "-n2", cwd=project({"test_slow.py": SLOW}))
    at_work(cloudist)
    process.send_signal(signal.SIGTERM)
    assert cloudist.finish(process).exit == 143
    all_gone(cloudist.mark)


@pytest.mark.parametrize("victim", ["cloudist", "pytest"])
def test_killed(cloudist, project, victim):
    """Whoever goes, everything goes."""
    process = cloudist.start("pytest", "-n2", cwd=project({"test_slow.py": SLOW}))
    at_work(cloudist)
    pid = process.pid if victim == "cloudist" else running(cloudist.mark, "-p pytest_cloudist")[0]
    os.kill(pid, signal.SIGKILL)
    done = cloudist.finish(process)
    assert done.exit != 0
    if victim == "pytest":
        assert done.exit == 137
    all_gone(cloudist.mark)


def test_pytest_with_the_hook_killed(cloudist, project):
    root = project({"test_slow.py": SLOW})
    cloudist("init", cwd=root).check(0)
    cloudist.environment["CLOUDIST_BIN"] = cloudist.command()[0]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--cloudist=file",
        "--cd-provider=local",
        "--cd-num-workers=2",
        "test_slow.py",
        "test_slow2.py",
    ]
    (root / "test_slow2.py").write_text((root / "test_slow.py").read_text())
    process = cloudist.start(cwd=root, command=command)
    at_work(cloudist)
    process.kill()
    process.communicate()
    all_gone(cloudist.mark)
