"""The public machine images, and the names under which Systems Manager knows the newest of them."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import pathlib
import secrets
import shutil
import subprocess
from typing import Any, Dict, List, Optional, Tuple

from . import filters
from .errors import ApiError

AMAZON, CANONICAL = "137112412989", "099720109477"


@dataclasses.dataclass(frozen=True)
class Image:
    id: str
    name: str
    owner: str
    alias: str
    architecture: str
    root_device: str
    created: datetime.datetime
    gigabytes: int = 8
    tags: Tuple[Tuple[str, str], ...] = ()
    home: Optional[pathlib.Path] = None
    login: Optional[str] = None
    state: str = "available"

    @property
    def user(self) -> str:
        return self.login or ("ubuntu" if "ubuntu" in self.name else "ec2-user")

    @property
    def snapshot(self) -> str:
        return f"snap-{self.id[4:]}"

    def described(self) -> Dict[str, Any]:
        return {
            "ImageId": self.id,
            "Name": self.name,
            "OwnerId": self.owner,
            "ImageOwnerAlias": self.alias,
            "Architecture": self.architecture,
            "RootDeviceName": self.root_device,
            "RootDeviceType": "ebs",
            "CreationDate": self.created,
            "State": self.state,
            "ImageType": "machine",
            "Public": self.home is None,
            "Tags": [{"Key": key, "Value": value} for key, value in self.tags],
            "Hypervisor": "xen",
            "VirtualizationType": "hvm",
            "EnaSupport": True,
            "PlatformDetails": "Linux/UNIX",
            "BlockDeviceMappings": [
                {
                    "DeviceName": self.root_device,
                    "Ebs": {
                        "VolumeSize": self.gigabytes,
                        "VolumeType": "gp3",
                        "DeleteOnTermination": True,
                        "SnapshotId": self.snapshot,
                    },
                }
            ],
        }


def _amazon(date: str, kernel: str, minimal: bool = False) -> List[Image]:
    images = []
    for architecture in ("x86_64", "arm64"):
        name = f"al2023-ami-{'minimal-' if minimal else ''}2023.9.{date}.0-kernel-{kernel}-{architecture}"
        created = datetime.datetime.strptime(f"{date} 01:02:03", "%Y%m%d %H:%M:%S")
        images.append(Image(_identity(name), name, AMAZON, "amazon", architecture, "/dev/xvda", created))
    return images


def _ubuntu(version: str, date: str) -> List[Image]:
    images = []
    for architecture, word in (("x86_64", "amd64"), ("arm64", "arm64")):
        name = f"ubuntu/images/hvm-ssd-gp3/ubuntu-{version}-{word}-server-{date}"
        created = datetime.datetime.strptime(f"{date} 04:05:06", "%Y%m%d %H:%M:%S")
        images.append(Image(_identity(name), name, CANONICAL, "amazon", architecture, "/dev/sda1", created))
    return images


def _identity(name: str) -> str:
    return f"ami-{hashlib.sha256(name.encode()).hexdigest()[:17]}"


PUBLIC = [
    *_amazon("20251105", "6.1"),
    *_amazon("20260101", "6.12"),
    *_amazon("20260105", "6.12", minimal=True),
    *_ubuntu("jammy-22.04", "20251212"),
    *_ubuntu("noble-24.04", "20260110"),
]

_NEWEST = {
    "al2023-ami-kernel-default": "al2023-ami-2023.9.20251105.0-kernel-6.1",
    "al2023-ami-kernel-6.1": "al2023-ami-2023.9.20251105.0-kernel-6.1",
    "al2023-ami-kernel-6.12": "al2023-ami-2023.9.20260101.0-kernel-6.12",
}


class Images:
    def __init__(self, account: str, place: pathlib.Path) -> None:
        self._account = account
        self._place = place
        self.snapshots: Dict[str, Dict[str, str]] = {}
        self._state = "available"
        self._images = {image.id: image for image in PUBLIC}
        self._names = {
            f"/aws/service/ami-amazon-linux-latest/{parameter}-{architecture}": _identity(
                f"{name}-{architecture}"
            )
            for parameter, name in _NEWEST.items()
            for architecture in ("x86_64", "arm64")
        }
        for word in ("amd64", "arm64"):
            for version, series, date in (("24.04", "noble", "20260110"), ("22.04", "jammy", "20251212")):
                name = f"ubuntu/images/hvm-ssd-gp3/ubuntu-{series}-{version}-{word}-server-{date}"
                self._names[
                    f"/aws/service/canonical/ubuntu/server/{version}/stable/current/{word}/hvm/ebs-gp3/ami-id"
                ] = _identity(name)

    def resolve(self, identity: str) -> str:
        """The id that `resolve:ssm:NAME` stands for; anything else is an id already."""
        if not identity.startswith("resolve:ssm:"):
            return identity
        name = identity[len("resolve:ssm:") :]
        if name not in self._names:
            raise ApiError(
                "InvalidParameterValue",
                f"Unable to resolve the systems manager parameter {name}: ParameterNotFound",
            )
        return self._names[name]

    def make(self, parameters: Dict[str, Any], instance: Any, tags: Dict[str, Dict[str, str]]) -> Image:
        """An image of a machine, with what is in its user's home directory at this moment."""
        if any(image.name == parameters["Name"] for image in self._images.values()):
            raise ApiError("InvalidAMIName.Duplicate", f"AMI name {parameters['Name']} is already in use")
        identity = f"ami-{secrets.token_hex(9)[:17]}"
        home = self._place / identity
        home.mkdir(parents=True)
        subprocess.run(["cp", "-a", f"{instance.machine.home()}/.", str(home)], check=True)
        self._images[identity] = image = Image(
            identity,
            parameters["Name"],
            self._account,
            "",
            instance.architecture,
            instance.image.root_device,
            datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None),
            gigabytes=instance.volumes[0][1].size,
            tags=tuple(tags["image"].items()),
            home=home,
            login=instance.image.user,
            state=self._state,
        )
        self.snapshots[image.snapshot] = tags["snapshot"]
        return image

    def deregister(self, parameters: Dict[str, Any]) -> Dict[str, Any]:
        image = self.get(parameters["ImageId"])
        if image.home is None:
            raise ApiError("AuthFailure", f"Not authorized for image:{image.id}")
        del self._images[image.id]
        shutil.rmtree(image.home)
        return {"Return": True}

    def delete_snapshot(self, parameters: Dict[str, Any]) -> Dict[str, Any]:
        identity = parameters["SnapshotId"]
        if identity not in self.snapshots:
            raise ApiError("InvalidSnapshot.NotFound", f"The snapshot '{identity}' does not exist.")
        if any(image.snapshot == identity for image in self._images.values()):
            raise ApiError("InvalidSnapshot.InUse", f"The snapshot {identity} is currently in use by an AMI")
        del self.snapshots[identity]
        return {}

    def become(self, state: str) -> None:
        """Those that were made here, and those that will be, are in this state."""
        self._state = state
        for image in self.own():
            self._images[image.id] = dataclasses.replace(image, state=state)

    def own(self) -> List[Image]:
        return [image for image in self._images.values() if image.home is not None]

    def get(self, identity: str) -> Image:
        resolved = self.resolve(identity)
        if not resolved.startswith("ami-"):
            raise ApiError("InvalidAMIID.Malformed", f'Invalid id: "{identity}" (expecting "ami-...")')
        if resolved not in self._images:
            raise ApiError("InvalidAMIID.NotFound", f"The image id '[{resolved}]' does not exist")
        return self._images[resolved]

    def describe(self, parameters: Dict[str, Any]) -> Dict[str, Any]:
        wanted = parameters.get("ImageIds") or []
        images = [self.get(identity) for identity in wanted] if wanted else list(self._images.values())
        owners = parameters.get("Owners") or []
        if owners:
            owners = [self._account if owner == "self" else owner for owner in owners]
            images = [image for image in images if {image.owner, image.alias} & set(owners)]
        found = filters.chosen(
            [image.described() for image in images],
            parameters.get("Filters"),
            {
                "name": "Name",
                "image-id": "ImageId",
                "architecture": "Architecture",
                "owner-id": "OwnerId",
                "owner-alias": "ImageOwnerAlias",
                "state": "State",
                "is-public": "Public",
                "root-device-type": "RootDeviceType",
                "root-device-name": "RootDeviceName",
                "virtualization-type": "VirtualizationType",
                "image-type": "ImageType",
                "ena-support": "EnaSupport",
                "creation-date": "CreationDate",
                "hypervisor": "Hypervisor",
            },
        )
        return filters.page("Images", found, parameters)
