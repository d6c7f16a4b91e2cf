"""What happens to instances: launch, boot, interruption, shutdown, end; and the machine behind each.

Every change is made under the account's lock; what takes long (laying out a machine, ending one) is not.
"""

from __future__ import annotations

import datetime
import ipaddress
import pathlib
import secrets
import threading
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from . import user_data
from .addresses import Addresses, Silence
from .errors import ApiError
from .faults import Faults
from .instance import Instance
from .loop import Loop
from .machine import Machine, Specification

USER_INITIATED = ("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")
SELF_INITIATED = (
    "Client.InstanceInitiatedShutdown",
    "Client.InstanceInitiatedShutdown: Instance initiated shutdown",
)
RECLAIMED = ("Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination")
INTERNAL_ERROR = ("Server.InternalError", "Server.InternalError: Internal error on launch")
CRASHED = ("Server.InternalError", "Server.InternalError: The underlying host failed")
METADATA_PORT = 1338


class Instances:
    """The instances of the account. `boot_seconds` are spent in `pending`, `ssh_seconds` until SSH is served
    after that, `terminate_seconds` in `shutting-down`; a minute of `shutdown` lasts `minute_seconds`."""

    boot_seconds = 0.0
    ssh_seconds = 0.0
    terminate_seconds = 0.0
    minute_seconds = 60.0
    client_address = "127.0.0.1/32"
    machine_path: Sequence[str] = ()
    machine_files: Mapping[str, str] = {}

    def __init__(
        self,
        backend: Any,
        lock: threading.RLock,
        loop: Loop,
        faults: Faults,
        addresses: Addresses,
        place: pathlib.Path,
    ) -> None:
        self._backend = backend
        self._loop = loop
        self._faults = faults
        self._addresses = addresses
        self._place = place
        self._silence = Silence()
        self._by_id: Dict[str, Instance] = {}
        self._lost: List[Machine] = []
        self._closed = False
        self.on_launch: Callable[[Instance], None] = lambda instance: None
        self.changed = threading.Condition(lock)

    def __iter__(self):
        return iter(list(self._by_id.values()))

    def get(self, identity: str) -> Instance:
        if identity not in self._by_id:
            raise ApiError("InvalidInstanceID.NotFound", f"The instance ID '{identity}' does not exist")
        return self._by_id[identity]

    def visible(self, identity: Optional[str] = None) -> List[Instance]:
        """Those that descriptions know by now; with an id that one, or the error."""
        now = time.monotonic()
        if identity is None:
            return [instance for instance in self if instance.visible_from <= now]
        instance = self.get(identity)
        if instance.visible_from > now:
            raise ApiError("InvalidInstanceID.NotFound", f"The instance ID '{identity}' does not exist")
        return [instance]

    # Launch and boot.

    def launch(
        self,
        *,
        tags: Dict[str, str],
        volume_tags: Dict[str, str],
        devices: List[Dict[str, Any]],
        public: bool,
        **values: Any,
    ) -> Instance:
        identity = f"i-{secrets.token_hex(9)[:17]}"
        address, private_ip = self._addresses.pair()
        self._backend.tags[identity].update(tags)
        instance = Instance(
            id=identity,
            tags=self._backend.tags[identity],
            address=address,
            public_ip=address if public else None,
            private_ip=private_ip,
            **values,
        )
        self._attach(instance, devices, volume_tags)
        instance.blocked = bool(self._faults.of_machine("ssh_blocked"))
        instance.visible_from = time.monotonic() + (self._faults.of_machine("late") or 0.0)
        self._by_id[identity] = instance
        self.on_launch(instance)
        if self.boot_seconds > 0:
            self._silence_begins(instance)
        if self._faults.of_machine("never_boots"):
            self._silence_begins(instance)
        elif self._faults.of_machine("fails_to_boot"):
            self._loop.later(self.boot_seconds, lambda: self.end(instance, INTERNAL_ERROR))
        else:
            machine_faults = {
                kind: self._faults.of_machine(kind) for kind in ("impostor", "no_python", "disk_full")
            }
            vanishes = self._faults.of_machine("vanishes")
            self._loop.later(self.boot_seconds, lambda: self._boot(instance, machine_faults, bool(vanishes)))
        self.changed.notify_all()
        return instance

    def _attach(self, instance: Instance, devices: List[Dict[str, Any]], tags: Dict[str, str]) -> None:
        root = {"DeviceName": instance.image.root_device, "Ebs": {"VolumeSize": instance.image.gigabytes}}
        named = {device["DeviceName"]: device for device in [root, *devices] if "Ebs" in device}
        for name, device in named.items():
            settings = device["Ebs"]
            volume = self._backend.create_volume(
                size=int(settings.get("VolumeSize") or instance.image.gigabytes),
                zone_name=instance.zone,
                volume_type=settings.get("VolumeType") or "gp3",
            )
            self._backend.tags[volume.id].update(tags)
            delete = settings.get("DeleteOnTermination")
            instance.volumes.append((name, volume, True if delete is None else bool(delete)))

    def _boot(self, instance: Instance, faults: Dict[str, Any], vanishes: bool) -> None:
        machine = Machine(self._place / instance.id, self._specification(instance, faults))
        with self.changed:
            if instance.state != "pending" or self._closed:
                machine.remove()
                return
            if self.admits(instance):
                self._silence_ends(instance)
                if self.ssh_seconds <= 0:
                    machine.admit()
            else:
                self._silence_begins(instance)
            instance.machine = machine
            process = machine.start()
            instance.state = "running"
            self.changed.notify_all()
        self._loop.on_exit(process, lambda: self._stopped_by_itself(instance))
        if self.ssh_seconds > 0:
            self._loop.later(self.ssh_seconds, lambda: self._open(instance))
        if vanishes:
            self.end(instance, RECLAIMED)

    def _specification(self, instance: Instance, faults: Dict[str, Any]) -> Specification:
        keys = []
        if instance.key_name:
            keys.append(self._backend.key_pairs[instance.key_name].material_public)
        return Specification(
            name=f"ip-{instance.private_ip.replace('.', '-')}",
            user=instance.image.user,
            addresses=(instance.address, instance.private_ip),
            metadata=f"http://{instance.private_ip}:{METADATA_PORT}",
            user_data=user_data.read(instance.user_data),
            authorized_keys=[key.decode() if isinstance(key, bytes) else key for key in keys],
            path=self.machine_path,
            files=self.machine_files,
            minute=self.minute_seconds,
            home_size=faults["disk_full"],
            python=not faults["no_python"],
            own_host_key=not faults["impostor"],
            home=instance.image.home,
        )

    # Who may connect.

    def admits(self, instance: Instance) -> bool:
        if instance.blocked:
            return False
        client = ipaddress.ip_network(self.client_address)
        for group in instance.groups:
            for rule in group.ingress_rules:
                everything = rule.ip_protocol == "-1"
                ports = rule.ip_protocol == "tcp" and int(rule.from_port) <= 22 <= int(rule.to_port)
                network = rule.ip_range.get("CidrIp")
                if (everything or ports) and network and client.subnet_of(ipaddress.ip_network(network)):
                    return True
        return False

    def reconsider(self) -> None:
        """Opens what may be reached by now, after a security group has changed."""
        for instance in self:
            if self._silence.holds(instance.address):
                self._open(instance)

    def _open(self, instance: Instance) -> None:
        with self.changed:
            if instance.state == "running" and instance.machine is not None and self.admits(instance):
                self._silence_ends(instance)
                instance.machine.admit()

    def _silence_begins(self, instance: Instance) -> None:
        self._silence.begin(instance.address)
        self._silence.begin(instance.private_ip)

    def _silence_ends(self, instance: Instance) -> None:
        self._silence.end(instance.address)
        self._silence.end(instance.private_ip)

    # Ends.

    def end(self, instance: Instance, reason: Any, final: str = "terminated") -> None:
        """From the outside: `terminate_seconds` in `shutting-down`, though the machine is killed at once."""
        with self.changed:
            if instance.state in ("terminated", "shutting-down") or self._closed:
                return
            instance.state = "shutting-down" if final == "terminated" else "stopping"
            instance.reason = reason
            when = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S GMT")
            instance.transition = f"User initiated ({when})" if reason == USER_INITIATED else reason[0]
            self.changed.notify_all()
        self._loop.work(lambda: self._kill(instance))
        self._loop.later(self.terminate_seconds, lambda: self._ended(instance, final))

    def _kill(self, instance: Instance) -> None:
        if instance.machine is not None:
            instance.machine.kill()

    def _stopped_by_itself(self, instance: Instance) -> None:
        machine = instance.machine
        if machine is None or not instance.alive or self._closed:
            return
        if not machine.ended_by_itself():
            self._loop.problems.append(f"the machine of {instance.id} failed:\n{machine.console()}")
            self.end(instance, CRASHED)
        elif instance.shutdown_behavior == "terminate" or instance.market == "spot":
            self.end(instance, SELF_INITIATED)
        else:
            self.end(instance, SELF_INITIATED, final="stopped")

    def _ended(self, instance: Instance, final: str) -> None:
        self._kill(instance)
        with self.changed:
            self._silence_ends(instance)
            if instance.machine is not None:
                instance.last_console = instance.machine.console()
                machine, instance.machine = instance.machine, None
                machine.remove()
            if final == "terminated":
                for _, volume, delete in instance.volumes:
                    if delete:
                        self._backend.volumes.pop(volume.id, None)
            instance.state = final
            self.changed.notify_all()

    def interrupt(self, instance: Instance, notice: float) -> None:
        with self.changed:
            due = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=notice)
            instance.interruption = {"action": "terminate", "time": due.strftime("%Y-%m-%dT%H:%M:%SZ")}
        self._loop.later(notice, lambda: self.end(instance, RECLAIMED))

    def crash(self, instance: Instance, reason: Any) -> None:
        self.end(instance, reason)
        self._kill(instance)

    def lose(self, instance: Instance, reason: Any) -> None:
        """Its processes stand still until the rig ends, so that no connection of it is ever closed."""
        with self.changed:
            machine, instance.machine = instance.machine, None
            if machine is not None:
                machine.freeze()
                self._lost.append(machine)
                instance.last_console = machine.console()
        self.end(instance, reason)

    def close(self) -> None:
        with self.changed:
            self._closed = True
            machines = [instance.machine for instance in self if instance.machine is not None]
            machines += self._lost
        for machine in machines:
            machine.kill()
        self._silence.close()
        for machine in machines:
            machine.remove()
