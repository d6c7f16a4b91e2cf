"""`--nf`, decided on files: those with no test that pytest's cache knows, then the others, each the newest first.

Reads what pytest's own cache plugin has loaded; never writes the cache. Which tests of a file are new, only its collection tells.
"""

from __future__ import annotations

import os
from typing import List, Set, Tuple

import pytest

from .collect import FoundFile, Outbox


class NewestFirst(Outbox):
    """Holds files back until all are there, and passes them on in their order."""

    def __init__(self, known: Set[str], outbox: Outbox) -> None:
        self._known = known
        self._outbox = outbox
        self._waiting: List[FoundFile] = []

    def put(self, file: FoundFile) -> None:
        self._waiting.append(file)

    def flush(self) -> None:
        for file in sorted(self._waiting, key=self._rank):
            self._outbox.put(file)
        self._waiting = []
        self._outbox.flush()

    def _rank(self, file: FoundFile) -> Tuple[bool, float]:
        try:
            changed = os.stat(file.path).st_mtime
        except OSError:
            changed = 0.0
        return file.nodeid in self._known, -changed


def in_order(config: pytest.Config, outbox: Outbox) -> Outbox:
    """The outbox, or one before it that sorts, if that is asked for."""
    plugin = config.pluginmanager.getplugin("nfplugin")
    if plugin is None or not plugin.active:
        return outbox
    return NewestFirst({str(nodeid).split("::")[0] for nodeid in plugin.cached_nodeids}, outbox)
