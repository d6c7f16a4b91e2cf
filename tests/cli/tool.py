"""Starts the real `cloudist` (and pytest with its hook), with a clean environment and a limit on every wait.

Knows how to begin and to wait; what the output should be is the tests' business.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
from typing import Dict, List, Optional

import pexpect

from processes import MARK

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("CLOUDIST_BIN") or str(REPOSITORY / "target" / "release" / "cloudist")
PATIENCE = 60.0
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME")
FAULTS = ("panicked at", "RUST_BACKTRACE", "Traceback (most recent call last)", "INTERNALERROR")


@dataclasses.dataclass
class Done:
    """How a command ended and what it wrote."""

    exit: int
    raw_out: bytes
    raw_err: bytes

    @property
    def out(self) -> str:
        return self.raw_out.decode("utf-8", "replace")

    @property
    def err(self) -> str:
        return self.raw_err.decode("utf-8", "replace")

    def __repr__(self) -> str:
        return f"exit {self.exit}\n--- stdout\n{self.out[-6000:]}\n--- stderr\n{self.err[-6000:]}"

    def check(self, exit: int) -> Done:
        """The exit status as expected, and no sign of a fault inside."""
        assert self.exit == exit, self
        self.check_no_fault()
        return self

    def check_no_fault(self) -> None:
        for fault in FAULTS:
            assert fault not in self.err, self
        assert "panicked at" not in self.out and "INTERNALERROR" not in self.out, self

    def counts(self) -> str:
        """The last line of pytest's output without its rule and its time."""
        line = [line for line in self.out.splitlines() if line.startswith("=")][-1]
        return line.strip("= ").partition(" in ")[0]


class Tool:
    """cloudist for one test: its own mark, the session's cache directory."""

    def __init__(self, cache: pathlib.Path, mark: str, **variables: str) -> None:
        self.mark = mark
        self.environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        scripts = str(pathlib.Path(sys.executable).parent)
        self.environment.update(
            {
                "PATH": f"{scripts}:{os.environ['PATH']}",
                "CLOUDIST_CACHE_DIR": str(cache),
                "CLOUDIST_STATE_DIR": str(cache / "state" / mark),
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
                "COLUMNS": "100",
                # Whoever tests on a cloud machine, or with credentials at hand, tests here all the same.
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                "AWS_CONFIG_FILE": os.devnull,
                # What the machines of these tests have is there already.
                "CLOUDIST_ENV": "none",
                MARK: mark,
                **variables,
            }
        )

    def command(self, *arguments: str) -> List[str]:
        return [BINARY, *arguments]

    def variables(self, extra: Optional[Dict[str, Optional[str]]]) -> Dict[str, str]:
        """The environment; a None takes a variable away."""
        merged = {**self.environment, **(extra or {})}
        return {name: value for name, value in merged.items() if value is not None}

    def start(
        self,
        *arguments: str,
        cwd: pathlib.Path,
        env: Optional[Dict[str, Optional[str]]] = None,
        command: Optional[List[str]] = None,
        stdin: Optional[int] = subprocess.DEVNULL,
    ) -> subprocess.Popen:
        """In a process group of its own, with both outputs on pipes."""
        return subprocess.Popen(
            command or self.command(*arguments),
            cwd=cwd,
            env=self.variables(env),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def finish(
        self, process: subprocess.Popen, input: Optional[bytes] = None, patience: float = PATIENCE
    ) -> Done:
        try:
            out, err = process.communicate(input, timeout=patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise AssertionError(f"not over after {patience:g} s\n{Done(-9, out, err)}") from None
        return Done(process.returncode, out, err)

    def __call__(
        self,
        *arguments: str,
        cwd: pathlib.Path,
        input: Optional[bytes] = None,
        env: Optional[Dict[str, Optional[str]]] = None,
        command: Optional[List[str]] = None,
        patience: float = PATIENCE,
    ) -> Done:
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        process = self.start(*arguments, cwd=cwd, env=env, command=command, stdin=stdin)
        return self.finish(process, input, patience)

    def terminal(
        self, *arguments: str, cwd: pathlib.Path, command: Optional[List[str]] = None
    ) -> pexpect.spawn:
        """On a terminal of its own, whose Ctrl-C is a byte that is sent to it."""
        program, *rest = command or self.command(*arguments)
        return pexpect.spawn(
            program,
            rest,
            cwd=str(cwd),
            env=self.variables(None),
            timeout=PATIENCE,
            dimensions=(50, 100),
            encoding="utf-8",
        )


def ended(terminal: pexpect.spawn) -> int:
    """Waits for the end; the exit status, or the negated signal."""
    terminal.expect(pexpect.EOF)
    terminal.close()
    return terminal.exitstatus if terminal.signalstatus is None else -terminal.signalstatus
