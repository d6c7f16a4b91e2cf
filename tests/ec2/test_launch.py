"""What is launched: as asked for, closed to everybody else, and marked as the run's own."""

from __future__ import annotations

import collections
import json

import pytest

from client import Client
from renter import ONE_WORKER_EACH
from rig import images


def words(done):
    """What each worker said, without its number."""
    return [line.partition("] ")[2] for line in done.out.splitlines()]


def image(part):
    (found,) = [one for one in images.PUBLIC if part in one.name and one.architecture == "x86_64"]
    return found


def user_data(instance):
    return json.loads(instance.user_data.decode().partition("\n")[2])


def test_the_machines_and_what_they_are_made_from(renter):
    began = []
    renter.rig.on_call("CreateFleet", lambda call: began.append(renter.records()))
    renter.run("ssh-run", "-n3", *ONE_WORKER_EACH, "--disk", "24", "--", "true", env={"USER": "ada"}).check(0)
    (record,) = began[0]
    run = record.removesuffix(".json")

    def is_the_runs(tags):
        assert tags["cloudist-run"] == run and tags["cloudist-owner"].startswith("ada@"), tags
        assert int(tags["cloudist-expires"]) > renter.rig.calls["CreateFleet"][0].began

    assert len(renter.launched()) == 3
    for instance in renter.launched():
        assert instance.type == "c7i.large" and instance.market == "spot"
        assert instance.image == image("al2023-ami-2023.9.20260101.0-kernel-6.12")
        assert instance.metadata_options["HttpTokens"] == "required"
        assert instance.metadata_options["HttpPutResponseHopLimit"] == 1
        assert instance.shutdown_behavior == "terminate"
        assert instance.key_name is None
        is_the_runs(instance.tags)
        ((_, volume, goes_with_it),) = instance.volumes
        assert (volume.volume_type, volume.size, goes_with_it) == ("gp3", 24, True)
        (group,) = instance.groups
        rule, each_other = sorted(group.ingress_rules, key=lambda rule: int(rule.from_port))
        assert (rule.ip_protocol, int(rule.from_port), int(rule.to_port)) == ("tcp", 22, 22)
        assert rule.ip_range["CidrIp"] == "127.0.0.1/32"
        assert not rule.source_group and not rule.prefix_list_id
        ports = int(each_other.from_port), int(each_other.to_port)
        assert (each_other.ip_protocol, *ports) == ("tcp", 28100, 28163)
        assert each_other.source_group["GroupId"] == group.id and not each_other.ip_range

    (template,) = renter.rig.calls["CreateLaunchTemplate"]
    data = template.parameters["LaunchTemplateData"]
    assert "IamInstanceProfile" not in data and "KeyName" not in data
    (fleet,) = renter.rig.calls["CreateFleet"]
    (group,) = renter.rig.calls["CreateSecurityGroup"]
    kinds = set()
    for specification in [
        *data["TagSpecifications"],
        *(spec for call in (template, fleet, group) for spec in call.parameters["TagSpecifications"]),
    ]:
        kinds.add(specification["ResourceType"])
        is_the_runs({tag["Key"]: tag["Value"] for tag in specification["Tags"]})
    assert kinds == {"instance", "volume", "launch-template", "fleet", "security-group"}
    assert "ImportKeyPair" not in renter.rig.calls.actions()
    renter.nothing_left()


def test_an_instant_fleet_may_choose_among_many_pools(renter):
    renter.run("ssh-run", "-n2", "--", "true").check(0)
    (fleet,) = renter.rig.calls["CreateFleet"]
    assert fleet.parameters["Type"] == "instant"
    assert fleet.parameters["SpotOptions"]["AllocationStrategy"] == "price-capacity-optimized"
    overrides = [over for config in fleet.parameters["LaunchTemplateConfigs"] for over in config["Overrides"]]
    pools = {(over["InstanceType"], over["SubnetId"]) for over in overrides}
    assert len(pools) == len(overrides) >= 10
    assert len({kind for kind, _ in pools}) >= 5 and len({subnet for _, subnet in pools}) >= 5
    assert not any("metal" in kind or kind.startswith(("g", "p")) for kind, _ in pools)


