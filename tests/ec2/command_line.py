"""A user of the rig who looks at the account: `plan`, `sweep`, `doctor` and what they find on this computer's disk."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any, Optional

import pexpect

from renter import SCRIPTS, Renter
from rig import Rig
from tool import Done

CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


class CommandLine(Renter):
    def __init__(self, rig: Rig, directory: pathlib.Path, cache: pathlib.Path) -> None:
        super().__init__(rig, directory, cache)
        self.directory = directory
        self.tool.environment.update(USER="tester", CLOUDIST_PYTHON=sys.executable)
        self.tool.environment["PATH"] = f"{SCRIPTS}:{self.tool.environment['PATH']}"

    def __call__(self, *arguments: str, **variables: Optional[str]) -> Done:
        return self.run(*arguments, env=variables)

    def json(self, *arguments: str, exit: int = 0, **variables: Optional[str]) -> Any:
        return json.loads(self(*arguments, "--json", **variables).check(exit).out)

    def without(self, *names: str) -> CommandLine:
        """Takes variables away."""
        for name in names:
            self.tool.environment.pop(name, None)
        return self

    def knowing_nothing(self) -> CommandLine:
        """With an empty cache, so that the market is asked for anew."""
        self.tool.environment["CLOUDIST_CACHE_DIR"] = str(self.directory / "cache")
        return self

    def on_terminal(self, *arguments: str) -> pexpect.spawn:
        return self.tool.terminal(*arguments, cwd=self.root)

    def record(self, run: str, region: Optional[str] = None, profile: Optional[str] = None) -> None:
        """As a run that was killed leaves it."""
        (self.state / "runs").mkdir(parents=True, exist_ok=True)
        entry = {
            "run": run,
            "region": region or self.rig.account.region,
            "profile": profile,
            "began": 0,
            "lease_seconds": 900,
        }
        (self.state / "runs" / f"{run}.json").write_text(json.dumps(entry))
