"""The local walk: pytest finds the test files here, as it always does, and hands each to the engine as it is found.

Directories are collected and their conftests loaded; a test file is never imported in this process.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import pytest
from _pytest import nodes
from _pytest.main import resolve_collection_argument
from _pytest.reports import CollectReport

BATCH_LIMIT = 64

Selectors = List[List[str]]


class FoundFile(NamedTuple):
    path: str
    nodeid: str
    chain: List[str]
    select: Optional[Selectors]
    # The test from which on they are wanted.
    since: Optional[List[str]] = None

    def described(self) -> Dict[str, Any]:
        told = {"path": self.path, "chain": self.chain, "select": self.select}
        return told if self.since is None else {**told, "since": self.since}


class Handover(Exception):
    """The walk is over: pytest would go on with items that only the workers have."""


def split_argument(argument: str) -> Tuple[str, List[str]]:
    """Splits `path::Class::name[a::b]` as pytest does: what is in the brackets belongs to the last part."""
    base, bracket, rest = argument.partition("[")
    path, *parts = base.split("::")
    if parts:
        parts[-1] += bracket + rest
        return path, parts
    return argument, parts


class Arguments:
    """The positional arguments, with what followed `::` taken off and kept by file."""

    def __init__(self, config: pytest.Config, arguments: Sequence[str]) -> None:
        self.paths: List[str] = []
        self._selectors: Dict[str, Selectors] = {}
        whole: List[str] = []
        for number, argument in enumerate(arguments):
            path, parts = split_argument(argument)
            target = _resolve(config, argument, number) if parts else ""
            if not target:
                self._add_path(argument)
                whole.append(argument)
            else:
                self._add_path(path)
                self._selectors.setdefault(target, []).append(parts)
        for number, argument in enumerate(whole):
            place = _resolve(config, argument, number)
            for path in list(self._selectors):
                if place and (path == place or path.startswith(os.path.join(place, ""))):
                    del self._selectors[path]

    def select(self, path: str) -> Optional[Selectors]:
        return self._selectors.get(path)

    def _add_path(self, path: str) -> None:
        if path not in self.paths:
            self.paths.append(path)


def _resolve(config: pytest.Config, argument: str, number: int) -> str:
    """The path that pytest makes of an argument; empty where pytest will complain about it by itself."""
    location = config.invocation_params.dir
    try:
        try:
            found: Any = resolve_collection_argument(  # type: ignore[call-arg]
                location, argument, as_pypath=config.option.pyargs
            )
        except TypeError:
            found = resolve_collection_argument(location, argument, number, as_pypath=config.option.pyargs)
    except pytest.UsageError:
        return ""
    return str(found[0] if isinstance(found, tuple) else found.path)


class LocalWalk:
    """A plugin for the time of the local collection."""

    def __init__(self, arguments: Arguments, found: Callable[[FoundFile], None]) -> None:
        self._arguments = arguments
        self._found = found
        self._seen: Set[str] = set()
        self._walked = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_make_collect_report(self, collector: nodes.Collector) -> Optional[CollectReport]:
        if not isinstance(collector, nodes.File) or isinstance(collector, pytest.Package):
            return None
        path = str(collector.path)
        if path not in self._seen:
            self._seen.add(path)
            chain = [_directory(node) for node in collector.listchain()[1:-1]]
            self._found(FoundFile(path, collector.nodeid, chain, self._arguments.select(path)))
        return CollectReport(collector.nodeid, "passed", None, [])

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: List[pytest.Item]) -> Iterator[None]:
        self._walked = True
        if not items:
            raise Handover
        yield

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self) -> None:
        if self._walked:
            raise Handover


def _directory(node: nodes.Node) -> str:
    path = node.path
    return str(path.parent if path.name == "__init__.py" else path)


class Outbox:
    """Numbers the files and sends them in batches that grow, so that the first one leaves at once."""

    def __init__(self, send: Callable[[List[Dict[str, Any]]], None]) -> None:
        self.files: List[FoundFile] = []
        self._send = send
        self._batch: List[Dict[str, Any]] = []
        self._limit = 1

    def put(self, file: FoundFile) -> None:
        self.files.append(file)
        self._batch.append(file.described())
        if len(self._batch) >= self._limit:
            self.flush()
            self._limit = min(self._limit * 2, BATCH_LIMIT)

    def flush(self) -> None:
        if self._batch:
            self._send(self._batch)
            self._batch = []