@pytest.mark.parametrize(
    "workers, size, machines",
    [
        (12, ("--instance-type=c7i.2xlarge",), [6, 6]),
        (5, ("--instance-type=c7i.xlarge", "--memory-per-worker=1"), [3, 2]),
        (4, ("--instance-type=c7i.large", "--cpu-per-worker=0.5", "--memory-per-worker=512MiB"), [4]),
        (3, ("--instance-type=m7i.large", "--memory-per-worker=5"), [1, 1, 1]),
        (3, ("--instance-type=m7i.xlarge", "--cpu-per-worker=1.5"), [2, 1]),
    ],
)
def test_workers_are_packed_onto_machines(renter, workers, size, machines):
    done = renter.run("ssh-run", f"-n{workers}", *size, "--", "hostname").check(0)
    assert sorted(collections.Counter(words(done)).values(), reverse=True) == machines
    assert len(renter.launched()) == len(machines)


def test_several_types_may_be_named(renter):
    types = {"c7i.large", "m7i.large", "r7i.large"}
    renter.run("ssh-run", "-n2", *(f"--instance-type={one}" for one in types), "--", "true").check(0)
    assert {instance.type for instance in renter.launched()} <= types
    (fleet,) = renter.rig.calls["CreateFleet"]
    overrides = fleet.parameters["LaunchTemplateConfigs"][0]["Overrides"]
    assert {over["InstanceType"] for over in overrides} == types


def test_the_cheapest_zone_is_taken(renters):
    renter = renters(own_cache=True)
    renter.rig.price("c7i.large", "us-east-1d", 0.011)
    renter.rig.advisor("c7i.large", 0)
    renter.run("ssh-run", "-n2", *ONE_WORKER_EACH, "--interrupt-prob=5", "--", "true").check(0)
    assert [instance.zone for instance in renter.launched()] == ["us-east-1d"] * 2


def test_no_machine_that_is_taken_away_more_often_than_is_acceptable(renters):
    renter = renters(own_cache=True)
    for kind in renter.rig.account.market.names():
        renter.rig.advisor(kind, 0 if kind.startswith("m7i.") else 3)
    renter.run("ssh-run", "-n2", "--interrupt-prob=5", "--", "true").check(0)
    assert {instance.type.partition(".")[0] for instance in renter.launched()} == {"m7i"}


def test_a_highest_price(renters):
    renter = renters(own_cache=True)
    market = renter.rig.account.market
    for zone in market.zones("c7i.large"):
        renter.rig.price("c7i.large", zone, 0.05 if zone == "us-east-1b" else 0.07)
    renter.run("ssh-run", "-n2", *ONE_WORKER_EACH, "--max-price=0.06", "--", "true").check(0)
    assert [instance.zone for instance in renter.launched()] == ["us-east-1b"] * 2
    (fleet,) = renter.rig.calls["CreateFleet"]
    overrides = fleet.parameters["LaunchTemplateConfigs"][0]["Overrides"]
    assert {float(over["MaxPrice"]) * over["WeightedCapacity"] for over in overrides} == {0.06}


def test_a_chance_of_interruption_of_0_means_on_demand(renter):
    done = renter.run("ssh-run", "-n2", "--interrupt-prob=0", "--", "true").check(0)
    assert {instance.market for instance in renter.launched()} == {"on-demand"}
    assert "(on-demand $" in done.err and "spot" not in done.err, done
    renter.nothing_left()


def test_named_subnets(renter, tmp_path):
    subnets = Client(renter.rig, tmp_path).ec2.describe_subnets()["Subnets"]
    chosen = sorted(subnets, key=lambda subnet: subnet["AvailabilityZone"])[2:4]
    options = [f"--subnet={subnet['SubnetId']}" for subnet in chosen]
    renter.run("ssh-run", "-n2", *options, "--", "true").check(0)
    assert {instance.subnet for instance in renter.launched()} <= {subnet["SubnetId"] for subnet in chosen}
    overrides = renter.rig.calls["CreateFleet"][0].parameters["LaunchTemplateConfigs"][0]["Overrides"]
    assert {over["SubnetId"] for over in overrides} == {subnet["SubnetId"] for subnet in chosen}
    renter.nothing_left()


