"""The commands about an account: `plan`, `sweep` and `doctor`, with the real binary."""

from __future__ import annotations

import pathlib

import pytest

from command_line import CREDENTIALS, CommandLine
from rig import Rig

MUTATING = ("Create", "Delete", "Terminate", "Run", "Authorize", "Modify")


@pytest.fixture
def cloudist(rig: Rig, tmp_path: pathlib.Path) -> CommandLine:
    return CommandLine(rig, tmp_path)


class TestPlan:
    def test_a_table_and_no_change(self, rig, cloudist):
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
        (cloudist.project / "test_one.py").write_text("def test(): pass\n")
        options = ["-n", "5", "--instance-type", "m5.xlarge", "--instance-type", "m5.large"]
        launch = cloudist("plan", *options, "--json").check(0).json["launch"]
        cloudist("pytest", "--provider", "ec2", *options).check(0)
        types = [instance.type for instance in rig.instances()]
        assert {name: types.count(name) for name in types} == launch["machines"]

    def test_json(self, rig, cloudist):
        rig.advisor("m5.large", 2)
        options = ["--instance-type", "m5.large", "--instance-type", "t3.nano"]
        shown = cloudist("plan", "-n", "4", *options, "--json").check(0).json
        assert (shown["region"], shown["market"], shown["workers"]) == ("us-east-1", "spot", 4)
        assert {pool["type"] for pool in shown["pools"]} == {"m5.large"}
        assert shown["pools"][0]["interruption"] == {"bucket": "10-15 %", "percent": 12.5}
        assert shown["left_out"] == {"t3.nano": "too small for a worker"}
        launch = shown["launch"]
        assert launch["machines"] == {"m5.large": 2}
        assert launch["machine_dollars_per_hour"] < launch["dollars_per_hour"]
        assert launch["dollars_per_hour"] < launch["on_demand_dollars_per_hour"]

    def test_on_demand(self, cloudist):
        shown = (
            cloudist("plan", "--interrupt-prob", "0", "--instance-type", "m5.large", "--json").check(0).json
        )
        assert shown["market"] == "on-demand"
        assert all(pool["interruption"] is None for pool in shown["pools"])

    def test_only_the_zones_of_the_subnets(self, rig, cloudist):
        found = {subnet.availability_zone: subnet.id for subnet in rig.account.backend.describe_subnets()}
        shown = cloudist("plan", "--cd-subnet", found["us-east-1b"], "--json").check(0).json
        assert {pool["zone"] for pool in shown["pools"]} == {"us-east-1b"}

    def test_without_the_advisor_it_says_so(self, rig, cloudist):
        rig.web.broken = True
        done = cloudist("plan", "--json").check(0)
        assert "spot advisor" in done.err and "spot advisor" in done.json["caveats"][0]

    def test_a_run_that_would_rent_nothing(self, cloudist):
        done = cloudist("plan", "--provider", "local").check(0)
        assert "provider is local" in done.err and "would launch" in done.out

    def test_a_budget(self, cloudist):
        done = cloudist("plan", "--budget", "100").check(0)
        assert "the budget of $100.00 is spent after about" in done.out and done.err == ""
        assert "first minute" in cloudist("plan", "--budget", "0.00001").check(0).err

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
