"""A client of the rig for its own tests: boto3 for the API, the `ssh` command for machines."""

from __future__ import annotations

import base64
import json
import pathlib
import subprocess
from typing import Any, Dict, List, Optional, Sequence

import boto3
import botocore.config

from rig import Rig

AMAZON = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
UBUNTU = "resolve:ssm:/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"


def new_key(path: pathlib.Path) -> str:
    """Makes a pair; its public half."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text().strip()


class Client:
    """With one key pair, one host key, and the names of what it made."""

    def __init__(self, rig: Rig, directory: pathlib.Path) -> None:
        self.rig = rig
        self.directory = directory
        self.ec2 = self.service("ec2")
        self.public_key = new_key(directory / "key")
        self.host_key = new_key(directory / "host_key")
        self.group = ""
        self.template = ""

    def service(self, name: str, attempts: int = 1) -> Any:
        variables = self.rig.environment
        return boto3.client(
            name,
            endpoint_url=variables["AWS_ENDPOINT_URL"],
            region_name=variables["AWS_REGION"],
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
            config=botocore.config.Config(retries={"total_max_attempts": attempts}),
        )

    def cloud_config(self, **more: Any) -> str:
        config = {
            "ssh_deletekeys": True,
            "ssh_keys": {
                "ed25519_private": (self.directory / "host_key").read_text(),
                "ed25519_public": self.host_key,
            },
            "ssh_authorized_keys": [self.public_key],
            **more,
        }
        return f"#cloud-config\n{json.dumps(config)}"

    def prepare(self, cidr: str = "127.0.0.1/32", user_data: Optional[str] = None, **data: Any) -> str:
        """A security group and a launch template; the template's id."""
        tags = [{"Key": "run", "Value": "one"}]
        self.group = self.ec2.create_security_group(
            GroupName="group",
            Description="for a test",
            TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}],
        )["GroupId"]
        self.admit(cidr)
        content = {
            "ImageId": AMAZON,
            "SecurityGroupIds": [self.group],
            "InstanceInitiatedShutdownBehavior": "terminate",
            "UserData": encoded(self.cloud_config() if user_data is None else user_data),
            "TagSpecifications": [{"ResourceType": "instance", "Tags": tags}],
            **data,
        }
        self.template = self.ec2.create_launch_template(
            LaunchTemplateName="template",
            TagSpecifications=[{"ResourceType": "launch-template", "Tags": tags}],
            LaunchTemplateData={name: value for name, value in content.items() if value is not None},
        )["LaunchTemplate"]["LaunchTemplateId"]
        return self.template

    def admit(self, cidr: str) -> None:
        self.ec2.authorize_security_group_ingress(
            GroupId=self.group,
            IpPermissions=[
                {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": cidr}]}
            ],
        )

    def fleet(
        self,
        count: int = 1,
        overrides: Sequence[Any] = ("c7i.large",),
        market: str = "spot",
        **more: Any,
    ) -> Dict[str, Any]:
        """An instant fleet; an override is a type or all of its fields."""
        fields = [{"InstanceType": one} if isinstance(one, str) else one for one in overrides]
        return self.ec2.create_fleet(
            Type="instant",
            LaunchTemplateConfigs=[
                {
                    "LaunchTemplateSpecification": {
                        "LaunchTemplateId": self.template,
                        "Version": "$Default",
                    },
                    "Overrides": fields,
                }
            ],
            TargetCapacitySpecification={
                "TotalTargetCapacity": count,
                "DefaultTargetCapacityType": market,
            },
            **more,
        )

    def launch(self, count: int = 1, **more: Any) -> List[str]:
        """Prepares if need be, launches, waits for SSH; the ids."""
        if not self.template:
            self.prepare()
        ids = ids_of(self.fleet(count, **more))
        for identity in ids:
            self.rig.wait_ssh(identity)
        return ids

    def end(self) -> None:
        """Deletes all that it made."""
        for fleet in list(self.rig.listing()["fleets"]):
            self.ec2.delete_fleets(FleetIds=[fleet], TerminateInstances=True)
        self.rig.wait_state("terminated")
        self.ec2.delete_launch_template(LaunchTemplateId=self.template)
        self.ec2.delete_security_group(GroupId=self.group)

    def ssh_command(self, identity: str, *command: str, user: str = "ec2-user", limit: int = 10) -> List[str]:
        """The `ssh` that accepts the pinned host key and no other."""
        instance = self.rig.instance(identity)
        known = self.directory / f"known_hosts-{identity}"
        known.write_text(f"{instance.public_ip} {self.host_key}\n")
        options = {
            "IdentityFile": self.directory / "key",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": known,
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": limit,
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", "-F", "/dev/null", *words, f"{user}@{instance.public_ip}", *command]

    def ssh(self, identity: str, *command: str, **more: Any) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.ssh_command(identity, *command, **more), capture_output=True, text=True, timeout=30
        )

    def output(self, identity: str, *command: str, **more: Any) -> str:
        done = self.ssh(identity, *command, **more)
        assert done.returncode == 0, done
        return done.stdout


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def ids_of(reply: Dict[str, Any]) -> List[str]:
    return [identity for group in reply["Instances"] for identity in group["InstanceIds"]]


def error_codes(reply: Dict[str, Any]) -> List[str]:
    return [error["ErrorCode"] for error in reply["Errors"]]
