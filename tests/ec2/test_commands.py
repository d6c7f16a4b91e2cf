"""The commands about an account: `plan`, `sweep` and `doctor`, with the real binary."""

from __future__ import annotations

import os
import pathlib
import sys
from typing import Iterator

import pytest

from client import AMAZON, Client
from command_line import CREDENTIALS, CommandLine
from renter import all_gone
from rig import Rig
from tool import ended

OWN = f"tester@{os.uname().nodename}"
LONG_AGO, FAR_AHEAD = 1, 1 << 40
MUTATING = ("Create", "Delete", "Terminate", "Run", "Authorize", "Modify")


@pytest.fixture
def cloudist(rig: Rig, tmp_path: pathlib.Path, cache: pathlib.Path) -> Iterator[CommandLine]:
    made = CommandLine(rig, tmp_path, cache)
    yield made
    all_gone(made.tool.mark)


class TestPlan:
    def test_a_table_and_no_change(self, rig, cloudist):
        cloudist.knowing_nothing()
        rig.price("m7i.large", "us-east-1a", 0.0001)
        rig.advisor("m7i.large", 0)
        done = cloudist("plan", "-n", "6").check(0)
        lines = done.out.splitlines()
        assert lines[0] == "spot machines in us-east-1"
        assert lines[2].split()[:3] == ["type", "zone", "workers"]
        assert lines[3].split()[:5] == ["m7i.large", "us-east-1a", "2", "0.0001000", "0.0000500"]
        assert "would launch: 3 x m7i.large (spot) for 6 workers" in done.out
        assert "on-demand about $" in done.out and done.err == ""
        assert [action for action in rig.calls.actions() if action.startswith(MUTATING)] == []

    def test_it_tells_what_a_run_does(self, rig, cloudist):
        cloudist.project({"test_one.py": "def test(): pass"})
        options = ["-n", "5", "--instance-type", "m5.xlarge", "--instance-type", "m5.large"]
        launch = cloudist.json("plan", *options)["launch"]
        cloudist("pytest", "--provider", "ec2", *options).check(0)
        types = [instance.type for instance in rig.instances()]
        assert {name: types.count(name) for name in types} == launch["machines"]

    def test_json(self, rig, cloudist):
        cloudist.knowing_nothing()
        rig.advisor("m5.large", 2)
        options = ["--instance-type", "m5.large", "--instance-type", "t3.nano"]
        shown = cloudist.json("plan", "-n", "4", *options)
        assert (shown["region"], shown["market"], shown["workers"]) == ("us-east-1", "spot", 4)
        assert {pool["type"] for pool in shown["pools"]} == {"m5.large"}
        assert shown["pools"][0]["interruption"] == {"bucket": "10-15 %", "percent": 12.5}
        assert shown["left_out"] == {"t3.nano": "too small for a worker"}
        launch = shown["launch"]
        assert launch["machines"] == {"m5.large": 2}
        assert launch["machine_dollars_per_hour"] < launch["dollars_per_hour"]
        assert launch["dollars_per_hour"] < launch["on_demand_dollars_per_hour"]
        assert shown["teams"] is None

    def test_cost_against_time(self, rig, cloudist):
        cloudist.project({"test_one.py": "def test(): pass"})
        (cloudist.root / ".test_durations").write_text(
            '{"test_one.py::test": 600, "test_two.py::test": 1800}'
        )
        shown = cloudist.json("plan", "-n", "auto", "--target", "40m")
        assert shown["workers"] == 2
        assert [(team["workers"], team["seconds"]) for team in shown["teams"]] == [(1, 2460), (2, 1860)]
        assert 0 < shown["teams"][0]["dollars"] < shown["teams"][1]["dollars"]
        rows = [line.split() for line in cloudist("plan", "--target", "40m").check(0).out.splitlines()[-3:]]
        assert rows[0] == ["workers", "time", "$"] and rows[1][:2] == ["1", "41m"]
        assert (rows[2][0], rows[2][-1]) == ("2", "*")

    def test_on_demand(self, cloudist):
        shown = cloudist.json("plan", "--interrupt-prob", "0", "--instance-type", "m5.large")
        assert shown["market"] == "on-demand"
        assert all(pool["interruption"] is None for pool in shown["pools"])

    def test_only_the_zones_of_the_subnets(self, rig, cloudist):
        found = {subnet.availability_zone: subnet.id for subnet in rig.account.backend.describe_subnets()}
        shown = cloudist.json("plan", "--cd-subnet", found["us-east-1b"])
        assert {pool["zone"] for pool in shown["pools"]} == {"us-east-1b"}

    def test_without_the_advisor_it_says_so(self, rig, cloudist):
        cloudist.knowing_nothing()
        rig.web.broken = True
        assert "spot advisor" in cloudist("plan").check(0).err
        assert "spot advisor" in cloudist.json("plan")["caveats"][0]

    def test_a_run_that_would_rent_nothing(self, cloudist):
        done = cloudist("plan", "--provider", "local").check(0)
        assert "provider is local" in done.err and "would launch" in done.out

    def test_a_budget(self, cloudist):
        done = cloudist("plan", "--budget", "100").check(0)
        assert "the budget of $100.00 is spent after about" in done.out and done.err == ""
        assert "first minute" in cloudist("plan", "--budget", "0.00001").check(91).err

    @pytest.mark.parametrize(
        "options, message, help",
        [
            (["--instance-type", "m5.larg"], "no machine type", "m5.large"),
            (["--cpu-per-worker", "5000"], "no machine holds a worker", "--cd-cpu-per-worker"),
            (["--max-price", "0.000001"], "costs", "--cd-max-price"),
            (["--subnet", "subnet-1"], "no subnet subnet-1", "--cd-region"),
            (["--num-workers", "0"], "--num-workers", "--help"),
        ],
    )
    def test_settings_that_nothing_meets(self, cloudist, options, message, help):
        done = cloudist("plan", *options).check(90)
        assert message in done.err and help in done.err.partition("help: ")[2] and done.out == ""

    def test_no_credentials(self, rig, cloudist):
        done = cloudist.without(*CREDENTIALS)("plan").check(91)
        assert "no AWS credentials" in done.err and "--cd-provider=local" in done.err
        assert len(rig.calls) == 0

    def test_no_region(self, cloudist):
        done = cloudist.without("AWS_REGION", "AWS_DEFAULT_REGION")("plan").check(90)
        assert "no AWS region" in done.err and "--cd-region" in done.err

    def test_expired_credentials(self, rig, cloudist):
        rig.faults.expired()
        done = cloudist("plan").check(91)
        assert "expired" in done.err and "help: renew them" in done.err

    @pytest.mark.parametrize("action", ["DescribeSubnets", "DescribeSpotPriceHistory"])
    def test_denied(self, rig, cloudist, action):
        cloudist.knowing_nothing()
        rig.faults.unauthorized(action)
        done = cloudist("plan").check(91)
        assert f"may not call {action}" in done.err and "cloudist iam-policy" in done.err

    def test_no_default_vpc(self, rig, cloudist):
        rig.lose_default_vpc()
        done = cloudist("plan").check(91)
        assert "no default VPC" in done.err and "--cd-subnet" in done.err

    def test_a_profile_that_is_named_wins_over_the_variables(self, rig, cloudist, tmp_path):
        (tmp_path / "credentials").write_text(
            "[other]\naws_access_key_id = AKIAOTHEROTHEROTHER0\naws_secret_access_key = other\n"
        )
        done = cloudist(
            "plan", "--profile", "nobody", AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "credentials")
        )
        assert "nobody" in done.check(91).err
        cloudist(
            "plan", "--profile", "other", AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "credentials")
        ).check(0)


