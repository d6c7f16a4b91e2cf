"""Calls the hooks that hear of each test, as pluggy does: without what it does at each call for wrappers and for defaults, where a hook has
none of that.

Calls what is registered at that moment, in its order. Where pluggy is not what is expected here, pluggy calls.
"""

from __future__ import annotations

from typing import Any, Callable, List, Optional, Tuple

OF_A_TEST = ("pytest_runtest_logstart", "pytest_runtest_logreport", "pytest_runtest_logfinish")


class Hooks:
    """The hooks that apply to a path."""

    def __init__(self, manager: Any, hooks: Any) -> None:
        self._hooks = hooks
        for name in OF_A_TEST:
            setattr(self, name, quick(manager, getattr(hooks, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hooks, name)


def quick(manager: Any, caller: Any) -> Callable[..., Any]:
    # A subset of a hook's implementations is found out anew at each call.
    is_whole = type(caller).__name__ == "HookCaller" and isinstance(getattr(caller, "_hookimpls", None), list)
    if not is_whole or not hasattr(manager, "_inner_hookexec"):
        return caller  # type: ignore[no-any-return]
    known: List[Any] = []
    calls: Optional[List[Tuple[Callable[..., Any], Tuple[str, ...]]]] = []

    def call(**values: Any) -> None:
        nonlocal known, calls
        implementations = caller._hookimpls
        if implementations != known:
            known = implementations.copy()
            calls = None if any(is_special(one) for one in known) else [plain(one) for one in reversed(known)]
        if calls is None or getattr(manager._inner_hookexec, "__name__", "") != "_multicall":
            caller(**values)
            return
        for function, names in calls:
            function(*[values[name] for name in names])

    return call


def is_special(implementation: Any) -> bool:
    return bool(
        implementation.hookwrapper
        or getattr(implementation, "wrapper", False)
        or getattr(implementation, "kwargnames", ())
    )


def plain(implementation: Any) -> Tuple[Callable[..., Any], Tuple[str, ...]]:
    return implementation.function, tuple(implementation.argnames)
