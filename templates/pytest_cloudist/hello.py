"""What the engine is told at the start: arguments for the workers, the project's part of sys.path, and settings.

Reads the command line with pytest's own table of options. Changes nothing, in this process or elsewhere.
"""

from __future__ import annotations

import argparse
import collections
import os
import shlex
import site
import sys
import sysconfig
from typing import Any, Deque, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import pytest

from .bridge import PROTOCOL
from .collect import split_argument

SYS_PATH = tuple(sys.path)

LOCAL_OPTIONS = frozenset(
    "numprocesses maxprocesses maxworkerrestart dist distload loadscopereorder tx px rsyncdir rsyncignore "
    "testrunuid maxschedchunk looponfail "
    "xmlpath pastebin lf failedfirst newfirst last_failed_no_failures stepwise stepwise_skip stepwise_reset "
    "cacheclear usepdb usepdb_cls trace rootdir inifilename color".split()
)
LOCAL_PLUGINS = frozenset(["cloudist", "pytest_cloudist", "xdist", "no:xdist"])


class Piece(NamedTuple):
    """An option with its values as they were spelled, or a single positional argument."""

    action: Optional[argparse.Action]
    words: Tuple[str, ...]

    def value(self) -> str:
        if len(self.words) > 1:
            return self.words[1]
        word = self.words[0]
        return word.partition("=")[2] if word.startswith("--") else word[2:].lstrip("=")

    def with_value(self, value: str) -> Tuple[str, ...]:
        if len(self.words) > 1:
            return (self.words[0], value)
        return (self.words[0][: len(self.words[0]) - len(self.value())] + value,)


def pieces(parser: argparse.ArgumentParser, words: Sequence[str]) -> Iterator[Piece]:
    """Cuts a command line as argparse does with this parser."""
    if parser.fromfile_prefix_chars:
        words = parser._read_args_from_files(list(words))
    left: Deque[str] = collections.deque(words)
    while left:
        word = left.popleft()
        if word == "--":
            yield from (Piece(None, (positional,)) for positional in left)
            return
        action, attached = _option(parser._option_string_actions, word)
        if action is None:
            yield Piece(None, (word,))
        elif action.nargs == 0 and attached:
            left.appendleft("-" + word[2:])
            yield Piece(action, (word[:2],))
        elif attached:
            yield Piece(action, (word,))
        else:
            yield Piece(action, (word, *(left.popleft() for _ in range(_value_count(action, left)))))


def _option(table: Dict[str, argparse.Action], word: str) -> Tuple[Optional[argparse.Action], bool]:
    """The option that a word spells, and whether a value (or another short option) is attached to it."""
    if len(word) < 2 or word[0] != "-":
        return None, False
    if word in table:
        return table[word], False
    name = word.partition("=")[0]
    if name in table:
        return table[name], True
    if word[1] != "-" and word[:2] in table:
        return table[word[:2]], True
    return None, False


def _value_count(action: argparse.Action, following: Sequence[str]) -> int:
    if action.nargs is None:
        return min(1, len(following))
    if isinstance(action.nargs, int):
        return min(action.nargs, len(following))
    values = 0
    while values < len(following) and not (len(following[values]) > 1 and following[values][0] == "-"):
        values += 1
    return min(values, 1) if action.nargs == "?" else values


def worker_arguments(config: pytest.Config) -> List[str]:
    """The options for a worker, then the paths (relative to the working directory) whose conftests it must load."""
    words = shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    words += [os.fspath(word) for word in config.invocation_params.args]
    here = str(config.invocation_params.dir)
    roots = (here, str(config.rootpath))
    options: List[str] = []
    paths: List[str] = []
    for piece in pieces(config._parser.optparser, words):
        if piece.action is None:
            paths.append(_path_argument(config, here, piece.words[0]))
        elif not _stays_here(piece):
            value = piece.value() if piece.action.nargs != 0 else ""
            if os.path.isabs(value) and any(_under(value, root) for root in roots):
                options += piece.with_value(os.path.relpath(value, here))
            else:
                options += piece.words
    return [*options, _color(config), *dict.fromkeys(paths)]


def _stays_here(piece: Piece) -> bool:
    assert piece.action is not None
    dest = piece.action.dest
    if dest == "plugins":
        return piece.value() in LOCAL_PLUGINS
    return dest in LOCAL_OPTIONS or dest == "cloudist" or dest.startswith("cd_")


def _path_argument(config: pytest.Config, here: str, argument: str) -> str:
    path = split_argument(argument)[0]
    if config.option.pyargs and not os.path.exists(os.path.join(here, path)):
        return path
    return os.path.relpath(os.path.join(here, path), here)


def _color(config: pytest.Config) -> str:
    terminal = config.pluginmanager.getplugin("terminalreporter")
    return "--color=yes" if terminal is not None and terminal.hasmarkup else "--color=no"


def project_path(entries: Sequence[str], here: str) -> List[str]:
    """The entries of sys.path that are the project's: not the interpreter's, not this plugin's, and there."""
    prefixes = [
        sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
    ]
    prefixes += site.getsitepackages() if hasattr(site, "getsitepackages") else []
    prefixes += [site.getusersitepackages()] if hasattr(site, "getusersitepackages") else []
    if sys.prefix != sys.base_prefix:
        prefixes.append(os.path.join(sys.prefix, "lib"))
    exact = {
        os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
        os.path.dirname(sys.executable),
        *_script_directory(),
    }
    kept = []
    for entry in entries:
        path = os.path.abspath(os.path.join(here, entry))
        if os.path.isdir(path) and path not in exact and not any(_under(path, prefix) for prefix in prefixes):
            kept.append(path)
    return list(dict.fromkeys(kept))


def _script_directory() -> List[str]:
    """A bare `pytest` has the directory of its script on sys.path; `python -m pytest` has the working directory."""
    script = sys.argv[0] if sys.argv else ""
    named = os.path.splitext(os.path.basename(script))[0]
    return [os.path.dirname(os.path.abspath(script))] if named in ("pytest", "py.test") else []


def editable_roots() -> List[str]:
    """The directories behind setuptools' finders of editable installs."""
    roots = []
    for finder in sys.meta_path:
        name = getattr(finder, "__module__", None) or ""
        if name.startswith("__editable__") and name.endswith("_finder"):
            mapping = getattr(sys.modules.get(name), "MAPPING", {})
            roots += [os.path.dirname(os.path.abspath(path)) for path in mapping.values()]
    return list(dict.fromkeys(root for root in roots if os.path.isdir(root)))


def _under(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(os.path.join(prefix, ""))


def compose(
    config: pytest.Config, mode: str, flags: Dict[str, List[str]], workerinput: Dict[str, Any]
) -> Dict[str, Any]:
    here = str(config.invocation_params.dir)
    return {
        "protocol": PROTOCOL,
        "pytest": pytest.__version__,
        "python": sys.executable,
        "cwd": here,
        "rootdir": str(config.rootpath),
        "inipath": None if config.inipath is None else str(config.inipath),
        "sys_path": project_path(SYS_PATH, here),
        "roots": editable_roots(),
        "args": worker_arguments(config),
        "mainargv": list(sys.argv),
        "flags": flags,
        "mode": mode,
        "maxfail": config.getvalue("maxfail") or 0,
        "continue_on_collection_errors": bool(config.getvalue("continue_on_collection_errors")),
        "ordered": any(config.getoption(name, False) for name in ("failedfirst", "newfirst", "stepwise"))
        and not config.getoption("lf", False),
        "workerinput": workerinput,
    }
