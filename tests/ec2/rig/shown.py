"""What of this host a machine sees at the same path although the directory above it is the machine's own:
the virtual environments of this work tree and the interpreters behind them. Changes nothing.
"""

from __future__ import annotations

import functools
import os
import pathlib
import sys
from typing import Iterable, List

VENVS = pathlib.Path(__file__).resolve().parents[3] / "target" / "venvs"
SYSTEM = ("/usr", "/bin")


@functools.lru_cache(maxsize=None)
def paths() -> List[str]:
    """Directories, none of them inside another."""
    found = {str(VENVS)} if VENVS.is_dir() else set()
    interpreters = [base_python(), *(str(path) for path in VENVS.glob("*/bin/python3"))]
    for interpreter in interpreters:
        prefix = pathlib.Path(os.path.realpath(interpreter)).parent.parent
        if str(prefix) not in SYSTEM:
            found.add(str(prefix))
    return [path for path in sorted(found) if not any(path.startswith(f"{other}/") for other in found)]


def base_python() -> str:
    """The interpreter behind the one that runs this."""
    return os.path.realpath(sys.executable)


def pythons(directories: Iterable[str]) -> List[str]:
    """Every command of these directories that is a Python."""
    return [
        os.path.join(directory, name)
        for directory in directories
        if os.path.isdir(directory)
        for name in sorted(os.listdir(directory))
        if name.startswith("python")
    ]
