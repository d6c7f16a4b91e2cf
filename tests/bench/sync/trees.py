"""The projects that are sent: many small files, one large one. The same for the same arguments, always."""

from __future__ import annotations

import random
from pathlib import Path

WORDS = [
    "def", "return", "assert", "import", "self", "value", "result", "for", "in", "range", "if", "else", "None",
    "True", "False", "class", "test", "fixture", "parametrize", "client", "response", "status", "item", "name",
]  # fmt: skip


def small_files(root: Path, count: int = 10_000, size: int = 1_000) -> int:
    """Text like code, in a hundred directories. Answers how many bytes there are."""
    chance = random.Random(20)
    total = 0
    for number in range(count):
        directory = root / f"package_{number % 100:02}"
        if number < 100:
            directory.mkdir(parents=True)
        lines, length = [], 0
        while length < size:
            line = "    " + " ".join(chance.choices(WORDS, k=8)) + f" = {chance.getrandbits(32)}\n"
            lines.append(line)
            length += len(line)
        data = "".join(lines).encode()
        (directory / f"module_{number:05}.py").write_bytes(data)
        total += len(data)
    return total


def large_file(path: Path, size: int) -> int:
    """Bytes that nothing makes smaller."""
    chance = random.Random(21)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for _ in range(size >> 20):
            file.write(chance.randbytes(1 << 20))
    return size


def edit_inside(path: Path) -> None:
    """Ten bytes more in the middle: everything behind them moves."""
    half = path.stat().st_size // 2
    with path.open("rb") as file:
        front, back = file.read(half), file.read()
    path.write_bytes(front + b"ten bytes!" + back)
