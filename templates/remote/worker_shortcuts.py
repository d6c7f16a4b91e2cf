"""Answers that pytest works out anew for each test and that stay the same: whose hooks apply, where a file is.

Remembers them; never changes one. Where a pytest doesn't have what is remembered here, it goes on as it is.
"""

import functools
import os
from pathlib import Path

import _pytest._code.code
import _pytest.config
import _pytest.nodes

directory_of = getattr(_pytest.config, "_get_directory", None)


class HookProxies:
    """The hooks that apply to a path, until a plugin or a conftest is loaded."""

    def __init__(self, session):
        self._ask = session.gethookproxy
        self._seen = directory_of and getattr(session.config.pluginmanager, "_dirpath2confmods", None)
        self._known = {}
        session.gethookproxy = self._look

    def _look(self, fspath):
        try:
            return self._known[fspath]
        except KeyError:
            proxy = self._ask(fspath)
        # The conftests of a directory that was not seen yet may be loaded for another one: nothing tells when they count here, too.
        if self._seen and directory_of(Path(fspath)) in self._seen:
            self._known[fspath] = proxy
        return proxy

    def pytest_plugin_registered(self):
        self._known.clear()


def remember_paths():
    """The absolute form of an absolute path is asked for several times a test, and made with `pathlib` each time."""
    for module in (_pytest._code.code, _pytest.nodes):
        absolutepath = getattr(module, "absolutepath", None)
        if absolutepath is not None:
            module.absolutepath = remembered(absolutepath)


def remember_sources():
    """Where a function's code comes from is asked for each test, and looked up on the disk each time."""
    found = getattr(_pytest._code.code.Code, "path", None)
    if isinstance(found, property):
        _pytest._code.code.Code.path = property(remembered_path(found.fget))


def remembered_path(find):
    known = {}

    def look(code):
        name = code.raw.co_filename
        try:
            return known[name]
        except KeyError:
            path = find(code)
            if isinstance(path, os.PathLike) and os.path.isabs(name):
                known[name] = path
            return path

    return look


def remembered(absolutepath):
    known = {}

    @functools.wraps(absolutepath)
    def look(path):
        try:
            return known[path]
        except KeyError:
            result = absolutepath(path)
            if os.path.isabs(path):
                known[path] = result
            return result
        except TypeError:
            return absolutepath(path)

    return look
