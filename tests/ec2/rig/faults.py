"""What shall go wrong, set by a test before or during a run.

Only keeps and counts; the rooms that know how a fault looks ask here whether it is due. `clear()` ends all.
"""

from __future__ import annotations

import base64
import dataclasses
import threading
from typing import Any, Dict, List, Optional, Tuple

from .errors import ApiError

MESSAGES = {
    "RequestExpired": "Request has expired.",
    "ExpiredToken": "The security token included in the request is expired",
    "AuthFailure": "AWS was not able to validate the provided access credentials",
    "RequestLimitExceeded": "Request limit exceeded.",
    "InternalError": "An internal error has occurred",
    "Unavailable": "The service is unavailable. Please try again shortly.",
}


@dataclasses.dataclass
class Fault:
    """Due for `times` occasions (always when None) after the first `skip` have passed."""

    value: Any
    times: Optional[int]
    skip: int = 0

    def due(self) -> bool:
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


class Faults:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        self._of_calls: List[Tuple[str, str, Fault]] = []
        self._of_machines: Dict[str, Fault] = {}
        self._capacity: Dict[Tuple[Optional[str], Optional[str]], int] = {}
        self._quotas: Dict[str, int] = {}

    # Of calls: `action` is a name, or "*" for every call.

    def error(
        self, action: str, code: str, message: str = "", times: Optional[int] = None, skip: int = 0
    ) -> None:
        """The call has no effect and gives this error."""
        error = ApiError(code, message or MESSAGES.get(code, code))
        self._of_calls.append((action, "error", Fault(error, times, skip)))

    def throttle(self, action: str, calls: int) -> None:
        self.error(action, "RequestLimitExceeded", times=calls)

    def expired(self, code: str = "RequestExpired") -> None:
        """The credentials are no longer good: RequestExpired, ExpiredToken or AuthFailure for every call."""
        self.error("*", code)

    def unauthorized(self, action: str) -> None:
        encoded = base64.urlsafe_b64encode(f"explicit or implicit deny of {action} ".encode() * 8).decode()
        message = (
            "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/rig is "
            f"not authorized to perform: ec2:{action} on resource: arn:aws:ec2:us-east-1:123456789012:*/* "
            f"because no identity-based policy allows the ec2:{action} action. "
            f"Encoded authorization failure message: {encoded}"
        )
        self.error(action, "UnauthorizedOperation", message)

    def slow(self, action: str, seconds: float, times: Optional[int] = None) -> None:
        """The call takes effect, and is answered, so much later."""
        self._of_calls.append((action, "slow", Fault(seconds, times)))

    def drop_reply(self, action: str, times: int = 1) -> None:
        """The call takes effect, but the connection closes without an answer. (SDKs then try again.)"""
        self._of_calls.append((action, "drop", Fault(True, times)))

    # Of the market.

    def capacity(self, type: Optional[str] = None, zone: Optional[str] = None, available: int = 0) -> None:
        """Only so many more of this type (any when None) can be had in this zone (in all when None)."""
        self._capacity[type, zone] = available

    def spot_quota(self, vcpus: int) -> None:
        self._quotas["spot"] = vcpus

    def on_demand_quota(self, vcpus: int) -> None:
        self._quotas["on-demand"] = vcpus

    # Of machines: for the next `times` that are launched (all when None), after the first `skip`.

    def never_boots(self, times: Optional[int] = None, skip: int = 0) -> None:
        """The instance stays in `pending`."""
        self._of_machines["never_boots"] = Fault(True, times, skip)

    def fails_to_boot(self, times: Optional[int] = None, skip: int = 0) -> None:
        """The instance ends from `pending` with Server.InternalError."""
        self._of_machines["fails_to_boot"] = Fault(True, times, skip)

    def vanishes(self, times: Optional[int] = None, skip: int = 0) -> None:
        """The instance is reclaimed as soon as it runs."""
        self._of_machines["vanishes"] = Fault(True, times, skip)

    def impostor(self, times: Optional[int] = None, skip: int = 0) -> None:
        """Its SSH server shows another host key than the one in the user data."""
        self._of_machines["impostor"] = Fault(True, times, skip)

    def ssh_blocked(self, times: Optional[int] = None, skip: int = 0) -> None:
        """Its port 22 doesn't answer."""
        self._of_machines["ssh_blocked"] = Fault(True, times, skip)

    def no_python(self, times: Optional[int] = None, skip: int = 0) -> None:
        self._of_machines["no_python"] = Fault(True, times, skip)

    def disk_full(self, size: str = "256k", times: Optional[int] = None, skip: int = 0) -> None:
        """The login user's home directory holds no more than this."""
        self._of_machines["disk_full"] = Fault(size, times, skip)

    def late(self, seconds: float = 0.5, times: Optional[int] = None, skip: int = 0) -> None:
        """Descriptions don't know the instance for so long after its launch."""
        self._of_machines["late"] = Fault(seconds, times, skip)

    # Asked by the rooms that make it so.

    def of_call(self, kind: str, action: str) -> Any:
        with self._lock:
            for name, this, fault in self._of_calls:
                if this == kind and name in (action, "*") and fault.due():
                    return fault.value
        return None

    def of_machine(self, kind: str) -> Any:
        with self._lock:
            fault = self._of_machines.get(kind)
            return fault.value if fault is not None and fault.due() else None

    def quota(self, market: str) -> Optional[int]:
        return self._quotas.get(market)

    def left(self, type: str, zone: str) -> float:
        """How many more of it can be had."""
        return min((self._capacity[key] for key in self._limits(type, zone)), default=float("inf"))

    def take(self, type: str, zone: str) -> None:
        for key in self._limits(type, zone):
            self._capacity[key] -= 1

    def _limits(self, type: str, zone: str) -> List[Tuple[Optional[str], Optional[str]]]:
        return [key for key in self._capacity if key[0] in (None, type) and key[1] in (None, zone)]
