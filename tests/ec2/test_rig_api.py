"""The rig's API beside what AWS documents: fleets, descriptions, tokens, dry runs, the log and the hooks."""

from __future__ import annotations

import datetime
import json
import threading
import urllib.request
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from client import Client, encoded, error_codes, ids_of
from rig import DROP, Rig


def described(client: Client, **query: Any) -> list:
    pages = client.ec2.get_paginator("describe_instances").paginate(**query)
    return [one for page in pages for group in page["Reservations"] for one in group["Instances"]]


def refused(code: str) -> Any:
    return pytest.raises(ClientError, match=rf"\({code}\)")


def test_a_fleet_launches_from_its_template_and_says_so(client: Client) -> None:
    client.ec2.import_key_pair(KeyName="pair", PublicKeyMaterial=client.public_key.encode())
    client.prepare(
        KeyName="pair",
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 30, "VolumeType": "gp3"}}],
    )
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "owner", "Value": "me"}]}]
    reply = client.fleet(2, TagSpecifications=tags, ClientToken="token")
    (group,) = reply["Instances"]
    assert (group["Lifecycle"], group["InstanceType"], reply["Errors"]) == ("spot", "c7i.large", [])
    one, two = described(client, Filters=[{"Name": "tag:run", "Values": ["one"]}])
    assert {one["InstanceId"], two["InstanceId"]} == set(ids_of(reply))
    assert {"Key": "owner", "Value": "me"} in one["Tags"]
    assert {"Key": "aws:ec2:fleet-id", "Value": reply["FleetId"]} in one["Tags"]
    assert (one["KeyName"], one["InstanceLifecycle"], one["ClientToken"]) == ("pair", "spot", "token")
    assert one["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert [group["GroupId"] for group in one["SecurityGroups"]] == [client.group]
    volume = one["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    assert client.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["Size"] == 30
    assert one["PublicIpAddress"].startswith(f"127.{client.rig.octet}.")
    client.rig.wait_state("running", 2)


def test_everything_can_be_deleted_again_in_the_right_order_only(client: Client) -> None:
    before = client.rig.listing()
    client.prepare()
    fleet = client.fleet(2)["FleetId"]
    assert {name for name, ids in client.rig.listing().items() if ids} == {
        "instances",
        "security groups",
        "launch templates",
        "fleets",
        "volumes",
    }
    with refused("DependencyViolation"):
        client.ec2.delete_security_group(GroupId=client.group)
    kept = client.ec2.delete_fleets(FleetIds=[fleet], TerminateInstances=False)
    assert kept["UnsuccessfulFleetDeletions"][0]["FleetId"] == fleet
    client.end()
    assert client.rig.listing() == before
    states = {one["State"]["Name"] for one in described(client)}
    assert states == {"terminated"}
    assert client.ec2.describe_fleets()["Fleets"] == []
    assert client.ec2.describe_fleets(FleetIds=[fleet])["Fleets"][0]["FleetState"] == "deleted"


def test_key_pairs_are_deleted_by_name_and_by_id(client: Client) -> None:
    for name in ("one", "two"):
        client.ec2.import_key_pair(KeyName=name, PublicKeyMaterial=client.public_key.encode())
    assert client.rig.listing()["key pairs"] == ["one", "two"]
    pairs = {pair["KeyName"]: pair["KeyPairId"] for pair in client.ec2.describe_key_pairs()["KeyPairs"]}
    client.ec2.delete_key_pair(KeyName="one")
    client.ec2.delete_key_pair(KeyPairId=pairs["two"])
    assert client.rig.listing()["key pairs"] == []


def test_the_cheapest_pool_comes_first_and_a_price_can_be_set(client: Client) -> None:
    client.prepare()
    client.rig.price("m7i.large", "us-east-1c", 0.0001)
    subnets = client.ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    overrides = [
        {"InstanceType": type, "SubnetId": subnet["SubnetId"], "WeightedCapacity": 2}
        for type in ("c7i.large", "m7i.large")
        for subnet in subnets
        if subnet["AvailabilityZone"] in ("us-east-1b", "us-east-1c")
    ]
    options = {"AllocationStrategy": "price-capacity-optimized"}
    (group,) = client.fleet(4, overrides, SpotOptions=options)["Instances"]
    assert (group["InstanceType"], len(group["InstanceIds"])) == ("m7i.large", 2)
    (price,) = client.ec2.describe_spot_price_history(
        InstanceTypes=["m7i.large"],
        AvailabilityZone="us-east-1c",
        ProductDescriptions=["Linux/UNIX"],
        StartTime=datetime.datetime.now(),
    )["SpotPriceHistory"]
    assert float(price["SpotPrice"]) == 0.0001
    assert abs(datetime.datetime.now(datetime.timezone.utc) - price["Timestamp"]).days == 0


def test_a_maximum_price_a_priority_and_a_wrong_architecture(client: Client) -> None:
    client.prepare()
    reply = client.fleet(1, [{"InstanceType": "c7i.large", "MaxPrice": "0.001"}, "c7g.large", "c6i.large"])
    assert error_codes(reply) == ["SpotMaxPriceTooLow", "InvalidParameterValue"]
    assert reply["Instances"][0]["InstanceType"] == "c6i.large"
    overrides = [
        {"InstanceType": type, "Priority": rank} for rank, type in enumerate(("m5.large", "c5.large"))
    ]
    reply = client.fleet(
        1, overrides, market="on-demand", OnDemandOptions={"AllocationStrategy": "prioritized"}
    )
    assert reply["Instances"][0]["InstanceType"] == "m5.large"
    assert reply["Instances"][0]["Lifecycle"] == "on-demand"
    assert client.rig.instances()[-1].market == "on-demand"


def test_a_maximum_price_is_one_for_a_unit_of_weight(client: Client) -> None:
    client.prepare()
    for zone in ("us-east-1a", "us-east-1b"):
        client.rig.price("c7i.xlarge", zone, 0.04)
    pool = {"InstanceType": "c7i.xlarge", "AvailabilityZone": "us-east-1a", "WeightedCapacity": 4}
    assert error_codes(client.fleet(4, [{**pool, "MaxPrice": "0.009"}])) == ["SpotMaxPriceTooLow"]
    assert error_codes(client.fleet(4, [{**pool, "MaxPrice": "0.011"}])) == []
    with refused("InvalidParameterValue"):
        client.fleet(4, [{**pool, "MaxPrice": "0.0005"}])


def test_tags_of_groups_and_templates_can_be_renewed_and_filtered_for(client: Client) -> None:
    client.prepare()
    client.ec2.create_tags(
        Resources=[client.group, client.template], Tags=[{"Key": "expires", "Value": "soon"}]
    )
    for name, value in (("tag:run", "one"), ("tag-key", "run"), ("tag:expires", "soon")):
        wanted = [{"Name": name, "Values": [value]}]
        (group,) = client.ec2.describe_security_groups(Filters=wanted)["SecurityGroups"]
        (template,) = client.ec2.describe_launch_templates(Filters=wanted)["LaunchTemplates"]
        expected = [{"Key": "expires", "Value": "soon"}, {"Key": "run", "Value": "one"}]
        assert sorted(group["Tags"], key=lambda tag: tag["Key"]) == template["Tags"] == expected
    nothing = [{"Name": "tag:run", "Values": ["two"]}]
    assert client.ec2.describe_security_groups(Filters=nothing)["SecurityGroups"] == []
    assert client.ec2.describe_launch_templates(Filters=nothing)["LaunchTemplates"] == []
    subnets = client.ec2.describe_subnets(
        Filters=[{"Name": "default-for-az", "Values": ["true"]}, {"Name": "state", "Values": ["available"]}]
    )["Subnets"]
    assert len(subnets) == 6
    with refused(r"InvalidLaunchTemplateId\.NotFound"):
        client.ec2.delete_launch_template(LaunchTemplateId="lt-0123456789abcdef0")
    with refused(r"InvalidGroup\.NotFound"):
        client.ec2.delete_security_group(GroupId="sg-0123456789abcdef0")


def test_a_client_token_makes_a_fleet_once(client: Client) -> None:
    client.prepare()
    first = client.fleet(1, ClientToken="one")
    again = client.fleet(1, ClientToken="one")
    assert (again["FleetId"], ids_of(again)) == (first["FleetId"], ids_of(first))
    with refused("IdempotentParameterMismatch"):
        client.fleet(2, ClientToken="one")
    assert len(client.rig.instances()) == 1
    ids = [
        one["InstanceId"] for one in described(client, Filters=[{"Name": "client-token", "Values": ["one"]}])
    ]
    assert ids == ids_of(first)


def test_dry_runs_change_nothing(client: Client) -> None:
    client.prepare()
    before = client.rig.listing()
    with refused("DryRunOperation"):
        client.fleet(1, DryRun=True)
    with refused("DryRunOperation"):
        client.ec2.create_security_group(GroupName="other", Description="x", DryRun=True)
    client.rig.faults.unauthorized("CreateFleet")
    with pytest.raises(ClientError, match="Encoded authorization failure message: "):
        client.fleet(1, DryRun=True)
    assert client.rig.listing() == before


def test_images_by_name_and_by_parameter(client: Client) -> None:
    images = client.ec2.describe_images(
        Owners=["amazon"],
        Filters=[
            {"Name": "name", "Values": ["al2023-ami-2023.*-kernel-6.12-*"]},
            {"Name": "architecture", "Values": ["arm64"]},
        ],
    )["Images"]
    assert [image["Name"] for image in images] == ["al2023-ami-2023.9.20260101.0-kernel-6.12-arm64"]
    assert images[0]["RootDeviceName"] == "/dev/xvda"
    assert images[0]["CreationDate"] == "2026-01-01T01:02:03.000Z"
    client.prepare()
    (version,) = client.ec2.describe_launch_template_versions(
        LaunchTemplateId=client.template, Versions=["$Default"], ResolveAlias=True
    )["LaunchTemplateVersions"]
    resolved = version["LaunchTemplateData"]["ImageId"]
    (image,) = client.ec2.describe_images(ImageIds=[resolved])["Images"]
    assert image["Architecture"] == "x86_64"
    with refused(r"InvalidAMIID\.NotFound"):
        client.ec2.describe_images(ImageIds=["ami-0123456789abcdef0"])


def test_types_offerings_and_prices_come_in_pages_that_agree(client: Client) -> None:
    pages = list(
        client.ec2.get_paginator("describe_instance_types").paginate(
            Filters=[{"Name": "current-generation", "Values": ["true"]}]
        )
    )
    assert len(pages) > 2 and max(len(page["InstanceTypes"]) for page in pages) == 100
    types = {one["InstanceType"]: one for page in pages for one in page["InstanceTypes"]}
    assert types["c7i.large"]["VCpuInfo"]["DefaultVCpus"] == 2
    offers = client.ec2.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["c7i.*"]}]
    )
    places = {
        (one["InstanceType"], one["Location"]) for page in offers for one in page["InstanceTypeOfferings"]
    }
    prices = client.ec2.describe_spot_price_history(InstanceTypes=["c7i.large", "c7i.xlarge"])[
        "SpotPriceHistory"
    ]
    assert {(one["InstanceType"], one["AvailabilityZone"]) for one in prices} == {
        place for place in places if place[0] in ("c7i.large", "c7i.xlarge")
    }
    assert len({one["SpotPrice"] for one in prices}) > 5
    with refused("InvalidInstanceType"):
        client.ec2.describe_instance_types(InstanceTypes=["x9.huge"])


