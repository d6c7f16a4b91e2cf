"""`Rig`: the account, its machines, the API in front of them, the public pages; put together, taken apart."""

from __future__ import annotations

import atexit
import datetime
import pathlib
import shutil
import tempfile
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from .account import Account
from .addresses import Addresses
from .api import Api
from .calls import Call, Calls
from .faults import Faults
from .imds import Metadata
from .instance import Instance
from .instances import CRASHED, RECLAIMED
from .loop import Loop
from .public_web import PublicWeb

PATIENCE = 20.0


class Rig:
    def __init__(
        self,
        boot_seconds: float = 0.0,
        octet: Optional[int] = None,
        *,
        ssh_seconds: float = 0.0,
        terminate_seconds: float = 0.0,
        minute_seconds: float = 60.0,
        client_address: str = "127.0.0.1/32",
        machine_path: Sequence[str] = (),
        machine_files: Mapping[str, str] = {},
    ) -> None:
        self._addresses = Addresses(octet)
        self.octet = self._addresses.octet
        self._place = pathlib.Path(tempfile.mkdtemp(prefix="ec2-rig-"))
        self._place.chmod(0o711)
        self._loop = Loop()
        self.calls = Calls()
        self.faults = Faults()
        self.account = Account(self._loop, self.faults, self._addresses, self._place)
        life = self.account.instances
        life.boot_seconds = boot_seconds
        life.ssh_seconds = ssh_seconds
        life.terminate_seconds = terminate_seconds
        life.minute_seconds = minute_seconds
        life.client_address = client_address
        life.machine_path = [str(path) for path in machine_path]
        life.machine_files = machine_files
        self._metadata = Metadata(life, self._loop)
        life.on_launch = self._metadata.serve
        self._api = Api(self.account, self.calls, self.faults, self.problems)
        self.web = PublicWeb(self.account)
        self._closed = False
        atexit.register(self.close)

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, kind: Any, *exception: Any) -> None:
        self.close()
        if kind is None and self.problems:
            raise AssertionError("\n".join(["the rig itself failed:", *self.problems]))

    @property
    def problems(self) -> List[str]:
        """What went wrong in the rig and was not asked for."""
        return self._loop.problems

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._api.close()
        self.web.close()
        self.account.close()
        self._metadata.close()
        self._loop.close()
        self._addresses.close()
        shutil.rmtree(self._place, ignore_errors=True)

    @property
    def environment(self) -> Dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self._api.url,
            "AWS_ACCESS_KEY_ID": "AKIARIGRIGRIGRIGRIG0",
            "AWS_SECRET_ACCESS_KEY": "rig",
            "AWS_REGION": self.account.region,
            "AWS_DEFAULT_REGION": self.account.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "CLOUDIST_SPOT_ADVISOR_URL": self.web.advisor_url,
            "CLOUDIST_CHECKIP_URL": self.web.checkip_url,
        }

    # What there is.

    def listing(self) -> Dict[str, List[str]]:
        return self.account.listing()

    def instances(self) -> List[Instance]:
        """All there ever were, in the order of their launch."""
        return list(self.account.instances)

    def instance(self, identity: str) -> Instance:
        return self.account.instances.get(identity)

    # What is waited for.

    def wait_call(self, action: str, timeout: float = PATIENCE, count: int = 1) -> Call:
        """Until the action was answered so many times; the last of these calls."""

        def answered(calls: List[Call]) -> Optional[Call]:
            found = [call for call in calls if call.action == action and call.ended is not None]
            return found[count - 1] if len(found) >= count else None

        return self.calls.wait(answered, timeout, f"call of {action}")

    def wait(self, condition: Callable[[], Any], timeout: float = PATIENCE, what: str = "such change") -> Any:
        """Until the condition holds; it is asked anew after each change of an instance."""
        with self.account.instances.changed:
            result = self.account.instances.changed.wait_for(condition, timeout)
        if not result:
            states = {instance.id: instance.state for instance in self.instances()}
            raise AssertionError(f"no {what} within {timeout:g} s; instances: {states}")
        return result

    def wait_state(
        self, state: str, count: Optional[int] = None, timeout: float = PATIENCE
    ) -> List[Instance]:
        """Until so many instances (all when None, at least one) are in that state."""

        def reached() -> List[Instance]:
            every = self.instances()
            found = [instance for instance in every if instance.state == state]
            enough = len(found) >= count if count is not None else len(found) == len(every)
            return found if enough else []

        return self.wait(reached, timeout, f"{count or 'all'} {state}")

    def wait_ssh(self, identity: str, timeout: float = PATIENCE) -> Instance:
        """Until its SSH server listens on both addresses."""
        instance = self.instance(identity)
        self.wait(lambda: instance.state != "pending", timeout, f"machine of {identity}")
        end = time.monotonic() + timeout
        while (log := self._machine(identity).ssh_log()).count("Server listening") < 2:
            if time.monotonic() > end:
                raise AssertionError(f"no SSH within {timeout:g} s\n{instance.console}\n{log}")
            time.sleep(0.01)  # sshd tells nobody but its log
        return instance

    # What happens to machines.

    def interrupt(self, identity: str, notice: float = 120.0) -> None:
        """Announces the end in the metadata and makes it come after `notice` seconds."""
        self.account.instances.interrupt(self.instance(identity), notice)

    def rebalance(self, identity: str) -> None:
        """Recommends in the metadata to leave it soon."""
        now = datetime.datetime.now(datetime.timezone.utc)
        self.instance(identity).rebalance = now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def reclaim(self, identity: str) -> None:
        """A spot interruption without notice."""
        self.account.instances.end(self.instance(identity), RECLAIMED)

    def crash(self, identity: str) -> None:
        """Every process in it is killed at once; what it had open is closed by the kernel."""
        self.account.instances.crash(self.instance(identity), CRASHED)

    def lose(self, identity: str) -> None:
        """Its host is gone: nothing closes its connections, they just fall silent; terminated likewise."""
        self.account.instances.lose(self.instance(identity), CRASHED)

    def freeze(self, identity: str) -> None:
        """Every process in it stands still: its connections stay open and silent."""
        self._machine(identity).freeze()

    def thaw(self, identity: str) -> None:
        self._machine(identity).thaw()

    def processes(self, identity: str) -> List[int]:
        """The ids on this host of all that runs in it."""
        machine = self.instance(identity).machine
        return sorted(machine.processes()) if machine is not None else []

    def _machine(self, identity: str) -> Any:
        machine = self.instance(identity).machine
        if machine is None:
            raise AssertionError(f"{identity} has no machine; it is {self.instance(identity).state}")
        return machine

    # What is set.

    def price(self, type: str, zone: str, dollars: float) -> None:
        self.account.market.set_price(type, zone, dollars)

    def advisor(self, type: str, bucket: int, savings: int = 65) -> None:
        self.web.advise(type, bucket, savings)

    def lose_default_vpc(self) -> None:
        self.account.lose_default_vpc()

    def on_call(
        self, action: str, callback: Callable[[Call], Any], when: str = "before"
    ) -> Callable[[], None]:
        """Calls back in the middle of each such call ("*": of any): `before` it has an effect, or `after`
        that and before it is answered. A callback that gives `DROP` ends the call there: the connection
        closes, and a call that was met before its effect has none. The result takes the hook away again."""
        if when not in ("before", "after"):
            raise ValueError(f"a hook is called before or after, not {when!r}")
        return self._api.on_call(action, when, callback)