def test_a_named_security_group_is_used_and_left(renter, tmp_path):
    client = Client(renter.rig, tmp_path)
    client.group = client.ec2.create_security_group(GroupName="ours", Description="x")["GroupId"]
    client.admit("127.0.0.0/8")
    before = renter.rig.listing()
    renter.rig.calls.clear()
    renter.rig.web.requests.clear()
    renter.run("ssh-run", "-n1", f"--security-group={client.group}", "--", "true").check(0)
    assert [group.id for group in renter.launched()[0].groups] == [client.group]
    actions = renter.rig.calls.actions()
    assert not {"CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "DeleteSecurityGroup"} & set(actions)
    assert "/checkip" not in renter.rig.web.requests
    renter.machines_gone()
    assert renter.rig.listing() == before and renter.records() == []


def test_private_addresses(renter, tmp_path):
    client = Client(renter.rig, tmp_path)
    client.group = client.ec2.create_security_group(GroupName="ours", Description="x")["GroupId"]
    client.admit("127.0.0.0/8")
    run = ("ssh-run", "-n1", f"--security-group={client.group}")
    ask = ("--", "sh", "-c", "echo $SSH_CONNECTION")
    outside = renter.run(*run, *ask).check(0)
    inside = renter.run(*run, "--private-ip", *ask).check(0)
    one, other = renter.launched()
    assert outside.out.split()[2] == one.public_ip
    assert inside.out.split()[2] == other.private_ip and other.public_ip is None
    assert "addresses" in outside.err and "addresses" not in inside.err


@pytest.mark.parametrize(
    "name, expected, user",
    [
        ("ubuntu", "ubuntu-noble-24.04", "ubuntu"),
        ("al2023", "20260101.0-kernel-6.12", "ec2-user"),
        (image("ubuntu-jammy-22.04").id, "ubuntu-jammy-22.04", "ubuntu"),
        (image("20251105.0-kernel-6.1").id, "20251105.0-kernel-6.1", "ec2-user"),
        (
            "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-6.1-x86_64",
            "20251105.0-kernel-6.1",
            "ec2-user",
        ),
        (
            "resolve:ssm:/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id",
            "ubuntu-noble-24.04",
            "ubuntu",
        ),
    ],
)
def test_images(renter, name, expected, user):
    done = renter.run("ssh-run", "-n1", "--image", name, "--", "id", "-un").check(0)
    assert done.out == f"{user}\n"
    (instance,) = renter.launched()
    assert instance.image == image(expected)
    ((device, volume, _),) = instance.volumes
    assert device == instance.image.root_device and volume.size == 16
    renter.nothing_left()


def test_every_run_has_keys_of_its_own(renter):
    for _ in range(2):
        renter.run("ssh-run", "-n1", "--", "true").check(0)
    one, other = (user_data(instance) for instance in renter.launched())
    assert one["ssh_keys"]["ed25519_public"] != other["ssh_keys"]["ed25519_public"]
    assert one["ssh_authorized_keys"] != other["ssh_authorized_keys"]
    assert one["ssh_keys"]["ed25519_public"].split()[1] != one["ssh_authorized_keys"][0].split()[1]


def test_no_key_is_written_on_this_computer(renter):
    renter.run("ssh-run", "-n1", "--", "true").check(0)
    places = [renter.state, renter.root, *renter.cache.parent.glob(renter.cache.name)]
    for place in places:
        for path in place.rglob("*"):
            assert not path.is_file() or b"PRIVATE KEY" not in path.read_bytes(), path


def test_a_machine_that_descriptions_do_not_know_at_once(renter):
    renter.rig.faults.late(seconds=0.6)
    done = renter.run("ssh-run", "-n2", *ONE_WORKER_EACH, "--", "echo", "ran").check(0)
    assert words(done) == ["ran", "ran"] and len(renter.launched()) == 2
    renter.nothing_left()


def test_a_slow_boot_and_a_slow_end(renters):
    renter = renters(boot_seconds=0.5, ssh_seconds=0.5, terminate_seconds=0.7)
    renter.run("ssh-run", "-n2", *ONE_WORKER_EACH, "--", "true").check(0)
    renter.nothing_left()
