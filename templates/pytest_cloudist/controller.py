"""What plugins expect of a controller: to them a worker looks like a worker of pytest-xdist.

Keeps xdist itself from starting workers. Decides nothing about the run, and sends nothing.
"""

from __future__ import annotations

import base64
import json
import sys
import types
import uuid
from typing import Any, Dict, Optional

import pytest

from . import coverage

OWN_INPUT = ("workerid", "workercount", "testrunuid", "mainargv")


class HookSpecs:
    """The hooks of xdist, for plugins that implement them where xdist is not installed."""

    @pytest.hookspec()
    def pytest_xdist_setupnodes(self, config, specs):
        pass

    @pytest.hookspec()
    def pytest_xdist_newgateway(self, gateway):
        pass

    @pytest.hookspec()
    def pytest_xdist_rsyncstart(self, source, gateways):
        pass

    @pytest.hookspec()
    def pytest_xdist_rsyncfinish(self, source, gateways):
        pass

    @pytest.hookspec(firstresult=True)
    def pytest_xdist_getremotemodule(self):
        pass

    @pytest.hookspec()
    def pytest_configure_node(self, node):
        pass

    @pytest.hookspec()
    def pytest_testnodeready(self, node):
        pass

    @pytest.hookspec()
    def pytest_testnodedown(self, node, error):
        pass

    @pytest.hookspec()
    def pytest_xdist_node_collection_finished(self, node, ids):
        pass

    @pytest.hookspec(firstresult=True)
    def pytest_xdist_make_scheduler(self, config, log):
        pass

    @pytest.hookspec(firstresult=True)
    def pytest_xdist_auto_num_workers(self, config):
        pass

    @pytest.hookspec(firstresult=True)
    def pytest_handlecrashitem(self, crashitem, report, sched):
        pass


class StandIn:
    """Registered under the name `xdist` where xdist itself is absent or blocked."""


def appear(config: pytest.Config, workers: int) -> None:
    """Makes this process look like a controller to plugins that ask for it while conftests load, or later."""
    manager = config.pluginmanager
    known = getattr(manager.hook, "pytest_configure_node", None)
    if known is None or not known.has_spec():
        manager.add_hookspecs(HookSpecs)
    if manager.getplugin("xdist") is None:
        if manager.is_blocked("xdist"):
            manager._name2plugin.pop("xdist")
        manager.register(StandIn(), "xdist")
    config.known_args_namespace.numprocesses = workers


def hold_xdist_back(config: pytest.Config) -> None:
    """Undoes -n, --dist, --tx and -f from any source, before xdist acts on them."""
    for name, value in (
        ("numprocesses", None),
        ("distload", False),
        ("looponfail", False),
        ("tx", []),
        ("px", []),
    ):
        setattr(config.option, name, value)
    config.option.dist = "load"


class Gateway:
    def __init__(self, identity: str, node: Node) -> None:
        self.id = identity
        self.spec = types.SimpleNamespace(id=identity, popen=True, chdir=None, python=None, via=None, env={})
        self._node = node

    def _rinfo(self, update: bool = False) -> types.SimpleNamespace:
        return types.SimpleNamespace(**{**self._node.workerinfo, "pid": None})

    def __repr__(self) -> str:
        return f"<Gateway id={self.id!r}>"


class Node:
    """One worker, as plugins see it."""

    def __init__(self, config: pytest.Config, nodemanager: types.SimpleNamespace, number: int) -> None:
        self.config = config
        self.nodemanager = nodemanager
        self.workerinfo: Dict[str, Any] = {"id": f"gw{number}", **_worker_info({})}
        self.gateway = Gateway(f"gw{number}", self)
        self.workerinput: Dict[str, Any] = {
            "workerid": f"gw{number}",
            "workercount": nodemanager.workers,
            "testrunuid": nodemanager.testrunuid,
            "mainargv": list(sys.argv),
        }

    def __repr__(self) -> str:
        return f"<Node {self.gateway.id}>"


def _worker_info(told: Dict[str, Any]) -> Dict[str, Any]:
    version = list(told.get("version_info") or sys.version_info)
    version += [0, 0, 0, "final", 0][len(version) :]
    system = told.get("sysplatform") or sys.platform
    return {
        "version": told.get("version") or "{}.{}.{}".format(*version),
        "version_info": tuple(version),
        "sysplatform": system,
        "platform": told.get("platform") or system,
        "executable": told.get("executable") or sys.executable,
        "cwd": told.get("cwd") or "",
    }


class Controller:
    """Holds the node objects, and calls the hooks that announce them."""

    def __init__(self, config: pytest.Config, workers: int) -> None:
        self._config = config
        self._manager = types.SimpleNamespace(
            config=config, roots=[], specs=[], workers=workers, testrunuid=uuid.uuid4().hex
        )
        self._nodes: Dict[int, Node] = {}

    @property
    def testrunuid(self) -> str:
        return self._manager.testrunuid

    def input_from_plugins(self) -> Dict[str, Any]:
        """What plugins want every worker to know, as JSON."""
        node = self._node(0)
        wanted = {name: value for name, value in node.workerinput.items() if name not in OWN_INPUT}
        return {name: value for name, value in ((n, encode(v)) for n, v in wanted.items())}

    def node(self, number: int) -> Node:
        return self._node(number)

    def plan(self, workers: int) -> None:
        self._manager.workers = workers

    def up(self, number: int, info: Dict[str, Any]) -> None:
        node = self._node(number)
        node.workerinfo.update(info, **_worker_info(info), spec=node.gateway.spec)
        self._config.hook.pytest_testnodeready(node=node)

    def down(self, number: int, output: Optional[Dict[str, Any]], error: Optional[str]) -> None:
        node = self._node(number)
        if output is not None:
            node.workeroutput = output  # type: ignore[attr-defined]
            coverage.map_paths(self._config, node.workerinfo.get("paths"), output)
        self._config.hook.pytest_testnodedown(node=node, error=error)

    def _node(self, number: int) -> Node:
        node = self._nodes.get(number)
        if node is None:
            node = self._nodes[number] = Node(self._config, self._manager, number)
            self._config.hook.pytest_configure_node(node=node)
        return node


def encode(value: Any) -> Any:
    """JSON for a value of workerinput: bytes as `{"__bytes__": base64}`; what JSON cannot hold, as its text."""
    if isinstance(value, (bytes, bytearray)):
        return {"__bytes__": base64.b64encode(value).decode("ascii")}
    if isinstance(value, dict):
        return {str(name): encode(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [encode(item) for item in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def decode(blob: bytes) -> Optional[Dict[str, Any]]:
    """A worker's output, with its bytes."""
    return json.loads(blob, object_hook=_bytes) if blob else None


def _bytes(value: Dict[str, Any]) -> Any:
    return base64.b64decode(value["__bytes__"]) if value.keys() == {"__bytes__"} else value
