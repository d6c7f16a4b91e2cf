"""A run that stays at one test until it is let go, so that its machines can be looked at meanwhile.

Starts it, waits until it is there, and ends it; what is looked at is the tests' business.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
from typing import Any, Callable, Dict, Iterator, List

from places import Place
from processes import until
from tool import Done, Tool

SUITE = """
    import os
    import pathlib
    import time

    def test_waits():
        while not pathlib.Path(os.environ["GATE"]).exists():
            time.sleep(0.02)

    def test_fails():
        assert not "on purpose"
"""


class Watched:
    """A run in the middle of `test_waits`."""

    def __init__(self, tool: Tool, place: Place, root: pathlib.Path, *options: str) -> None:
        self.tool = tool
        self.root = root
        self.gate = root.parent / "gate"
        self.gate.unlink(missing_ok=True)
        command = ["pytest", *place.arguments, "-n", "1", f"--setenv=GATE={self.gate}", *options]
        self._process = tool.start(*command, cwd=root)
        try:
            until(self._is_there, "the run is at its test")
        except BaseException:
            self.kill()
            raise

    def _is_there(self) -> bool:
        assert self._process.poll() is None, self.tool.finish(self._process)
        return any("test_waits" in (one["now"] or "") for machine in self.ps() for one in machine["workers"])

    def ps(self) -> List[Dict[str, Any]]:
        return machines(self.tool, self.root)

    def __call__(self, *arguments: str, **options: Any) -> Done:
        return self.tool(*arguments, cwd=self.root, **options)

    def finish(self) -> Done:
        self.gate.touch()
        return self.tool.finish(self._process)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def machines(tool: Tool, cwd: pathlib.Path) -> List[Dict[str, Any]]:
    return json.loads(tool("ps", "--json", cwd=cwd).check(0).out)


@contextlib.contextmanager
def watched(
    tool: Tool, place: Place, project: Callable[..., pathlib.Path], *options: str
) -> Iterator[Watched]:
    run = Watched(tool, place, project({"test_gate.py": SUITE, "data.txt": "from here\n"}), *options)
    try:
        yield run
    finally:
        run.finish()


def end(process: subprocess.Popen) -> None:
    process.terminate()
    process.communicate()
