"""Compares what two runs of one suite recorded, as multisets, entry by entry.

Knows the shape of a record, and nothing of how the runs were made. Explains nothing by itself.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable, Iterator

PARTS = ("reports", "collection", "deselected")


@dataclass(frozen=True)
class Record:
    """What one run told its reporters."""

    tests: int
    exit_status: int
    entries: Counter[tuple[str, ...]]
    warnings: frozenset[tuple[str, ...]]

    @classmethod
    def read(cls, path: Path) -> Record:
        data = json.loads(path.read_text(encoding="utf-8"))
        entries: Counter[tuple[str, ...]] = Counter()
        for part in PARTS:
            for row, count in data[part]:
                entries[(row[0], part, *row[1:])] += count
        warnings = frozenset(tuple(row[1:]) for row, _ in data["warnings"])
        return cls(data["tests"], data["exit_status"], entries, warnings)


@dataclass(frozen=True)
class Difference:
    """One thing that one run told more often than the other."""

    nodeid: str
    text: str

    def __str__(self) -> str:
        return f"{self.nodeid or '(session)'}: {self.text}"


@dataclass(frozen=True)
class Explanation:
    nodeid: str
    why: str

    def covers(self, difference: Difference) -> bool:
        return re.search(self.nodeid, difference.nodeid) is not None


@dataclass
class Verdict:
    unexplained: list[Difference] = field(default_factory=list)
    explained: list[tuple[Difference, str]] = field(default_factory=list)
    unstable: list[Difference] = field(default_factory=list)

    @property
    def word(self) -> str:
        if self.unexplained:
            return f"{len(self.unexplained)} differences"
        known = len(self.explained) + len(self.unstable)
        return f"same but for {known} explained" if known else "same"


def differences(plain: Record, other: Record) -> Iterator[Difference]:
    """Every entry that the two do not have equally often."""
    if plain.exit_status != other.exit_status:
        yield Difference("", f"exit status {plain.exit_status} plain, {other.exit_status} through cloudist")
    for entry in sorted(plain.entries.keys() | other.entries.keys()):
        before, after = plain.entries[entry], other.entries[entry]
        if before != after:
            nodeid, *rest = entry
            yield Difference(nodeid, f"{' '.join(rest)}: {before} plain, {after} through cloudist")
    for warning in sorted(plain.warnings ^ other.warnings):
        side = "plain" if warning in plain.warnings else "through cloudist"
        yield Difference("", f"warning only {side}: {' '.join(warning)}")


def judge(found: Iterable[Difference], explanations: list[Explanation], unstable: set[str]) -> Verdict:
    """Sorts differences by what is known of them; `unstable` names the nodes that two plain runs disagree about."""
    verdict = Verdict()
    for difference in found:
        known = next((item for item in explanations if item.covers(difference)), None)
        if known is not None:
            verdict.explained.append((difference, known.why))
        elif difference.nodeid and difference.nodeid in unstable:
            verdict.unstable.append(difference)
        else:
            verdict.unexplained.append(difference)
    return verdict