def test_one_instance_can_be_run_without_a_fleet(client: Client) -> None:
    client.prepare()
    reply = client.ec2.run_instances(
        LaunchTemplate={"LaunchTemplateId": client.template},
        InstanceType="t3.micro",
        MinCount=1,
        MaxCount=2,
        InstanceMarketOptions={"MarketType": "spot"},
    )
    assert [one["State"]["Name"] for one in reply["Instances"]] == ["pending"] * 2
    client.rig.wait_state("running", 2)
    identity = reply["Instances"][0]["InstanceId"]
    (status,) = client.ec2.describe_instance_status(InstanceIds=[identity])["InstanceStatuses"]
    assert status["InstanceState"]["Name"] == "running"


def test_the_console_shows_what_user_data_wrote(client: Client) -> None:
    client.prepare(user_data=client.cloud_config(bootcmd=["echo from the boot"], no_such_key=1))
    (identity,) = client.launch()
    output = client.ec2.get_console_output(InstanceId=identity)["Output"]
    assert "from the boot" in output and "unknown key 'no_such_key'" in output


def test_tags_can_be_added_and_filtered_for(client: Client) -> None:
    client.prepare()
    (identity,) = ids_of(client.fleet())
    client.ec2.create_tags(Resources=[identity], Tags=[{"Key": "expires", "Value": "soon"}])
    assert client.rig.instance(identity).tags["expires"] == "soon"
    for name, value in (("tag:expires", "so*"), ("tag-key", "expires"), ("instance-lifecycle", "spot")):
        assert [
            one["InstanceId"] for one in described(client, Filters=[{"Name": name, "Values": [value]}])
        ] == [identity]
    assert described(client, Filters=[{"Name": "tag:expires", "Values": ["later"]}]) == []
    with refused("InvalidParameterValue"):
        described(client, Filters=[{"Name": "no-such-filter", "Values": ["x"]}])


