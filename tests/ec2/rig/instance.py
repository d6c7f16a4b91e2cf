"""One instance as the API knows it: values, and how they are described. What happens to it is not here."""

from __future__ import annotations

import base64
import dataclasses
import datetime
from typing import Any, Dict, List, Optional, Tuple

from .images import Image
from .machine import Machine

STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


@dataclasses.dataclass
class Instance:
    id: str
    type: str
    market: str
    zone: str
    subnet: str
    vpc: str
    image: Image
    groups: List[Any]
    tags: Dict[str, str]
    architecture: str
    public_ip: Optional[str]
    private_ip: str
    address: str
    user_data: bytes = b""
    key_name: Optional[str] = None
    shutdown_behavior: str = "stop"
    client_token: str = ""
    fleet: Optional[str] = None
    metadata_options: Dict[str, Any] = dataclasses.field(default_factory=dict)
    volumes: List[Tuple[str, Any, bool]] = dataclasses.field(default_factory=list)
    launched: datetime.datetime = dataclasses.field(
        default_factory=lambda: datetime.datetime.now(datetime.timezone.utc)
    )
    state: str = "pending"
    reason: Tuple[str, str] = ("", "")
    transition: str = ""
    visible_from: float = 0.0
    blocked: bool = False
    interruption: Optional[Dict[str, str]] = None
    rebalance: Optional[str] = None
    machine: Optional[Machine] = None
    last_console: str = ""

    @property
    def alive(self) -> bool:
        return self.state in ("pending", "running")

    @property
    def console(self) -> str:
        return self.machine.console() if self.machine is not None else self.last_console

    def described(self) -> Dict[str, Any]:
        gone = self.state == "terminated"
        groups = [] if gone else [{"GroupId": group.id, "GroupName": group.name} for group in self.groups]
        described: Dict[str, Any] = {
            "InstanceId": self.id,
            "InstanceType": self.type,
            "ImageId": self.image.id,
            "State": self.described_state(),
            "LaunchTime": self.launched,
            "Placement": {"AvailabilityZone": self.zone, "GroupName": "", "Tenancy": "default"},
            "Architecture": self.architecture,
            "RootDeviceName": self.image.root_device,
            "RootDeviceType": "ebs",
            "VirtualizationType": "hvm",
            "Hypervisor": "xen",
            "PublicDnsName": "",
            "PrivateDnsName": "" if gone else f"ip-{self.private_ip.replace('.', '-')}.ec2.internal",
            "StateTransitionReason": self.transition,
            "ClientToken": self.client_token,
            "AmiLaunchIndex": 0,
            "EbsOptimized": False,
            "EnaSupport": True,
            "Monitoring": {"State": "disabled"},
            "SecurityGroups": groups,
            "Tags": [{"Key": key, "Value": value} for key, value in sorted(self.tags.items())],
            "BlockDeviceMappings": [] if gone else [self._device(*device) for device in self.volumes],
            "MetadataOptions": {
                "State": "applied",
                "HttpTokens": "required",
                "HttpPutResponseHopLimit": 2,
                "HttpEndpoint": "enabled",
                **self.metadata_options,
            },
        }
        if self.market == "spot":
            described["InstanceLifecycle"] = "spot"
            described["SpotInstanceRequestId"] = f"sir-{self.id[2:10]}"
        if self.key_name:
            described["KeyName"] = self.key_name
        if self.reason[0]:
            described["StateReason"] = {"Code": self.reason[0], "Message": self.reason[1]}
        if not gone:
            described.update(SubnetId=self.subnet, VpcId=self.vpc, PrivateIpAddress=self.private_ip)
            if self.public_ip is not None and self.state in ("pending", "running", "shutting-down"):
                described["PublicIpAddress"] = self.public_ip
        return described

    def described_state(self) -> Dict[str, Any]:
        return {"Code": STATES[self.state], "Name": self.state}

    @staticmethod
    def _device(device: str, volume: Any, delete: bool) -> Dict[str, Any]:
        return {
            "DeviceName": device,
            "Ebs": {"VolumeId": volume.id, "Status": "attached", "DeleteOnTermination": delete},
        }

    def console_output(self) -> str:
        return base64.b64encode(self.console.encode()[-65536:]).decode()


FILTERS = {
    "instance-id": "InstanceId",
    "instance-state-name": "State.Name",
    "instance-state-code": "State.Code",
    "instance-lifecycle": "InstanceLifecycle",
    "instance-type": "InstanceType",
    "client-token": "ClientToken",
    "image-id": "ImageId",
    "key-name": "KeyName",
    "availability-zone": "Placement.AvailabilityZone",
    "architecture": "Architecture",
    "vpc-id": "VpcId",
    "subnet-id": "SubnetId",
    "ip-address": "PublicIpAddress",
    "private-ip-address": "PrivateIpAddress",
    "instance.group-id": "SecurityGroups.GroupId",
    "instance.group-name": "SecurityGroups.GroupName",
    "network-interface.group-id": "SecurityGroups.GroupId",
    "spot-instance-request-id": "SpotInstanceRequestId",
    "reason": "StateTransitionReason",
    "state-reason-code": "StateReason.Code",
}
