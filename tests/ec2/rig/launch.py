"""Launch data (of a template, a fleet's override, RunInstances) turned into instances, or into the reason."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any, Dict, List, Optional

from .errors import ApiError
from .faults import Faults
from .images import Images
from .instance import Instance
from .instances import Instances
from .market import Market

CAPACITY = (
    "We currently do not have sufficient {type} capacity in the Availability Zone you requested ({zone}). "
    "Our system will be working on provisioning additional capacity. You can currently get {type} capacity "
    "by not specifying an Availability Zone in your request or choosing another."
)


@dataclasses.dataclass
class Place:
    subnet: str
    vpc: str
    zone: str
    public: bool


class Launcher:
    def __init__(
        self, backend: Any, market: Market, images: Images, instances: Instances, faults: Faults
    ) -> None:
        self._backend = backend
        self._market = market
        self._images = images
        self._instances = instances
        self._faults = faults

    def template(self, specification: Dict[str, Any]) -> Any:
        """The version of a launch template that a specification names."""
        if specification.get("LaunchTemplateId"):
            template = self._backend.get_launch_template(specification["LaunchTemplateId"])
        else:
            template = self._backend.get_launch_template_by_name(specification["LaunchTemplateName"])
        return template.get_version(specification.get("Version") or template.default_version_number)

    def place(self, data: Dict[str, Any], type: str) -> Place:
        """The subnet asked for, or the default one of the zone asked for, or of any that has the type."""
        subnets = {subnet.id: subnet for subnet in self._backend.describe_subnets()}
        interfaces = data.get("NetworkInterfaces") or []
        wanted = data.get("SubnetId") or next(
            (one["SubnetId"] for one in interfaces if one.get("SubnetId")), None
        )
        zone = data.get("AvailabilityZone") or (data.get("Placement") or {}).get("AvailabilityZone")
        if wanted is not None:
            if wanted not in subnets:
                raise ApiError("InvalidSubnetID.NotFound", f"The subnet ID '{wanted}' does not exist")
            subnet = subnets[wanted]
        else:
            defaults = [one for one in subnets.values() if one.default_for_az]
            if not defaults:
                raise ApiError("VPCIdNotSpecified", "No default VPC for this user")
            zones = [zone] if zone else self._market.zones(type)
            subnet = next((one for one in defaults if one.availability_zone in zones), None)
            if subnet is None:
                raise ApiError("MissingInput", f"No default subnet for availability zone: '{zone}'.")
        public = next((one.get("AssociatePublicIpAddress") for one in interfaces), None)
        public = subnet.map_public_ip_on_launch in (True, "true") if public is None else bool(public)
        return Place(subnet.id, subnet.vpc_id, subnet.availability_zone, public)

    def check(self, data: Dict[str, Any], type: str, market: str, place: Place) -> None:
        """Why it can't be launched, as an error; the reasons that no capacity could change come first."""
        image = self._images.get(data.get("ImageId") or "")
        if image.architecture not in self._market.architectures(type):
            raise ApiError(
                "InvalidParameterValue",
                f"The architecture '{','.join(self._market.architectures(type))}' of the specified instance "
                f"type does not match the architecture '{image.architecture}' of the specified AMI. Specify "
                "an instance type and an AMI that have matching architectures, and try again.",
            )
        if not self._market.offered(type, place.zone):
            raise ApiError(
                "Unsupported",
                f"Your requested instance type ({type}) is not supported in your requested Availability Zone "
                f"({place.zone}). Please retry your request by not specifying an Availability Zone or "
                f"choosing {', '.join(self._market.zones(type))}.",
            )
        if market not in self._market.type(type)["SupportedUsageClasses"]:
            raise ApiError("Unsupported", f"The instance type {type} is not offered as {market}.")
        self._check_data(data)
        self._check_quota(type, market)
        if self._faults.left(type, place.zone) <= 0:
            raise ApiError("InsufficientInstanceCapacity", CAPACITY.format(type=type, zone=place.zone))

    def _check_data(self, data: Dict[str, Any]) -> None:
        if data.get("NetworkInterfaces") and (data.get("SecurityGroupIds") or data.get("SecurityGroups")):
            raise ApiError(
                "InvalidParameterCombination",
                "Network interfaces and an instance-level security groups may not be specified on the same "
                "request",
            )
        if data.get("KeyName") and data["KeyName"] not in self._backend.key_pairs:
            raise ApiError("InvalidKeyPair.NotFound", f"The key pair '{data['KeyName']}' does not exist")
        if len(raw_user_data(data)) > 16384:
            raise ApiError("InvalidParameterValue", "User data is limited to 16384 bytes")
        self._groups(data, "")

    def _check_quota(self, type: str, market: str) -> None:
        quota = self._faults.quota(market)
        if quota is None:
            return
        used = sum(
            self._market.vcpus(instance.type)
            for instance in self._instances
            if instance.market == market and instance.alive
        )
        if used + self._market.vcpus(type) <= quota:
            return
        if market == "spot":
            raise ApiError("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
        raise ApiError(
            "VcpuLimitExceeded",
            f"You have requested more vCPU capacity than your current vCPU limit of {quota} allows for the "
            "instance bucket that the specified instance type belongs to. Please visit "
            "http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit.",
        )

    def launch(
        self,
        data: Dict[str, Any],
        type: str,
        market: str,
        place: Place,
        tags: Dict[str, str],
        client_token: str = "",
        fleet: Optional[str] = None,
        volume_tags: Optional[Dict[str, str]] = None,
    ) -> Instance:
        """Launches one that `check` has let pass."""
        self._faults.take(type, place.zone)
        image = self._images.get(data["ImageId"])
        return self._instances.launch(
            tags=tags,
            volume_tags=volume_tags or {},
            devices=data.get("BlockDeviceMappings") or [],
            public=place.public,
            type=type,
            market=market,
            zone=place.zone,
            subnet=place.subnet,
            vpc=place.vpc,
            image=image,
            groups=self._groups(data, place.vpc),
            architecture=image.architecture,
            user_data=raw_user_data(data),
            key_name=data.get("KeyName"),
            shutdown_behavior=data.get("InstanceInitiatedShutdownBehavior") or "stop",
            client_token=client_token,
            fleet=fleet,
            metadata_options=dict(data.get("MetadataOptions") or {}),
        )

    def _groups(self, data: Dict[str, Any], vpc: str) -> List[Any]:
        ids = list(data.get("SecurityGroupIds") or [])
        for interface in data.get("NetworkInterfaces") or []:
            ids += interface.get("Groups") or []
        groups = [self._backend.get_security_group_from_id(identity) for identity in ids]
        if None in groups:
            missing = ids[groups.index(None)]
            raise ApiError("InvalidGroup.NotFound", f"The security group '{missing}' does not exist")
        for name in data.get("SecurityGroups") or []:
            groups.append(self._backend.get_security_group_by_name_or_id(name))
        if not groups and vpc:
            groups = [self._backend.get_default_security_group(vpc)]
        return groups


def raw_user_data(data: Dict[str, Any]) -> bytes:
    return base64.b64decode(str(data.get("UserData") or ""))


def tags_for(kind: str, specifications: Any) -> Dict[str, str]:
    """The tags that tag specifications hold for resources of this kind."""
    return {
        tag["Key"]: tag.get("Value") or ""
        for specification in specifications or []
        if specification.get("ResourceType") == kind
        for tag in specification.get("Tags") or []
    }