def tags(run: str, owner: str, expires: int) -> list:
    found = {"cloudist-run": run, "cloudist-owner": owner, "cloudist-expires": str(expires)}
    return [{"Key": key, "Value": value} for key, value in found.items()]


class Left:
    """What runs leave when they are killed, made by hand: a machine, its group, its template."""

    def __init__(self, rig: Rig, client: Client) -> None:
        self.rig = rig
        self.ec2 = client.ec2

    def behind(self, run: str, owner: str = OWN, expires: int = LONG_AGO, machines: int = 1) -> None:
        def tagged(kind: str) -> list:
            return [{"ResourceType": kind, "Tags": tags(run, owner, expires)}]

        group = self.ec2.create_security_group(
            GroupName=f"cloudist-{run}", Description="left", TagSpecifications=tagged("security-group")
        )["GroupId"]
        template = self.ec2.create_launch_template(
            LaunchTemplateName=f"cloudist-{run}",
            TagSpecifications=tagged("launch-template"),
            LaunchTemplateData={
                "ImageId": AMAZON,
                "SecurityGroupIds": [group],
                "TagSpecifications": tagged("instance"),
            },
        )["LaunchTemplate"]["LaunchTemplateId"]
        if machines:
            self.ec2.create_fleet(
                Type="instant",
                LaunchTemplateConfigs=[
                    {
                        "LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "$Latest"},
                        "Overrides": [{"InstanceType": "c7i.large"}],
                    }
                ],
                TargetCapacitySpecification={
                    "TotalTargetCapacity": machines,
                    "DefaultTargetCapacityType": "spot",
                },
                TagSpecifications=tagged("fleet"),
            )


