"""The real `cloudist` over a rig: its environment, its ends, and what it leaves on this computer's disk.

Knows how to start and to wait; what the output should be is the tests' business.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from typing import Any, Dict, List, Optional

import pexpect

from rig import Rig

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("CLOUDIST_BIN") or str(REPOSITORY / "target" / "release" / "cloudist")
PATIENCE = 90.0
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME")
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@dataclasses.dataclass
class Done:
    exit: int
    out: str
    err: str

    def __repr__(self) -> str:
        return f"exit {self.exit}\n--- stdout\n{self.out[-6000:]}\n--- stderr\n{self.err[-6000:]}"

    def check(self, exit: int) -> Done:
        assert self.exit == exit and "panicked at" not in self.err, self
        return self

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class CommandLine:
    """cloudist with directories of its own for its state and its cache."""

    def __init__(self, rig: Rig, directory: pathlib.Path) -> None:
        self.rig = rig
        self.project = directory / "project"
        self.project.mkdir()
        (self.project / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
        self.state = directory / "state"
        self.cache = directory / "cache"
        self.environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self.environment.update(rig.environment)
        self.environment.update(
            {
                "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
                "USER": "tester",
                "CLOUDIST_PYTHON": sys.executable,
                "CLOUDIST_STATE_DIR": str(self.state),
                "CLOUDIST_CACHE_DIR": str(self.cache),
                "COLUMNS": "100",
                "PYTHONDONTWRITEBYTECODE": "1",
            }
        )

    def without(self, *names: str) -> CommandLine:
        """Takes variables away."""
        for name in names:
            self.environment.pop(name, None)
        return self

    def __call__(self, *arguments: str, patience: float = PATIENCE, **variables: str) -> Done:
        process = self.start(*arguments, **variables)
        out, err = process.communicate(timeout=patience)
        return Done(process.returncode, out, err)

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen:
        return subprocess.Popen(
            [BINARY, *arguments],
            cwd=self.project,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def on_terminal(self, *arguments: str, **variables: str) -> pexpect.spawn:
        return pexpect.spawn(
            BINARY,
            list(arguments),
            cwd=str(self.project),
            env={**self.environment, **variables},
            timeout=PATIENCE,
            dimensions=(50, 100),
            encoding="utf-8",
        )

    def records(self) -> List[Dict[str, Any]]:
        """Of the runs that are not known to be over."""
        return [json.loads(path.read_text()) for path in sorted((self.state / "runs").glob("*.json"))]

    def record(self, run: str, region: Optional[str] = None) -> None:
        """As a run that was killed would have left it."""
        (self.state / "runs").mkdir(parents=True, exist_ok=True)
        entry = {
            "run": run,
            "region": region or self.rig.account.region,
            "profile": None,
            "began": 0,
            "lease_seconds": 900,
        }
        (self.state / "runs" / f"{run}.json").write_text(json.dumps(entry))


def ended(terminal: pexpect.spawn) -> int:
    """Waits for the end; the exit status, or the negated signal."""
    terminal.expect(pexpect.EOF)
    terminal.close()
    return terminal.exitstatus if terminal.signalstatus is None else -terminal.signalstatus
