"""What can be wrong with an account, a machine or the surroundings: each is named with its cure, and nothing stays behind."""

from __future__ import annotations

import re

import pytest

from client import Client
from renter import ONE_WORKER_EACH, in_pytest

SUITE = {"test_a.py": "def test_a(): pass\n"}
COMMANDS = ("pytest", "ssh-run")
MUTATING = (
    "CreateSecurityGroup",
    "AuthorizeSecurityGroupIngress",
    "CreateLaunchTemplate",
    "CreateFleet",
)
READING = (
    "DescribeSubnets",
    "DescribeImages",
    "DescribeInstanceTypes",
    "DescribeInstanceTypeOfferings",
    "DescribeSpotPriceHistory",
)


def refused(renter, command, exit, *words, options=(), **more):
    """A run that cannot be; the message holds each of the words."""
    renter.project(SUITE)
    options = ("--num-workers=2", *ONE_WORKER_EACH, *options)
    if command == "ssh-run":
        done = renter.run("ssh-run", *options, "--", "true", **more)
    else:
        done = renter.hook(*in_pytest(*options), **more)
    text = done.out + done.err
    done.check(exit)
    for word in words:
        assert word in text, done
    assert re.search(r"^help: \S.*$", text, re.MULTILINE), done
    renter.nothing_left()
    return text


@pytest.mark.parametrize("command", COMMANDS)
def test_no_credentials(renter, command):
    none = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    text = refused(
        renter,
        command,
        91,
        "no AWS credentials",
        "--cd-provider=local",
        "cloudist doctor",
        options=("--provider=ec2",),
        env=none,
    )
    assert "cloudist sweep" not in text
    assert len(renter.rig.calls) == 0


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("code", ["RequestExpired", "ExpiredToken", "AuthFailure"])
def test_credentials_that_have_expired(renter, command, code):
    renter.rig.faults.expired(code)
    refused(renter, command, 91, "expired or are not valid", "aws sso login")
    assert renter.launched() == []


@pytest.mark.parametrize("action", [*MUTATING, *READING])
def test_an_action_that_is_not_allowed(renters, action):
    renter = renters(own_cache=action in READING)
    renter.rig.faults.unauthorized(action)
    text = refused(renter, "ssh-run", 91, f"may not call {action}", "cloudist iam-policy")
    assert renter.launched() == [] and f"ec2:{action}" in text


def test_a_renewal_that_is_not_allowed_does_no_harm(renter):
    """Only the date on the tags is not put off."""
    renter.rig.faults.unauthorized("CreateTags")
    run = ("ssh-run", "-n1", "--lease=5s", "--", "until [ -e /run/rig/go ]; do sleep 0.02; done")
    process = renter.start(*run)
    renter.rig.wait_call("CreateTags")
    renter.let_go()
    renter.finish(process).check(0)
    renter.nothing_left()


def test_machines_that_may_not_be_looked_at(renter):
    renter.rig.faults.unauthorized("DescribeInstances")
    done = renter.run("ssh-run", "-n1", "--", "true", patience=8).check(91)
    assert "may not call DescribeInstances" in done.err and "cloudist iam-policy" in done.err, done


@pytest.mark.parametrize(
    "action",
    ["TerminateInstances", "DeleteFleets", "DeleteLaunchTemplate", "DeleteSecurityGroup", "DescribeTags"],
)
def test_what_may_not_be_removed_is_said_and_stays_on_record(renter, action):
    renter.rig.faults.unauthorized(action)
    done = renter.run("ssh-run", "-n1", "--", "true").check(0)
    assert "not everything could be given back" in done.err and f"may not call {action}" in done.err, done
    assert "help: " in done.err and "cloudist sweep" in done.err, done
    assert len(renter.records()) == 1
    renter.rig.faults.clear()
    renter.sweep()
    renter.nothing_left()


@pytest.mark.parametrize("command", COMMANDS)
def test_no_default_vpc(renter, command):
    renter.rig.lose_default_vpc()
    refused(renter, command, 91, "no default VPC", "--cd-subnet", "create-default-vpc")


