"""Collects one file at a time inside a pytest session that lasts: directories are collected once and kept.

Fires the hooks that pytest fires, in its order, for that file alone. Never imports what wasn't asked for.
"""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from _pytest.outcomes import Exit
from _pytest.python import Module, Package, path_matches_patterns
from _pytest.reports import CollectErrorRepr, CollectReport
from _pytest.runner import CallInfo, check_interactive_exception, collect_one_node
from _pytest.warnings import catch_warnings_for_item

VERSION = tuple(int(part) for part in pytest.__version__.split(".")[:2])
HAS_DIRECTORIES = VERSION >= (8, 0)
if HAS_DIRECTORIES:
    from _pytest.main import Dir

    LISTED_LAZILY = (Dir, Package)


class Collected:
    """What came of one file."""

    def __init__(self):
        self.items = []
        self.reports = []
        self.deselected = []
        self.notfound = []
        self.notfound_messages = []
        self.blocked = False

    @property
    def errors(self):
        """How many reports failed; a file below a directory that failed earlier counts as one."""
        return sum(report.outcome == "failed" for report in self.reports) or int(self.blocked)


class Collection:
    def __init__(self, session, paths):
        self._session = session
        self._paths = paths
        self._directories = {}
        self._children = {}
        self._broken = set()
        self._collected = {}
        self._current = None
        self._collectors = ()

    def begin(self):
        """Stands in for `session.perform_collect`."""
        session = self._session
        session.items = []
        session._notfound = []
        session._initial_parts = []
        session.config.pluginmanager.check_pending()
        with listing_nothing(session):
            report = collect_one_node(session)
        session.ihook.pytest_collectreport(report=report)
        return session.items

    def collect(self, file, spec):
        """Collects a file, or tells again what came of it."""
        if file not in self._collected:
            self._collected[file] = self._collect_safely(spec)
        return self._collected[file]

    def _collect_safely(self, spec):
        self._current = collected = Collected()
        self._collectors = ()
        config = self._session.config
        with catch_warnings_for_item(config=config, ihook=config.hook, when="collect", item=None):
            call = CallInfo.from_call(
                lambda: self._collect(spec, collected), "collect", (KeyboardInterrupt, Exit)
            )
        if call.excinfo is not None:
            collected.items = []
            self._report_failure(spec, call)
        self._current = None
        self._session.testscollected += len(collected.items)
        return collected

    def saw_report(self, report):
        """Of the reports that are made while a file is collected, those that tell something."""
        if self._current is not None:
            own = any(collector.nodeid == report.nodeid for collector in self._collectors)
            if own or report.outcome != "passed":
                self._current.reports.append(report)

    def saw_deselected(self, items):
        if self._current is not None:
            self._current.deselected += [item.nodeid for item in items]

    def _collect(self, spec, collected):
        session = self._session
        parent = self._directory(spec["chain"])
        if parent is None:
            collected.blocked = True
            return
        if spec.get("initial"):
            self._make_initial(spec["path"])
        self._collectors = self._find(Path(spec["path"]), parent)
        if spec["select"] is None:
            nodes = self._collectors
        else:
            nodes = self._select(spec, collected)
        items = [item for node in nodes for item in session.genitems(node)]
        if HAS_DIRECTORIES:
            session._collection_cache.clear()
        everything, session.items = session.items, items
        try:
            session.config.hook.pytest_collection_modifyitems(
                session=session, config=session.config, items=items
            )
        finally:
            session.items = everything
        if spec.get("since"):
            self._leave_out_before(items, "::".join(spec["since"]))
        collected.items = list(items)
        everything += items
        self._finish()

    def _leave_out_before(self, items, name):
        """All up to a test; none if it isn't there."""
        for place, item in enumerate(items):
            if item.nodeid.partition("::")[2] == name:
                if place:
                    self._session.config.hook.pytest_deselected(items=items[:place])
                    del items[:place]
                return

    def _finish(self):
        """Fires `pytest_collection_finish`, without pytest forgetting conftests that are still to be used."""
        manager = self._session._fixturemanager
        pending = dict(getattr(manager, "_pending_conftests", ()))
        self._session.config.hook.pytest_collection_finish(session=self._session)
        if pending:
            manager._pending_conftests.update(pending)

    def _directory(self, chain):
        """The node of the innermost directory, or None if one on the way there can't be collected."""
        node = self._session
        for path in chain:
            if not HAS_DIRECTORIES and not os.path.isfile(os.path.join(path, "__init__.py")):
                continue
            child = self._directories.get((node, path))
            if child is None:
                child = self._make_directory(node, Path(path))
                self._directories[node, path] = child
                if HAS_DIRECTORIES and child is not node:
                    self._open(child)
            if child in self._broken:
                return None
            node = child
        return node

    def _make_directory(self, parent, path):
        if not HAS_DIRECTORIES:
            init = path / "__init__.py"
            hook = self._session.gethookproxy(init)
            nodes = hook.pytest_collect_file(file_path=init, parent=parent)
            return next((node for node in nodes if isinstance(node, Package)), parent)
        if parent in self._children:
            return next((node for node in self._children[parent] if node.path == path), parent)
        hook = self._session.gethookproxy(path.parent) if parent is self._session else parent.ihook
        node = hook.pytest_collect_directory(path=path, parent=parent)
        return parent if node is None else node

    def _open(self, node):
        """Collects a directory: loads its conftest, and lists it only if its class may differ."""
        if type(node) in LISTED_LAZILY:
            with listing_nothing(node):
                report = collect_one_node(node)
        else:
            report = collect_one_node(node)
            self._children[node] = report.result
        if report.outcome == "failed":
            self._broken.add(node)
        node.ihook.pytest_collectreport(report=report)

    def _find(self, path, parent):
        """The collectors of a file, usually one."""
        if parent in self._children:
            return [node for node in self._children[parent] if node.path == path]
        found = self._ask_for(path, parent)
        if not found and self._make_initial(str(path)):
            found = self._ask_for(path, parent)
        return found

    def _ask_for(self, path, parent):
        session = self._session
        hook = parent.ihook if HAS_DIRECTORIES and parent is not session else session.gethookproxy(path)
        nodes = list(hook.pytest_collect_file(file_path=path, parent=parent))
        if not HAS_DIRECTORIES and path.name == "__init__.py":
            nodes = [node for node in nodes if not isinstance(node, Package)]
            patterns = session.config.getini("python_files")
            if session.isinitpath(path) or path_matches_patterns(path, patterns):
                nodes.insert(0, Module.from_parent(parent, path=path))
        return nodes

    def _make_initial(self, path):
        """Makes pytest treat the file as one that was named on the command line."""
        session, path = self._session, Path(path)
        if path in session._initialpaths:
            return False
        session._initialpaths |= {path}
        if HAS_DIRECTORIES:
            session._initialpaths_with_parents |= {path, *path.parents}
        for finder in sys.meta_path:
            if getattr(finder, "session", None) is session:
                finder._session_paths_checked = False
        return True

    def _select(self, spec, collected):
        nodes = []
        for parts in spec["select"]:
            found, unmatched = self._match(parts)
            if not found:
                collected.notfound.append(parts)
                collected.notfound_messages.append(self._notfound_message(spec["path"], parts, unmatched))
            nodes += [node for node in found if node not in nodes]
        return nodes

    def _match(self, parts):
        """Walks down by names as pytest does for `file::Class::test`."""
        found, unmatched = [], []
        work = [(node, parts) for node in reversed(self._collectors)]
        while work:
            node, rest = work.pop()
            if not rest:
                found.append(node)
                continue
            if not isinstance(node, pytest.Collector):
                continue
            report = self._collect_node(node)
            if report.outcome != "passed":
                continue
            matching = [child for child in report.result if is_named(child.name, rest)]
            if not matching:
                unmatched.append(node)
            work += [(child, rest[1:]) for child in reversed(matching)]
        return found, unmatched

    def _collect_node(self, node):
        if HAS_DIRECTORIES:
            report, duplicate = self._session._collect_one_node(node)
        else:
            duplicate = node in self._children
            report = self._children[node] if duplicate else collect_one_node(node)
            self._children[node] = report
        if not duplicate and report.outcome != "passed":
            node.ihook.pytest_collectreport(report=report)
        return report

    def _notfound_message(self, path, parts, unmatched):
        if VERSION >= (9, 0):
            parts = parts[:-1] + [parts[-1].partition("[")[0]]
        subject = "::".join([self._paths.local_text(path), *parts])
        if not unmatched:
            return "found no collectors for %s" % subject
        if HAS_DIRECTORIES:
            return "not found: %s\n(no match in any of %r)" % (subject, unmatched)
        return "not found: %s\n(no name %r in any of %r)" % (subject, subject, unmatched)

    def _report_failure(self, spec, call):
        relative = os.path.relpath(spec["path"], str(self._session.config.rootpath)).replace(os.sep, "/")
        text = str(call.excinfo.getrepr(style="short"))
        report = CollectReport(relative, "failed", CollectErrorRepr(text), [])
        if check_interactive_exception(call, report):
            self._session.ihook.pytest_exception_interact(node=self._session, call=call, report=report)
        self._session.ihook.pytest_collectreport(report=report)


def is_named(name, parts):
    wanted = parts[0]
    if VERSION < (9, 0):
        return name == wanted or name.split("[")[0] == wanted
    if len(parts) > 1 or "[" in wanted:
        return name == wanted
    return name.split("[")[0] == wanted


@contextmanager
def listing_nothing(node):
    node.collect = list
    try:
        yield
    finally:
        del node.collect