@pytest.fixture
def left(rig: Rig, client: Client) -> Left:
    return Left(rig, client)


class TestSweep:
    def test_nothing_is_left(self, cloudist):
        assert cloudist("sweep").check(0).out == "nothing is left over\n"

    def test_a_run_that_was_killed(self, rig, cloudist):
        cloudist.project({"test_one.py": "def test():\n    import time\n    time.sleep(60)"})
        run = cloudist.start("ssh-run", "--provider", "ec2", "-n", "2", "--", "sleep", "60")
        rig.wait_state("running", count=1)
        run.kill()
        cloudist.finish(run)
        assert len(cloudist.records()) == 1
        listed = cloudist("sweep", "--dry-run").check(1)
        assert "on record here" in listed.out and f"machine {rig.instances()[0].id} (" in listed.out
        assert "running" in listed.out and "launch template lt-" in listed.out
        assert len(cloudist.records()) == 1
        done = cloudist("sweep", "--yes").check(0)
        assert "removed 1 machine and 3 other things" in done.out
        cloudist.nothing_left()
        assert cloudist("sweep").check(0).out == "nothing is left over\n"

    def test_a_run_that_goes_on_is_not_touched(self, rig, cloudist, client):
        run = cloudist.start("ssh-run", "--provider", "ec2", "-n", "1", "--", "sleep", "60")
        [instance] = rig.wait_state("running", count=1)
        listing = rig.listing()
        # As if nobody had renewed it.
        made = [*listing["instances"], *listing["security groups"], *listing["launch templates"]]
        client.ec2.create_tags(Resources=made, Tags=[{"Key": "cloudist-expires", "Value": str(LONG_AGO)}])
        assert cloudist("sweep", "--all", "--yes").check(0).out == "nothing is left over\n"
        assert rig.listing() == listing and instance.state == "running"
        run.terminate()
        cloudist.finish(run).check(143)
        cloudist.nothing_left()

    def test_what_is_overdue_by_its_tags(self, rig, cloudist, left):
        before = rig.listing()
        left.behind("own")
        left.behind("renewed", expires=FAR_AHEAD)
        left.behind("others", owner="else@where")
        done = cloudist("sweep", "--yes").check(0)
        assert "run own in us-east-1, rented by tester@" in done.out and "its lease is over" in done.out
        assert "renewed" not in done.out and "others" not in done.out
        done = cloudist("sweep", "--all", "--yes").check(0)
        assert "run others in us-east-1, rented by else@where" in done.out and "renewed" not in done.out
        left.ec2.create_tags(
            Resources=[
                one
                for kind in ("instances", "security groups", "launch templates", "fleets")
                for one in rig.listing()[kind]
            ],
            Tags=tags("renewed", OWN, LONG_AGO),
        )
        cloudist("sweep", "--yes").check(0)
        rig.wait_state("terminated")
        assert rig.listing() == before

    def test_nothing_is_removed_without_a_word(self, rig, cloudist, left):
        left.behind("one", machines=0)
        before = rig.listing()
        done = cloudist("sweep").check(1)
        assert "security group sg-" in done.out and "--yes" in done.err
        assert rig.listing() == before

    @pytest.mark.parametrize("answer, exit", [("y", 0), ("", 1), ("n", 1)])
    def test_it_asks_on_a_terminal(self, rig, cloudist, left, answer, exit):
        left.behind("one", machines=0)
        terminal = cloudist.on_terminal("sweep")
        terminal.expect_exact("security group sg-")
        terminal.expect_exact("[y/N]")
        terminal.sendline(answer)
        assert ended(terminal) == exit
        assert bool(rig.listing()["security groups"]) == bool(exit)

    def test_a_mere_record_is_removed_without_a_question(self, cloudist):
        cloudist.record("past")
        assert "nothing but the record" in cloudist("sweep", "--dry-run").check(1).out
        assert cloudist.records() == ["past.json"]
        cloudist("sweep").check(0)
        assert cloudist.records() == []

    def test_one_that_cannot_be_removed_keeps_none_from_it(self, rig, cloudist, left):
        left.behind("a", machines=0)
        left.behind("b", machines=0)
        cloudist.record("a")
        rig.faults.error("DeleteSecurityGroup", "UnauthorizedOperation", times=1)
        done = cloudist("sweep", "--yes").check(91)
        assert "run a was not removed as a whole" in done.err and "cloudist iam-policy" in done.err
        assert "run b: removed 0 machines and 2 other things" in done.out
        assert len(rig.listing()["security groups"]) == 1 and cloudist.records() == ["a.json"]
        cloudist("sweep", "--yes").check(0)
        assert rig.listing()["security groups"] == [] and cloudist.records() == []

    def test_a_record_that_cannot_be_looked_at_keeps_none_from_it(self, cloudist, left):
        left.behind("a", machines=0)
        cloudist.record("lost", profile="deleted-since")
        done = cloudist("sweep", "--yes").check(91)
        assert "cannot look at run lost in us-east-1" in done.err and "deleted-since" in done.err
        assert "run a: removed" in done.out and cloudist.records() == ["lost.json"]

    def test_machines_that_were_kept_stay_unless_named(self, rig, cloudist):
        cloudist("ssh-run", "--provider", "ec2", "--keep", "15m", "-n", "1", "--", "true").check(0)
        listing = rig.listing()
        done = cloudist("sweep", "--yes").check(0)
        assert "kept for the next run" in done.out and "--kept" in done.err
        assert rig.listing() == listing and len(listing["instances"]) == 1
        cloudist("sweep", "--yes", "--kept").check(0)
        cloudist.nothing_left()

    def test_records_name_their_regions(self, cloudist):
        cloudist.record("elsewhere", region="eu-north-1")
        done = cloudist.without("AWS_REGION", "AWS_DEFAULT_REGION")("sweep", "--yes").check(0)
        assert "run elsewhere in eu-north-1" in done.out and cloudist.records() == []

    def test_all_regions(self, rig, cloudist):
        cloudist("sweep", "--all-regions").check(0)
        assert len(rig.calls["DescribeRegions"]) == 1
        assert len(rig.calls["DescribeLaunchTemplates"]) > 10

    def test_no_credentials(self, rig, cloudist):
        done = cloudist.without(*CREDENTIALS)("sweep").check(91)
        assert "no AWS credentials" in done.err and len(rig.calls) == 0

    def test_no_region(self, cloudist):
        done = cloudist.without("AWS_REGION", "AWS_DEFAULT_REGION")("sweep").check(90)
        assert "no AWS region" in done.err

    def test_expired_credentials(self, rig, cloudist):
        rig.faults.expired("ExpiredToken")
        assert "expired" in cloudist("sweep").check(91).err


