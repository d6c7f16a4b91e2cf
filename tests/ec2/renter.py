"""Somebody who rents machines: the real `cloudist`, and pytest with its hook, in an account of the rig.

Starts runs and tells what they left; what should come of them is the tests' business.
"""

from __future__ import annotations

import os
import pathlib
import re
import select
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from typing import Dict, List, Mapping, Optional

import pexpect

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "cli"))

from processes import all_gone, marked, until  # noqa: E402
from rig import Rig  # noqa: E402
from rig.instance import Instance  # noqa: E402
from tool import Done, Tool  # noqa: E402

SCRIPTS = pathlib.Path(sys.executable).parent
PATIENCE = 60.0

__all__ = [
    "ONE_WORKER_EACH",
    "Done",
    "Renter",
    "SCRIPTS",
    "all_gone",
    "in_pytest",
    "marked",
    "outcomes",
    "summary",
    "until",
]

ONE_WORKER_EACH = ("--instance-type=c7i.large", "--cpu-per-worker=2")
"""Machines that hold a single worker."""

INI = "[pytest]\naddopts = -p no:cacheprovider\n"
OUTCOME = re.compile(r"^(?:\[gw\d+\].* )?(\S+::\S+) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)", re.MULTILINE)


def in_pytest(*options: str) -> List[str]:
    """Options of `cloudist` under the names that they have in pytest."""
    return [option.replace("--", "--cd-", 1) for option in options]


def outcomes(done: Done) -> Dict[str, str]:
    """Each verbose line's node id with its outcome; a node id that is reported twice fails here."""
    found: Dict[str, str] = {}
    for node, word in OUTCOME.findall(done.out):
        assert node not in found, f"{node} was reported twice\n{done}"
        found[node] = word
    return found


def summary(done: Done) -> str:
    """What pytest's last line counts, without its time."""
    return re.findall(r"^=* ?((?:\d+ \w+(?:, )?)+) in [\d.]+s", done.out, re.MULTILINE)[-1]


def command_line(pid: int) -> str:
    try:
        return (
            pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        )
    except OSError:
        return ""


class Renter:
    """One user on one computer, with a project, against one account."""

    def __init__(self, rig: Rig, directory: pathlib.Path, cache: pathlib.Path) -> None:
        self.rig = rig
        self.before = rig.listing()
        self.state = directory / "state"
        self.cache = cache
        self.root = directory / "project"
        self.tool = Tool(
            cache,
            uuid.uuid4().hex,
            CLOUDIST_STATE_DIR=str(self.state),
            **rig.environment,
        )
        self.tool.environment["CLOUDIST_BIN"] = self.tool.command()[0]
        self._groups: List[int] = []
        self._heard: Dict[int, bytes] = {}
        self.project({})

    def project(self, files: Mapping[str, str]) -> None:
        for name, content in {"pytest.ini": INI, **files}.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(content).lstrip("\n"))

    # Runs.

    def run(self, *arguments: str, env: Optional[Mapping[str, Optional[str]]] = None, **more: float) -> Done:
        return self.tool(*arguments, cwd=self.root, env=dict(env or {}), **more)

    def pytest(self, *options: str, args: tuple = (), **more) -> Done:
        """`cloudist pytest`; `args` are for pytest itself."""
        return self.run("pytest", *options, "--", *args, **more)

    def start(self, *arguments: str, **more) -> subprocess.Popen:
        process = self.tool.start(*arguments, cwd=self.root, **more)
        self._groups.append(process.pid)
        return process

    def terminal(self, command: List[str]) -> pexpect.spawn:
        terminal = self.tool.terminal(cwd=self.root, command=command)
        self._groups.append(terminal.pid)
        return terminal

    def close(self) -> None:
        """Ends what a test that failed has left running."""
        for group in self._groups:
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def finish(self, process: subprocess.Popen, patience: float = PATIENCE) -> Done:
        """With what was heard of its output before."""
        done = self.tool.finish(process, patience=patience)
        done.raw_out = self._heard.pop(process.pid, b"") + done.raw_out
        return done

    def hear(self, process: subprocess.Popen, text: str) -> None:
        """Reads what the process prints until it has printed this."""
        deadline = time.monotonic() + PATIENCE
        while text.encode() not in self._heard.setdefault(process.pid, b""):
            left = max(deadline - time.monotonic(), 0)
            assert select.select([process.stdout], [], [], left)[0], f"{text!r} was not printed"
            piece = os.read(process.stdout.fileno(), 65536)
            assert piece, f"{text!r} was not printed\n{self.finish(process)}"
            self._heard[process.pid] += piece

    def pytest_command(self, *arguments: str) -> List[str]:
        return [sys.executable, "-m", "pytest", *arguments]

    def plain(self, *arguments: str) -> Done:
        """pytest without cloudist."""
        return self.tool(cwd=self.root, command=self.pytest_command(*arguments))

    def hook(self, *arguments: str, patience: float = PATIENCE, **more) -> Done:
        """`pytest --cloudist=test`, in a project that `cloudist init` has prepared."""
        return self.finish(self.start_hook(*arguments, **more), patience)

    def start_hook(self, *arguments: str, **more) -> subprocess.Popen:
        self.init()
        command = self.pytest_command("--cloudist=test", *arguments)
        return self.start(command=command, **more)

    def sweep(self) -> Done:
        """Removes whatever is left."""
        return self.run("sweep", "--yes").check(0)

    def init(self) -> None:
        self.run("init").check(0)

    # What happens on the machines.

    def at_work(self, line: str, machines: int) -> None:
        """Until a process of so many machines has these words in its command line."""

        def busy() -> bool:
            there = [one for one in self.launched() if one.state == "running"]
            found = [one for one in there if self.machine_runs(one.id, line)]
            return len(found) >= machines

        until(busy, f"{line!r} on {machines} machines", patience=PATIENCE)

    def machine_runs(self, identity: str, line: str) -> bool:
        return any(line in command_line(pid) for pid in self.rig.processes(identity))

    def let_go(self) -> None:
        """Makes the file /run/rig/go on every machine that is there."""
        for instance in self.launched():
            if instance.machine is not None:
                (instance.machine.directory / "go").touch()

    # What is there.

    def records(self) -> List[str]:
        """The ledger: the runs that may have rented something."""
        directory = self.state / "runs"
        return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []

    def launched(self) -> List[Instance]:
        return self.rig.instances()

    def machines_gone(self, patience: float = PATIENCE) -> None:
        if self.launched():
            self.rig.wait_state("terminated", timeout=patience)

    def nothing_left(self) -> None:
        """The account is what it was, nothing is on record, and no process of the tool lives."""
        all_gone(self.tool.mark)
        self.machines_gone()
        assert self.rig.listing() == self.before
        assert self.records() == []
