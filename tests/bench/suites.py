"""The suites that are measured: written to disk as files of tests that take a known amount of nothing.

Holds no measuring, and knows no runner.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

BURN = """
import time

end = time.process_time() + {seconds}
while time.process_time() < end:
    pass
"""


@dataclass(frozen=True)
class Suite:
    name: str
    files: int
    tests_per_file: int
    import_seconds: float

    @property
    def tests(self) -> int:
        return self.files * self.tests_per_file

    def write(self, home: Path) -> Path:
        """Puts the suite into `home` unless it is there already."""
        files = {"pytest.ini": "[pytest]\n"}
        for number in range(self.files):
            files[f"tests/test_{number:03}.py"] = self._module()
        for name, content in files.items():
            path = home / name
            if not path.is_file() or path.read_text() != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
        return home

    def _module(self) -> str:
        burn = BURN.format(seconds=self.import_seconds).lstrip() + "\n\n" if self.import_seconds else ""
        tests = (f"def test_{number:03}():\n    assert True\n" for number in range(self.tests_per_file))
        return burn + "\n\n".join(tests)


SUITES = {
    suite.name: suite
    for suite in (
        Suite("a", files=100, tests_per_file=100, import_seconds=0),
        Suite("b", files=100, tests_per_file=10, import_seconds=0.2),
    )
}
