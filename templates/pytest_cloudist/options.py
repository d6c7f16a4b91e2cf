"""The `--cd-` options, from the table that the engine has too; it merges and checks what was given.

Knows nothing of what an option does.
"""

from __future__ import annotations

import json
import pkgutil
from typing import Any, Dict, List

import pytest

ELSEWHERE = ("mode",)


def table() -> List[Dict[str, str]]:
    text = pkgutil.get_data(__package__, "options.json")
    assert text is not None, "options.json lies beside this module"
    return [row for row in json.loads(text.decode("utf-8")) if row["name"] not in ELSEWHERE]


def add_options(group: Any) -> None:
    for row in table():
        default = f" Default: {row['default']}." if "default" in row else ""
        text = f"{row['help'].rstrip('.')}.{default}".replace("%", "%%")
        kind = row.get("kind", "one")
        name = f"--cd-{row['name']}"
        if kind == "flag":
            group.addoption(name, action="store_true", default=None, help=text)
        elif kind == "optional":
            group.addoption(
                name, metavar=row["metavar"], nargs="?", const=row["bare"], default=None, help=text
            )
        else:
            action = "append" if kind == "many" else "store"
            group.addoption(name, metavar=row["metavar"], action=action, default=None, help=text)


def given_flags(config: pytest.Config) -> Dict[str, List[str]]:
    """The options that were given, as they were given."""
    flags = {}
    for name, value in vars(config.option).items():
        if name.startswith("cd_") and value is not None:
            texts = value if isinstance(value, list) else ["true" if value is True else value]
            flags[name[3:].replace("_", "-")] = texts
    return flags
