"""The policy that `cloudist iam-policy` prints, held against the calls that are really made."""

from __future__ import annotations

import json
import pathlib
from typing import Iterator, Set

import pytest

from command_line import CommandLine
from renter import SCRIPTS, all_gone
from rig import Rig
from test_bake import Baker

# Who calls is told to anybody with credentials: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
NEEDS_NO_PERMISSION = {"sts:GetCallerIdentity"}

CALLED_BY_EC2 = {
    "ssm:GetParameters": "EC2 resolves an image's parameter on our behalf",
    "iam:CreateServiceLinkedRole": "by EC2, for the first spot machine and the first fleet of an account",
}

SERVICES = {"GetCallerIdentity": "sts", "GetServiceQuota": "servicequotas"}


@pytest.fixture
def cloudist(rigs, tmp_path: pathlib.Path, cache: pathlib.Path) -> Iterator[CommandLine]:
    made = CommandLine(rigs(machine_path=[SCRIPTS]), tmp_path, cache)
    yield made
    all_gone(made.tool.mark)


def called(rig: Rig) -> Set[str]:
    return {f"{SERVICES.get(action, 'ec2')}:{action}" for action in rig.calls.actions()}


def statements(cloudist: CommandLine, *options: str) -> list:
    return json.loads(cloudist("iam-policy", *options).check(0).out)["Statement"]


def allowed(cloudist: CommandLine) -> Set[str]:
    return {action for statement in statements(cloudist) for action in statement["Action"]}


def test_what_is_called_is_allowed_and_the_other_way_round(cloudist, tmp_path):
    rig = cloudist.rig
    cloudist.knowing_nothing()
    rented = ["--provider", "ec2", "-n", "2", "--lease", "5s"]
    run = cloudist.start("ssh-run", *rented, "--", "sleep", "60")
    rig.wait_call("CreateTags")
    run.terminate()
    cloudist.finish(run).check(143)
    # Kept, used again, and given back.
    cloudist("ssh-run", *rented, "--keep", "10m", "--", "true").check(0)
    cloudist("ssh-run", *rented, "--keep", "10m", "--", "true").check(0)
    cloudist("sweep", "--kept", "--yes").check(0)
    cloudist("sweep", "--all", "--all-regions").check(0)
    cloudist("ssh-run", *rented, "--image", "ubuntu", "--", "true").check(0)
    baker = Baker(cloudist, tmp_path)
    baker.bake().check(0)
    baker.index.end()
    cloudist("bake", "--remove", "--all").check(0)
    cloudist("plan").check(0)
    cloudist("doctor").check(0)
    assert called(rig) - NEEDS_NO_PERMISSION == allowed(cloudist) - set(CALLED_BY_EC2)
    assert set(CALLED_BY_EC2) <= allowed(cloudist)
    cloudist.nothing_left()


def test_a_run_calls_nothing_else_when_it_gets_less_than_it_asks_for(cloudist):
    rig = cloudist.rig
    rig.faults.spot_quota(2)
    types = ["--instance-type", "m7i.large", "--fallback", "on-demand"]
    cloudist("ssh-run", "--provider", "ec2", "-n", "4", *types, "--", "true").check(0)
    cloudist.nothing_left()
    assert len(rig.calls["CreateFleet"]) > 1
    assert called(rig) <= allowed(cloudist)


def test_changes_are_bound_to_the_tag(cloudist):
    """Nothing that was there before can be changed or removed."""
    for statement in statements(cloudist):
        verbs = [action.partition(":")[2] for action in statement["Action"]]
        condition = json.dumps(statement.get("Condition", {}))
        if any(verb.startswith(("Delete", "Terminate", "Authorize")) for verb in verbs):
            assert "ec2:ResourceTag/cloudist-run" in condition, statement
        if "CreateTags" in verbs:
            assert "ec2:CreateAction" in condition or "aws:TagKeys" in condition, statement
        if any(verb.startswith("Describe") for verb in verbs):
            assert all(verb.startswith(("Describe", "Get")) for verb in verbs), statement
    asked = [one for one in statements(cloudist) if "aws:RequestTag/cloudist-run" in json.dumps(one)]
    bound = {action for one in asked for action in one["Action"]}
    assert bound == {
        "ec2:CreateFleet",
        "ec2:CreateImage",
        "ec2:CreateLaunchTemplate",
        "ec2:CreateSecurityGroup",
        "ec2:CreateTags",
        "ec2:RunInstances",
    }


def test_regions_of_their_own(cloudist):
    resources = [
        one for statement in statements(cloudist, "--partition", "aws-cn") for one in statement["Resource"]
    ]
    assert all(one == "*" or one.startswith("arn:aws-cn:") for one in resources)
    assert cloudist("iam-policy", "--partition", "aws-de").exit == 2


def test_nobody_is_asked(cloudist):
    cloudist.without("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION")
    assert statements(cloudist) and len(cloudist.rig.calls) == 0