def test_identity_and_quotas(client: Client) -> None:
    assert client.service("sts").get_caller_identity()["Account"] == client.rig.account.id
    client.rig.faults.spot_quota(64)
    quotas = client.service("service-quotas").list_service_quotas(ServiceCode="ec2")["Quotas"]
    assert {quota["QuotaCode"]: quota["Value"] for quota in quotas} == {
        "L-34B43A08": 64.0,
        "L-1216C47A": 640.0,
    }


def test_the_public_pages(rig: Rig) -> None:
    rig.advisor("c7i.large", bucket=4, savings=12)

    def page(name: str) -> str:
        with urllib.request.urlopen(rig.environment[name]) as reply:
            return reply.read().decode()

    advice = json.loads(page("CLOUDIST_SPOT_ADVISOR_URL"))
    assert advice["spot_advisor"]["us-east-1"]["Linux"]["c7i.large"] == {"r": 4, "s": 12}
    assert [one["label"] for one in advice["ranges"]][0] == "<5%"
    assert advice["instance_types"]["c7i.large"]["cores"] == 2
    assert page("CLOUDIST_CHECKIP_URL") == "127.0.0.1\n"
    assert rig.web.requests == ["/spot-advisor-data.json", "/checkip"]


def test_unknown_and_unsupported_actions_are_refused_at_once(client: Client) -> None:
    with refused("UnsupportedOperation"):
        client.service("ec2", attempts=3).get_spot_placement_scores(TargetCapacity=1)
    assert client.rig.calls.actions() == ["GetSpotPlacementScores"]