def verdicts(report: list) -> dict:
    """The worst verdict of each check."""
    order = ["ok", "warn", "fail"]
    found: dict = {}
    for check in report:
        known = found.get(check["check"], "ok")
        found[check["check"]] = max(known, check["verdict"], key=order.index)
    return found


def fault(report: list, subject: str) -> str:
    """What is said of the checks that are not ok, and the help."""
    checks = [check for check in report if check["check"] == subject and check["verdict"] != "ok"]
    return " ".join(f"{check['finding']} {check['help']}" for check in checks)


class TestDoctor:
    def test_all_is_well(self, rig, cloudist):
        before = rig.listing()
        done = cloudist("doctor").check(0)
        assert done.out.splitlines()[-1].endswith(" checks: 0 failed, 0 with a warning"), done
        report = cloudist.json("doctor")
        assert set(verdicts(report).values()) == {"ok"}
        assert [check["check"] for check in report] == [
            "cloudist",
            "settings",
            "state",
            "cache",
            "python",
            "pytest",
            "credentials",
            "clock",
            "identity",
            "region",
            "address",
            "market",
            "advisor",
            "image",
            "permissions",
            "quota",
            "left over",
        ]
        assert f"account {rig.account.id}" in done.out and "AWS_ACCESS_KEY_ID" in done.out
        assert rig.listing() == before
        changing = [call for call in rig.calls if call.action.startswith(MUTATING)]
        assert changing and {call.error for call in changing} <= {"DryRunOperation"}

    def test_it_changes_nothing_even_where_dry_runs_would(self, rig, cloudist):
        cloudist("doctor").check(0)
        for call in rig.calls:
            if call.action.startswith(MUTATING):
                assert call.parameters.get("DryRun"), call

    def test_without_credentials_nobody_is_asked(self, rig, cloudist):
        report = cloudist.without(*CREDENTIALS).json("doctor")
        assert verdicts(report)["provider"] == "warn"
        assert "--cd-provider=local" in fault(report, "provider") and "aws configure" in fault(
            report, "provider"
        )
        assert len(rig.calls) == 0 and rig.web.requests == []

    def test_without_credentials_ec2_fails_when_asked_for(self, rig, cloudist):
        report = cloudist.without(*CREDENTIALS).json("doctor", "--provider", "ec2", exit=91)
        assert "no AWS credentials" in fault(report, "credentials")
        assert "--cd-provider=local" in fault(report, "credentials")

    def test_credentials_are_left_alone_when_others_are_used(self, rig, cloudist):
        assert set(verdicts(cloudist.json("doctor", "--provider", "local")).values()) == {"ok"}
        assert len(rig.calls) == 0

    def test_without_credentials_records_are_told_of(self, cloudist):
        cloudist.record("past")
        report = cloudist.without(*CREDENTIALS).json("doctor")
        assert "cloudist sweep" in fault(report, "left over")

    @pytest.mark.parametrize("code", ["RequestExpired", "ExpiredToken", "AuthFailure"])
    def test_expired_credentials(self, rig, cloudist, code):
        rig.faults.expired(code)
        report = cloudist.json("doctor", exit=91)
        assert "expired" in fault(report, "identity") and "renew them" in fault(report, "identity")

    def test_no_region(self, cloudist):
        report = cloudist.without("AWS_REGION", "AWS_DEFAULT_REGION").json("doctor", exit=91)
        assert "--cd-region" in fault(report, "region")

    def test_nobody_answers(self, cloudist):
        cloudist.tool.environment["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
        report = cloudist.json("doctor", exit=91)
        assert "cannot reach EC2" in fault(report, "region")

    @pytest.mark.parametrize(
        "action",
        ["CreateFleet", "RunInstances", "CreateLaunchTemplate", "CreateSecurityGroup", "DescribeInstances"],
    )
    def test_denied(self, rig, cloudist, action):
        rig.faults.unauthorized(action)
        report = cloudist.json("doctor", exit=91)
        assert f"may not call {action}" in fault(report, "permissions")
        assert "cloudist iam-policy" in fault(report, "permissions")

    @pytest.mark.parametrize("action", ["TerminateInstances", "DeleteSecurityGroup", "CreateTags"])
    def test_denied_for_what_has_no_tag(self, rig, cloudist, action):
        rig.faults.unauthorized(action)
        report = cloudist.json("doctor")
        assert verdicts(report)["permissions"] == "warn" and action in fault(report, "permissions")

    def test_quotas_that_may_not_be_asked_for(self, rig, cloudist):
        rig.faults.unauthorized("GetServiceQuota")
        report = cloudist.json("doctor")
        assert verdicts(report)["quota"] == "warn" and "Service Quotas" in fault(report, "quota")

    def test_a_quota_that_is_too_low(self, rig, cloudist):
        rig.faults.spot_quota(0)
        report = cloudist.json("doctor", exit=91)
        assert "Spot Instance Requests" in fault(report, "quota")
        assert verdicts(cloudist.json("doctor", "--interrupt-prob", "0"))["quota"] == "ok"
        rig.faults.on_demand_quota(4)
        many = ["-n", "64", "--interrupt-prob", "0"]
        assert "On-Demand" in fault(cloudist.json("doctor", *many, exit=91), "quota")

    def test_no_default_vpc(self, rig, cloudist):
        rig.lose_default_vpc()
        report = cloudist.json("doctor", exit=91)
        assert "no default VPC" in fault(report, "network") and "--cd-subnet" in fault(report, "network")

    def test_no_such_image(self, cloudist):
        report = cloudist.json("doctor", "--image", "ami-00000000000000000", exit=91)
        assert "no image ami-00000000000000000" in fault(report, "image")

    def test_no_such_type(self, cloudist):
        report = cloudist.json("doctor", "--instance-type", "m7i.larg", exit=91)
        assert "m7i.large" in fault(report, "market")

    def test_public_pages_that_cannot_be_reached(self, rig, cloudist):
        cloudist.knowing_nothing()
        rig.web.broken = True
        report = cloudist.json("doctor", exit=91)
        assert verdicts(report)["advisor"] == "warn" and verdicts(report)["address"] == "fail"
        assert "--cd-security-group" in fault(report, "address")
        assert verdicts(cloudist.json("doctor", "--security-group", "sg-1"))["address"] == "ok"

    def test_something_left_over(self, cloudist, left):
        left.behind("old", machines=0)
        report = cloudist.json("doctor")
        assert "old in us-east-1" in fault(report, "left over")
        assert "cloudist sweep" in fault(report, "left over")

    def test_a_wrong_setting(self, cloudist):
        report = cloudist.json("doctor", "--num-workers", "none", exit=91)
        assert "--num-workers" in fault(report, "settings")

    def test_a_directory_that_cannot_be_written(self, cloudist, tmp_path):
        (tmp_path / "file").write_text("")
        report = cloudist.json("doctor", exit=91, CLOUDIST_STATE_DIR=str(tmp_path / "file"))
        assert "CLOUDIST_STATE_DIR" in fault(report, "state")

    def test_an_interpreter_without_pytest(self, cloudist, tmp_path):
        (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
        (tmp_path / "python").chmod(0o755)
        report = cloudist.json("doctor", "--local-python", str(tmp_path / "python"))
        assert "has no pytest" in fault(report, "pytest")
        report = cloudist.json("doctor", "--local-python", str(tmp_path / "none"), exit=91)
        assert "--local-python" in fault(report, "python")
