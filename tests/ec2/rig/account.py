"""The account: moto's EC2 with its gaps mended. One place where an action is performed, under one lock.

Instances, fleets, images and the market are the rig's own; networks, security groups, launch templates, key
pairs, tags and volumes are moto's.
"""

from __future__ import annotations

import copy
import pathlib
import secrets
import threading
from typing import Any, Callable, Dict, List, Tuple

import moto.ec2.models.amis
from moto.ec2.models import ec2_backends

from .addresses import Addresses
from .errors import ApiError
from .faults import Faults
from .fleets import Fleets
from .images import Images
from .instance_actions import InstanceActions
from .instances import Instances
from .launch import Launcher
from .launch_templates import LaunchTemplates
from .loop import Loop
from .market import Market

# Each of moto's images brings a volume and a snapshot into every account.
moto.ec2.models.amis.AMIS.clear()

REGION = "us-east-1"
Parameters = Dict[str, Any]


class Account:
    def __init__(self, loop: Loop, faults: Faults, addresses: Addresses, place: pathlib.Path) -> None:
        self.id = f"{secrets.randbelow(9 * 10**11) + 10**11}"
        self.region = REGION
        self.lock = threading.RLock()
        self.backend = ec2_backends[self.id][REGION]
        self.backend.amis.clear()
        self.market = Market(self.backend)
        self.images = Images(self.id, place / "images")
        self.faults = faults
        self.instances = Instances(self.backend, self.lock, loop, faults, addresses, place)
        launcher = Launcher(self.backend, self.market, self.images, self.instances, faults)
        self.fleets = Fleets(self.backend, self.market, launcher, self.instances, faults)
        templates = LaunchTemplates(self.id, self.backend, self.images)
        self._answered: Dict[Tuple[str, str], Tuple[Parameters, Any]] = {}
        self._own: Dict[str, Callable[[Parameters], Any]] = {
            **InstanceActions(self.id, self.instances, launcher, self.images).table(),
            "CreateFleet": self.fleets.create,
            "DescribeFleets": self.fleets.describe,
            "DeleteFleets": self.fleets.delete,
            "DescribeLaunchTemplates": templates.describe,
            "DescribeImages": self.images.describe,
            "DeregisterImage": self.images.deregister,
            "DeleteSnapshot": self.images.delete_snapshot,
            "DescribeInstanceTypes": self.market.describe_types,
            "DescribeInstanceTypeOfferings": self.market.describe_offerings,
            "DescribeSpotPriceHistory": self.market.describe_spot_prices,
        }
        self._prepare: Dict[str, Callable[[Parameters], None]] = {
            "DeleteLaunchTemplate": templates.check,
            "DeleteSecurityGroup": self._check_group_unused,
            "DeleteKeyPair": self._name_key_pair,
        }
        self._finish: Dict[str, Callable[[Parameters, Any], Any]] = {
            "DescribeLaunchTemplateVersions": templates.resolve_aliases,
        }

    def perform(self, action: str, parameters: Parameters, moto: Callable[[str], Any]) -> Any:
        """The reply; `moto` performs what the rig has nothing of its own for. A repeated client token changes
        nothing and gives the first reply again."""
        with self.lock:
            token = parameters.get("ClientToken")
            asked = copy.deepcopy(parameters)
            if token and (action, token) in self._answered:
                before, reply = self._answered[action, token]
                if before != parameters:
                    raise ApiError(
                        "IdempotentParameterMismatch",
                        f"The request with client token '{token}' was made before with other parameters",
                    )
                return reply
            if action in self._prepare:
                self._prepare[action](parameters)
            reply = self._own[action](parameters) if action in self._own else moto(action)
            if action in self._finish:
                reply = self._finish[action](parameters, reply)
            if token:
                self._answered[action, token] = (asked, reply)
        if action.startswith(("AuthorizeSecurityGroup", "RevokeSecurityGroup")):
            self.instances.reconsider()
        return reply

    def _check_group_unused(self, parameters: Parameters) -> None:
        identity = parameters.get("GroupId")
        for instance in self.instances:
            if instance.state != "terminated" and any(
                identity == group.id or (identity is None and parameters.get("GroupName") == group.name)
                for group in instance.groups
            ):
                raise ApiError("DependencyViolation", f"resource {identity} has a dependent object")

    def _name_key_pair(self, parameters: Parameters) -> None:
        identity = parameters.get("KeyPairId")
        for name, pair in self.backend.key_pairs.items():
            if identity == pair.id:
                parameters["KeyName"] = name

    def lose_default_vpc(self) -> None:
        with self.lock:
            self.backend.subnets.clear()
            for vpc in self.backend.vpcs.values():
                vpc.is_default = False

    def listing(self) -> Dict[str, List[str]]:
        """What a run could leave behind, as ids or names."""
        with self.lock:
            groups: List[Any] = self.backend.describe_security_groups()
            return {
                "instances": sorted(one.id for one in self.instances if one.state != "terminated"),
                "security groups": sorted(group.id for group in groups if group.name != "default"),
                "launch templates": sorted(self.backend.launch_templates),
                "key pairs": sorted(self.backend.key_pairs),
                "fleets": sorted(
                    fleet.id for fleet in self.fleets.fleets.values() if not fleet.state.startswith("deleted")
                ),
                "volumes": sorted(self.backend.volumes),
                "images": sorted(image.id for image in self.images.own()),
                "snapshots": sorted(self.images.snapshots),
            }

    def close(self) -> None:
        self.instances.close()
        ec2_backends.pop(self.id, None)