def test_a_call_can_be_met_before_and_after_its_effect(client: Client) -> None:
    client.prepare()
    seen = []
    for when in ("before", "after"):
        client.rig.on_call(
            "CreateFleet", lambda call, when=when: seen.append((when, len(client.rig.instances()))), when
        )
    client.fleet(1)
    assert seen == [("before", 0), ("after", 1)]
    call = client.rig.wait_call("CreateFleet")
    assert call.took_effect and call.error is None and call.reply["FleetId"]
    assert call.parameters["Type"] == "instant"


def test_a_call_can_be_dropped_before_its_effect(client: Client) -> None:
    client.prepare()
    remove = client.rig.on_call("CreateFleet", lambda call: DROP)
    with pytest.raises(ConnectionClosedError):
        client.fleet(1)
    remove()
    assert client.rig.instances() == [] and not client.rig.calls["CreateFleet"][0].took_effect
    client.fleet(1)


def test_a_call_can_be_held(client: Client) -> None:
    reached, release = threading.Event(), threading.Event()

    def hold(call: object) -> None:
        reached.set()
        release.wait(10)

    remove = client.rig.on_call("DescribeVpcs", hold)
    thread = threading.Thread(target=client.ec2.describe_vpcs)
    thread.start()
    assert reached.wait(10)
    client.service("ec2").describe_subnets()
    assert [call.ended is None for call in client.rig.calls] == [True, False]
    release.set()
    thread.join()
    remove()
    client.ec2.describe_vpcs()
    assert client.rig.calls.actions() == ["DescribeVpcs", "DescribeSubnets", "DescribeVpcs"]


def test_large_user_data_is_refused(client: Client) -> None:
    client.prepare(UserData=encoded("#!/bin/sh\n" + "x" * 17000))
    reply = client.fleet(1)
    assert error_codes(reply) == ["InvalidParameterValue"] and "16384" in reply["Errors"][0]["ErrorMessage"]
