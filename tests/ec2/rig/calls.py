"""The log of API calls, in the order in which they came, to be asked and to be waited for."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Optional


@dataclasses.dataclass
class Call:
    """One request. `reply` and `error` are None until it is answered; `error` is the error's code."""

    action: str
    parameters: Dict[str, Any]
    began: float
    reply: Any = None
    error: Optional[str] = None
    message: str = ""
    took_effect: bool = False
    ended: Optional[float] = None

    def __repr__(self) -> str:
        return f"<{self.action} {'...' if self.ended is None else self.error or 'ok'}>"


class Calls:
    """Iterable; `calls["CreateFleet"]` is the list of that action's calls."""

    def __init__(self) -> None:
        self._calls: List[Call] = []
        self._changed = threading.Condition()

    def begin(self, action: str, parameters: Dict[str, Any]) -> Call:
        call = Call(action, parameters, time.time())
        with self._changed:
            self._calls.append(call)
            self._changed.notify_all()
        return call

    def end(self, call: Call) -> None:
        with self._changed:
            call.ended = time.time()
            self._changed.notify_all()

    def wait(self, condition: Callable[[List[Call]], Any], timeout: float, what: str) -> Any:
        """Until the condition on all calls so far gives something true; that is the result."""
        with self._changed:
            result = self._changed.wait_for(lambda: condition(self._calls), timeout)
            if not result:
                raise AssertionError(f"no {what} within {timeout:g} s; calls: {self._calls}")
            return result

    def actions(self) -> List[str]:
        return [call.action for call in self]

    def clear(self) -> None:
        with self._changed:
            self._calls.clear()

    def __iter__(self) -> Iterator[Call]:
        with self._changed:
            return iter(list(self._calls))

    def __len__(self) -> int:
        return len(self._calls)

    def __getitem__(self, action: str) -> List[Call]:
        return [call for call in self if call.action == action]