@pytest.mark.parametrize(
    "options, words",
    [
        (("--instance-type=c9.huge",), ("no machine type", "c9.huge")),
        (("--instance-type=c7i.larg",), ("no machine type", "c7i.large")),
        (("--image=ami-0123456789abcdef0",), ("there is no image ami-0123456789abcdef0", "--cd-region")),
        (("--image=ami-nonsense",), ("there is no image ami-nonsense",)),
        (("--image=nonsense",), ("image", "nonsense")),
        (("--image=/aws/service/no/such/parameter",), ("image", "/aws/service/no/such/parameter")),
        (("--subnet=subnet-0123456789abcdef0",), ("there is no subnet subnet-0123456789abcdef0",)),
        (("--security-group=sg-0123456789abcdef0",), ("security group", "sg-0123456789abcdef0")),
        (("--max-price=0.001",), ("costs $0.001 an hour or less", "--cd-max-price")),
        (("--memory-per-worker=100TiB",), ("no machine holds a worker", "--cd-memory-per-worker")),
    ],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_settings(renter, command, options, words):
    refused(renter, command, 90, *words, options=options)
    assert renter.launched() == []
    assert len(renter.rig.calls["CreateFleet"]) <= 1, "the same answer everywhere is asked for once"


@pytest.mark.parametrize("command", COMMANDS)
def test_quotas_of_nothing(renter, command):
    renter.rig.faults.spot_quota(0)
    refused(renter, command, 91, "quota for spot machines", "All Standard Spot Instance Requests")


@pytest.mark.parametrize("command", COMMANDS)
def test_no_capacity_anywhere(renter, command):
    renter.rig.faults.capacity()
    refused(renter, command, 91, "none of the machines that would do", "InsufficientInstanceCapacity")


def test_a_machine_that_ssh_does_not_reach_is_done_without(renter):
    """It is knocked at until the others have done the work."""
    renter.project({"test_a.py": "def test_a(): pass\n"})
    renter.rig.faults.ssh_blocked(times=1)
    renter.hook(*in_pytest("--num-workers=2", *ONE_WORKER_EACH)).check(0)
    assert len(renter.launched()) == 2
    renter.nothing_left()


@pytest.mark.parametrize("command", COMMANDS)
def test_ssh_blocked_by_the_security_group(renter, tmp_path, command):
    client = Client(renter.rig, tmp_path)
    client.group = client.ec2.create_security_group(GroupName="ours", Description="x")["GroupId"]
    client.admit("192.0.2.0/24")
    renter.before = renter.rig.listing()
    options = (f"--security-group={client.group}",)
    renter.tool.environment["CLOUDIST_BOOT_PATIENCE"] = "6s"
    refused(renter, command, 91, "did not finish within", "--cd-security-group", options=options)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_impostor_gets_no_byte_of_code(renter, command):
    logs = {}

    def keep(call):
        for one in renter.launched():
            if one.machine is not None:
                logs[one.id] = one.machine.ssh_log()

    renter.rig.on_call("TerminateInstances", keep)
    renter.rig.faults.impostor()
    refused(renter, command, 91, "host key")
    assert logs and all("Connection from" in log for log in logs.values()), logs
    for log in logs.values():
        after = log.partition("Connection from")[2]
        assert not re.search(r"Accepted|Starting session|publickey|session opened", after), log


@pytest.mark.parametrize("command", COMMANDS)
def test_machines_without_python(renters, command):
    renter = renters(machine_path=[])
    renter.rig.faults.no_python()
    refused(renter, command, 95, "python3")


def test_machines_whose_python_has_no_pytest(renters):
    renter = renters(machine_path=["/usr/bin"])
    refused(renter, "pytest", 95, "pytest", "--cd-init-command")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk(renter, command):
    renter.project({"data.bin": "0123456789abcdef" * 65536})
    renter.rig.faults.disk_full("200k")
    refused(renter, command, 93, "free space")


def test_an_advisor_that_cannot_be_reached_is_a_caveat_only(renters):
    renter = renters(own_cache=True)
    gone = {"CLOUDIST_SPOT_ADVISOR_URL": "http://127.0.0.1:9/none"}
    done = renter.run("ssh-run", "-n1", "--", "echo", "ran", env=gone).check(0)
    assert done.out == "ran\n" and "every type counts as one that is often taken away" in done.err, done
    renter.nothing_left()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_public_address_that_cannot_be_found_out(renter, command):
    gone = {"CLOUDIST_CHECKIP_URL": "http://127.0.0.1:9/none"}
    refused(renter, command, 91, "this computer's public address", "--cd-security-group", env=gone)
    assert renter.launched() == []


@pytest.mark.parametrize("command", COMMANDS)
def test_an_endpoint_that_cannot_be_reached(renter, command):
    gone = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    refused(renter, command, 91, "cannot reach EC2", "cloudist doctor", env=gone)


def test_a_record_that_cannot_be_kept(renter):
    (renter.root / "file").touch()
    nowhere = {"CLOUDIST_STATE_DIR": str(renter.root / "file" / "state")}
    refused(renter, "ssh-run", 91, "the record of what is being rented", "CLOUDIST_STATE_DIR", env=nowhere)
    assert not set(MUTATING) & set(renter.rig.calls.actions()), "nothing is rented without a record of it"


@pytest.mark.parametrize("command", COMMANDS)
def test_an_init_command_that_fails(renter, command):
    refused(renter, command, 94, "exit status 3", options=("--init-command", "echo no luck; exit 3"))
    assert len(renter.launched()) <= 2, "it fails on any machine"


def test_a_region_without_a_name(renter):
    gone = {"AWS_REGION": None, "AWS_DEFAULT_REGION": None}
    refused(renter, "ssh-run", 90, "no AWS region", "--cd-region", env=gone)
