"""Each fault of the rig once: what a client sees of it."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from typing import Any, Callable

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from client import Client, error_codes, ids_of
from rig import Rig


def refused(code: str) -> Any:
    return pytest.raises(ClientError, match=rf"\({code}\)")


def test_capacity_runs_out_inside_a_successful_reply(client: Client) -> None:
    client.prepare()
    client.rig.faults.capacity("c7i.large", available=2)
    client.rig.faults.capacity("m7i.large", "us-east-1a", available=0)
    reply = client.fleet(5, ["c7i.large"])
    assert (len(ids_of(reply)), error_codes(reply)) == (2, ["InsufficientInstanceCapacity"])
    reply = client.fleet(
        1, [{"InstanceType": "m7i.large", "AvailabilityZone": zone} for zone in ("us-east-1a", "us-east-1b")]
    )
    assert (len(ids_of(reply)), error_codes(reply)) == (1, ["InsufficientInstanceCapacity"])
    client.rig.faults.clear()
    assert error_codes(client.fleet(1)) == []


def test_quotas(client: Client) -> None:
    client.prepare()
    client.rig.faults.spot_quota(4)
    client.rig.faults.on_demand_quota(2)
    reply = client.fleet(5)
    assert (len(ids_of(reply)), error_codes(reply)) == (2, ["MaxSpotInstanceCountExceeded"])
    reply = client.fleet(5, market="on-demand")
    assert (len(ids_of(reply)), error_codes(reply)) == (1, ["VcpuLimitExceeded"])


def test_a_fleet_of_which_nothing_comes(client: Client) -> None:
    client.prepare(ImageId="ami-0123456789abcdef0")
    reply = client.fleet(1)
    assert (ids_of(reply), error_codes(reply)) == ([], ["InvalidAMIID.NotFound"])


@pytest.mark.parametrize("code", ["RequestExpired", "ExpiredToken", "AuthFailure"])
def test_credentials_that_are_no_longer_good(client: Client, code: str) -> None:
    client.rig.faults.expired(code)
    with refused(code):
        client.ec2.describe_vpcs()
    with refused(code):
        client.service("sts").get_caller_identity()


def test_an_action_that_is_not_allowed(client: Client) -> None:
    client.rig.faults.unauthorized("CreateSecurityGroup")
    with refused("UnauthorizedOperation") as failure:
        client.ec2.create_security_group(GroupName="group", Description="x")
    assert failure.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert client.rig.calls["CreateSecurityGroup"][0].error == "UnauthorizedOperation"
    client.ec2.describe_security_groups()


def test_throttling_passes(client: Client) -> None:
    client.rig.faults.throttle("DescribeVpcs", 1)
    with refused("RequestLimitExceeded"):
        client.ec2.describe_vpcs()
    assert client.ec2.describe_vpcs()["Vpcs"]
    assert [call.error for call in client.rig.calls] == ["RequestLimitExceeded", None]


def test_a_slow_call(client: Client) -> None:
    client.rig.faults.slow("DescribeVpcs", 0.2, times=1)
    client.ec2.describe_vpcs()
    (call,) = client.rig.calls
    assert call.ended is not None and call.ended - call.began >= 0.2


def test_a_lost_reply_and_the_token_of_the_second_try(client: Client) -> None:
    client.prepare()
    client.rig.faults.drop_reply("CreateFleet")
    with pytest.raises(ConnectionClosedError):
        client.fleet(1, ClientToken="one")
    assert client.rig.calls["CreateFleet"][0].took_effect
    assert len(ids_of(client.fleet(1, ClientToken="one"))) == 1
    assert len(client.rig.instances()) == 1


def test_no_default_vpc(client: Client) -> None:
    client.rig.lose_default_vpc()
    assert client.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"] == []
    assert (
        client.ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"] == []
    )


def test_an_instance_that_never_boots(client: Client) -> None:
    client.prepare()
    client.rig.faults.never_boots(times=1)
    stuck, other = ids_of(client.fleet(2))
    client.rig.wait_ssh(other)
    assert client.rig.instance(stuck).state == "pending"
    client.ec2.terminate_instances(InstanceIds=[stuck])
    client.rig.wait_state("terminated", 1)


def test_an_instance_that_fails_to_boot(client: Client) -> None:
    client.prepare()
    client.rig.faults.fails_to_boot(times=1)
    failed, other = ids_of(client.fleet(2))
    assert client.rig.wait_state("terminated", 1)[0].id == failed
    (one,) = client.ec2.describe_instances(InstanceIds=[failed])["Reservations"][0]["Instances"]
    assert one["StateReason"]["Code"] == "Server.InternalError"
    client.rig.wait_ssh(other)


def test_an_instance_that_vanishes(client: Client) -> None:
    client.prepare()
    client.rig.faults.vanishes(times=1, skip=1)
    kept, gone = ids_of(client.fleet(2))
    assert client.rig.wait_state("terminated", 1)[0].id == gone
    client.rig.wait_ssh(kept)


def test_another_host_key(client: Client) -> None:
    client.rig.faults.impostor()
    (identity,) = client.launch()
    done = client.ssh(identity, "true")
    assert done.returncode == 255 and "REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr


def test_ssh_that_does_not_answer(client: Client) -> None:
    client.prepare()
    client.rig.faults.ssh_blocked(times=1)
    client.fleet(1)
    (instance,) = client.rig.wait_state("running")
    for address in (instance.address, instance.private_ip):
        with pytest.raises(socket.timeout):
            socket.create_connection((address, 22), 0.2)


def test_a_security_group_that_admits_others_only(client: Client) -> None:
    client.prepare(cidr="192.0.2.0/24")
    (identity,) = ids_of(client.fleet(1))
    (instance,) = client.rig.wait_state("running")
    with pytest.raises(socket.timeout):
        socket.create_connection((instance.address, 22), 0.2)
    client.admit("127.0.0.0/8")
    client.rig.wait_ssh(identity)
    client.output(identity, "true")


def test_no_python(rigs: Callable[..., Rig], tmp_path: Any) -> None:
    client = Client(rigs(machine_path=["/usr/bin"]), tmp_path)
    client.rig.faults.no_python()
    (identity,) = client.launch()
    done = client.ssh(identity, "command -v python3; ls /usr/bin/python3")
    assert done.returncode == 2 and done.stdout == ""


def test_a_full_disk(client: Client) -> None:
    client.rig.faults.disk_full("100k")
    (identity,) = client.launch()
    done = client.ssh(identity, "head -c 1000000 /dev/zero >file")
    assert done.returncode != 0 and "No space left on device" in done.stderr


def test_an_instance_that_descriptions_do_not_know_yet(client: Client) -> None:
    client.prepare()
    client.rig.faults.late(seconds=60, times=1)
    late, other = ids_of(client.fleet(2))
    with refused(r"InvalidInstanceID\.NotFound"):
        client.ec2.describe_instances(InstanceIds=[late])
    found = client.ec2.describe_instances()["Reservations"]
    assert [one["InstanceId"] for group in found for one in group["Instances"]] == [other]


def test_advice_that_cannot_be_had(rig: Rig) -> None:
    rig.web.broken = True
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(rig.environment["CLOUDIST_SPOT_ADVISOR_URL"])
