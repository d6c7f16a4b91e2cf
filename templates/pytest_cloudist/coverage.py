"""pytest-cov beside cloudist: what the workers measured counts for the files here.

Does nothing where pytest-cov is absent or idle. Measures nothing itself.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Optional

import pytest


def _controller(config: pytest.Config) -> Any:
    return getattr(config.pluginmanager.getplugin("_cov"), "cov_controller", None)


def claim(config: pytest.Config, workers: int) -> None:
    """pytest-cov picks its way of measuring as conftests begin to load: tells it when this plugin came after that."""
    plugin = config.pluginmanager.getplugin("_cov")
    controller = _controller(config)
    if controller is None or hasattr(controller, "configure_node"):
        return
    from pytest_cov import engine

    controller.cov.stop()
    plugin.options.numprocesses = workers
    plugin.start(engine.DistMaster)


def map_paths(config: pytest.Config, paths: Optional[List[List[str]]], output: Dict[str, Any]) -> None:
    """Lets the data of workers be combined under the paths here: `paths` are pairs of remote and local prefixes."""
    combining = getattr(_controller(config), "combining_cov", None)
    remote = output.get("cov_worker_path")
    if combining is None or remote is None:
        return
    for there, here in paths or [_same_place(remote, str(config.invocation_params.dir))]:
        known = combining.config.paths.setdefault(f"cloudist {here}", [here])
        if there not in known:
            known.append(there)


def _same_place(remote: str, here: str) -> List[str]:
    """The highest directories above a pair of working directories that are still named alike."""
    above = [os.path.dirname(remote), os.path.dirname(here)]
    if os.path.basename(above[0]) != os.path.basename(above[1]) or above[1] == os.path.dirname(above[1]):
        return [remote, here]
    return _same_place(*above)


def leave_out_this_plugin(config: pytest.Config) -> None:
    """A measurement without a source would count the modules of this plugin."""
    measuring = getattr(_controller(config), "cov", None)
    if measuring is None:
        return
    measuring.stop()
    data = measuring.get_data()
    own = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")
    files = data.measured_files()
    if any(path.startswith(own) for path in files):
        read, write = (data.arcs, data.add_arcs) if data.has_arcs() else (data.lines, data.add_lines)
        kept = {path: read(path) for path in files if not path.startswith(own)}
        data.erase()
        write(kept)
