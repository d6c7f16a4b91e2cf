"""Compares what two runs of one suite recorded, as multisets, node by node.

Knows the shape of a record, and nothing of how the runs were made. Explains nothing by itself.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable, Iterator

Entry = tuple[str, ...]
SHOWN_ENTRIES = 6
ADDRESS = "0x[0-9a-f]{6,}"


@dataclass(frozen=True)
class Record:
    """What one run told its reporters."""

    tests: int
    exit_status: int
    nodes: dict[str, Counter[Entry]]
    """By node id: what was reported of it, and how often."""
    warnings: frozenset[Entry]

    @classmethod
    def read(cls, path: Path, volatile: list[str]) -> Record:
        """`volatile` matches what is different in every run, such as the clock."""
        text = path.read_text(encoding="utf-8")
        for pattern in (ADDRESS, *volatile):
            text = re.sub(pattern, "*", text)
        data = json.loads(text)
        nodes: dict[str, Counter[Entry]] = {}
        for part in ("reports", "collection", "deselected"):
            for row, count in data[part]:
                nodes.setdefault(row[0], Counter())[(part, *row[1:])] += count
        warnings = frozenset(tuple(row[1:]) for row, _ in data["warnings"])
        return cls(data["tests"], data["exit_status"], nodes, warnings)


@dataclass(frozen=True)
class Difference:
    """What the two runs disagree about: of one node, of one warning, or, without a node id, of the whole run."""

    nodeid: str
    plain: str
    cloudist: str

    def __str__(self) -> str:
        return f"{self.nodeid or '(the run)'}\n      plain:    {self.plain}\n      cloudist: {self.cloudist}"


@dataclass(frozen=True)
class Explanation:
    """A difference that has to be, and why."""

    nodeid: str
    why: str

    def covers(self, difference: Difference) -> bool:
        return re.search(self.nodeid, difference.nodeid) is not None


@dataclass
class Verdict:
    unexplained: list[Difference] = field(default_factory=list)
    explained: list[tuple[Difference, str]] = field(default_factory=list)
    flaky: list[Difference] = field(default_factory=list)

    @property
    def word(self) -> str:
        if self.unexplained:
            return f"{len(self.unexplained)} different"
        known = [(len(self.explained), "explained"), (len(self.flaky), "flaky")]
        told = ", ".join(f"{count} {kind}" for count, kind in known if count)
        return f"same but for {told}" if told else "same"


def differences(plain: Record, other: Record) -> Iterator[Difference]:
    """Every node of which the two do not tell the same equally often; the exit status comes last."""
    nothing: Counter[Entry] = Counter()
    for nodeid in sorted(plain.nodes.keys() | other.nodes.keys()):
        before, after = plain.nodes.get(nodeid, nothing), other.nodes.get(nodeid, nothing)
        if before != after:
            yield Difference(nodeid, *_told(before, after))
    for warning in sorted(plain.warnings ^ other.warnings):
        told, untold = "warned of", "nothing"
        yield Difference(
            " ".join(warning), *((told, untold) if warning in plain.warnings else (untold, told))
        )
    if plain.exit_status != other.exit_status:
        yield Difference("", f"exit status {plain.exit_status}", f"exit status {other.exit_status}")


def _told(before: Counter[Entry], after: Counter[Entry]) -> tuple[str, str]:
    """What only the one and what only the other told: without details unless it is these that differ."""
    bare_before, bare_after = _bare(before), _bare(after)
    if bare_before != bare_after:
        before, after = bare_before, bare_after
    return _text(before - after), _text(after - before)


def _bare(entries: Counter[Entry]) -> Counter[Entry]:
    bare: Counter[Entry] = Counter()
    for entry, count in entries.items():
        bare[entry[:2]] += count
    return bare


def _text(entries: Counter[Entry]) -> str:
    parts = [
        f"{' '.join(entry)}{f' × {count}' if count > 1 else ''}" for entry, count in sorted(entries.items())
    ]
    more = len(parts) - SHOWN_ENTRIES
    return "; ".join(parts[:SHOWN_ENTRIES]) + (f"; and {more} more" if more > 0 else "") or "nothing"


def judge(found: Iterable[Difference], explanations: list[Explanation], flaky: set[str]) -> Verdict:
    """Sorts differences by what is known of them; `flaky` names the nodes that two plain runs disagree about."""
    verdict = Verdict()
    for difference in found:
        known = next((item for item in explanations if item.covers(difference)), None)
        if known is not None:
            verdict.explained.append((difference, known.why))
        elif difference.nodeid in flaky:
            verdict.flaky.append(difference)
        elif not difference.nodeid and not verdict.unexplained and (verdict.explained or verdict.flaky):
            verdict.explained.append((difference, "it follows from the tests above"))
        else:
            verdict.unexplained.append(difference)
    return verdict
