"""The rig's machines: boot, user data, SSH, metadata, the ways in which they end, and what is left."""

from __future__ import annotations

import json
import os
import pathlib
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from typing import Callable

import pytest

from client import UBUNTU, Client, encoded, ids_of
from rig import Rig

METADATA = """
import os, sys, urllib.error, urllib.request
latest = os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] + "/latest"
def ask(path, method, **headers):
    try:
        return urllib.request.urlopen(urllib.request.Request(latest + path, method=method, headers=headers))
    except urllib.error.HTTPError as error:
        return error
token = ask("/api/token", "PUT", **{"X-aws-ec2-metadata-token-ttl-seconds": "60"}).read().decode()
reply = ask("/meta-data/" + sys.argv[1], "GET", **{"X-aws-ec2-metadata-token": sys.argv[2] or token})
print(reply.status, reply.read().decode(), end="")
"""


def metadata(client: Client, identity: str, path: str, token: str = "") -> str:
    """The status and the content, asked for with this token or with one that is good."""
    return client.output(identity, f"python3 -c {shlex.quote(METADATA)} {path} '{token}'")


def test_a_launched_machine_can_be_logged_into_with_the_pinned_key_and_has_run_its_user_data(
    client: Client,
) -> None:
    client.prepare(
        user_data=client.cloud_config(
            bootcmd=["echo first >/var/order", ["sh", "-c", 'echo "$0" >>/var/order', "second one"]],
            write_files=[
                {"path": "/var/third", "content": encoded("third\n"), "encoding": "b64", "append": True},
                {
                    "path": "/etc/mine/key",
                    "content": "k",
                    "permissions": "0600",
                    "owner": "ec2-user:ec2-user",
                },
            ],
            runcmd=["cat /var/third /etc/mine/key >>/var/order", "touch /run/mark"],
        )
    )
    (identity,) = client.launch()
    output = client.output(
        identity,
        "until [ -e /run/mark ]; do sleep 0.02; done; cat /var/order; id -un; pwd; "
        "stat -c %U%a /etc/mine/key",
    )
    assert output == "first\nsecond one\nthird\nkec2-user\n/home/ec2-user\nec2-user600\n"
    assert client.rig.problems == [] and client.rig.instance(identity).console == ""


def test_machines_share_no_files_with_each_other_or_the_host(client: Client, tmp_path: pathlib.Path) -> None:
    one, two = client.launch(2)
    for place in ("/tmp", "/var/tmp", "/dev/shm", "$HOME"):
        client.output(one, f"touch {place}/of-one")
        assert client.ssh(two, f"test -e {place}/of-one").returncode == 1
        assert not os.path.exists(f"{place}/of-one")
    assert client.ssh(one, f"test -e {tmp_path}").returncode == 1
    assert client.output(one, "hostname") != client.output(two, "hostname")
    assert len(client.output(one, "ls -d /proc/[0-9]*").split()) < 12


def test_the_interpreters_of_this_work_tree_are_where_they_are(
    rigs: Callable[..., Rig], tmp_path: pathlib.Path
) -> None:
    scripts = pathlib.Path(sys.executable).parent
    client = Client(rigs(machine_path=[scripts]), tmp_path)
    (identity,) = client.launch()
    assert client.output(identity, "command -v python3").strip() == str(scripts / "python3")
    assert (
        client.output(identity, "python3 -c 'import pytest; print(pytest.__version__)'").strip()
        == pytest.__version__
    )


def test_a_script_as_user_data_and_the_user_of_ubuntu(client: Client) -> None:
    client.ec2.import_key_pair(KeyName="pair", PublicKeyMaterial=client.public_key.encode())
    client.prepare(user_data="#!/bin/sh\nid -un >/var/who\n", ImageId=UBUNTU, KeyName="pair")
    (identity,) = client.launch()
    machine = client.rig.instance(identity).machine
    assert machine is not None
    unpinned = client.ssh(identity, "true", user="ubuntu")
    assert "Host key verification failed" in unpinned.stderr
    client.host_key = (machine.directory / "host_key.pub").read_text().strip()
    assert (
        client.output(identity, "until [ -s /var/who ]; do sleep 0.02; done; cat /var/who", user="ubuntu")
        == "root\n"
    )


@pytest.mark.parametrize(
    "command", ["sudo -n shutdown -h now", "sudo poweroff", "shutdown -P +0", "systemctl poweroff"]
)
def test_a_shutdown_from_inside_terminates(client: Client, command: str) -> None:
    (identity,) = client.launch()
    client.ssh(identity, command)
    instance = client.rig.wait_state("terminated")[0]
    assert instance.reason[0] == "Client.InstanceInitiatedShutdown"
    assert client.rig.listing()["volumes"] == []


def test_a_shutdown_stops_an_on_demand_instance_that_was_asked_to_stop(client: Client) -> None:
    client.prepare(InstanceInitiatedShutdownBehavior="stop")
    (identity,) = client.launch(market="on-demand")
    client.ssh(identity, "shutdown now")
    client.rig.wait_state("stopped")
    assert client.rig.listing()["instances"] == [identity]


def test_a_shutdown_can_be_timed_timed_anew_and_cancelled(
    rigs: Callable[..., Rig], tmp_path: pathlib.Path
) -> None:
    client = Client(rigs(minute_seconds=0.2), tmp_path)
    client.prepare(user_data=client.cloud_config(bootcmd=["shutdown -P +500"]))
    one, two = client.launch(2)
    assert "Shutdown scheduled" in client.rig.instance(one).console
    machine = client.rig.instance(two).machine
    assert machine is not None and machine.armed() == 100
    client.output(two, "shutdown -c")
    assert machine.armed() is None
    client.output(two, "shutdown -P +1; shutdown -c")
    client.output(one, "sudo shutdown -P +1")
    assert client.rig.wait_state("terminated", 1)[0].id == one
    assert client.rig.instance(two).state == "running"
    client.output(two, "true")


def test_a_guard_can_run_detached_from_the_boot(client: Client) -> None:
    guard = "while [ ! -e /tmp/over ]; do sleep 0.02; done; shutdown -P now"
    client.prepare(
        user_data=client.cloud_config(
            bootcmd=[["systemd-run", "--unit=guard", "--collect", "sh", "-c", guard]]
        )
    )
    (identity,) = client.launch()
    client.output(identity, "true")
    client.ssh(identity, "touch /tmp/over")
    client.rig.wait_state("terminated")


def test_metadata_needs_a_token_and_knows_the_instance(client: Client) -> None:
    (identity,) = client.launch()
    instance = client.rig.instance(identity)
    assert metadata(client, identity, "instance-id", token="guessed") == "401 "
    assert metadata(client, identity, "instance-id") == f"200 {identity}"
    assert metadata(client, identity, "placement/availability-zone") == f"200 {instance.zone}"
    assert metadata(client, identity, "instance-life-cycle") == "200 spot"
    assert metadata(client, identity, "spot/instance-action") == "404 "


def test_an_interruption_is_announced_and_comes(client: Client) -> None:
    (identity,) = client.launch()
    client.rig.interrupt(identity, notice=120)
    status, _, body = metadata(client, identity, "spot/instance-action").partition(" ")
    assert status == "200" and json.loads(body)["action"] == "terminate"
    session = subprocess.Popen(client.ssh_command(identity, "sleep 60"), stderr=subprocess.PIPE)
    client.rig.interrupt(identity, notice=0.2)
    assert client.rig.wait_state("terminated")[0].reason[0] == "Server.SpotInstanceTermination"
    assert session.wait(10) == 255


def test_a_crash_ends_every_process_at_once(client: Client) -> None:
    (identity,) = client.launch()
    session = subprocess.Popen(
        client.ssh_command(identity, "setsid sleep 1000 & echo up; sleep 1000"), stdout=subprocess.PIPE
    )
    assert session.stdout is not None and session.stdout.readline() == b"up\n"
    before = client.rig.processes(identity)
    assert len(before) > 4
    client.rig.crash(identity)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in before)
    assert session.wait(10) == 255
    described = client.ec2.describe_instances(InstanceIds=[identity])["Reservations"][0]["Instances"][0]
    assert described["State"]["Name"] in ("shutting-down", "terminated")


def test_a_lost_machine_falls_silent(client: Client) -> None:
    (identity,) = client.launch()
    session = subprocess.Popen(
        client.ssh_command(identity, "echo up; cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert session.stdin is not None and session.stdout is not None and session.stdout.readline() == b"up\n"
    client.rig.lose(identity)
    client.rig.wait_state("terminated")
    assert session.poll() is None
    client.rig.close()
    assert session.wait(10) == 255


def test_a_frozen_machine_is_silent_until_it_is_thawed(client: Client) -> None:
    (identity,) = client.launch()
    session = subprocess.Popen(
        client.ssh_command(identity, "cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert session.stdin is not None and session.stdout is not None
    session.stdin.write(b"one\n")
    session.stdin.flush()
    assert session.stdout.readline() == b"one\n"
    client.rig.freeze(identity)
    session.stdin.write(b"two\n")
    session.stdin.flush()
    states = {
        pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        for pid in client.rig.processes(identity)
    }
    assert states == {"T"}
    assert client.rig.instance(identity).state == "running"
    client.rig.thaw(identity)
    assert session.stdout.readline() == b"two\n"
    session.stdin.close()
    assert session.wait(10) == 0


def test_twenty_at_once(client: Client) -> None:
    before = client.rig.listing()
    ids = client.launch(20)
    sessions = [
        subprocess.Popen(
            client.ssh_command(identity, "cat /proc/sys/kernel/hostname"), stdout=subprocess.PIPE
        )
        for identity in ids[:8]
    ]
    names = {session.communicate(timeout=30)[0] for session in sessions}
    assert len(names) == 8 and b"" not in names
    client.end()
    assert client.rig.listing() == before


def test_boot_takes_its_time(rigs: Callable[..., Rig], tmp_path: pathlib.Path) -> None:
    client = Client(rigs(boot_seconds=0.3, ssh_seconds=0.3, terminate_seconds=0.3), tmp_path)
    client.prepare()
    (identity,) = ids_of(client.fleet())
    instance = client.rig.instance(identity)
    assert instance.state == "pending"
    with pytest.raises(socket.timeout):
        socket.create_connection((instance.address, 22), 0.1)
    client.rig.wait_state("running")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((instance.address, 22), 0.1)
    client.rig.wait_ssh(identity)
    client.output(identity, "true")
    client.ec2.terminate_instances(InstanceIds=[identity])
    assert instance.state == "shutting-down"
    assert client.rig.listing()["instances"] == [identity]
    client.rig.wait_state("terminated")


def test_two_rigs_at_once_know_nothing_of_each_other(
    rigs: Callable[..., Rig], tmp_path: pathlib.Path
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = Client(rigs(), tmp_path / "one"), Client(rigs(), tmp_path / "two")
    assert one.rig.octet != two.rig.octet
    (first,), (second,) = one.launch(), two.launch()
    assert [instance.id for instance in one.rig.instances()] == [first]
    assert one.output(first, "hostname") != two.output(second, "hostname")


def test_nothing_is_left_when_it_ends(rigs: Callable[..., Rig], tmp_path: pathlib.Path) -> None:
    rig = rigs()
    client = Client(rig, tmp_path)
    one, two, _ = client.launch(3)
    rig.freeze(two)
    processes = [pid for instance in rig.instances() for pid in rig.processes(instance.id)]
    place = rig.instance(one).machine.directory.parent
    addresses = [instance.address for instance in rig.instances()]
    mounts = pathlib.Path("/proc/mounts").read_text()
    rig.close()
    assert not [pid for pid in processes if os.path.exists(f"/proc/{pid}")]
    assert not place.exists() and str(place) not in mounts
    for address in addresses:
        for port in (22, 1338):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, port), 1)


def test_machines_end_with_a_killed_rig(tmp_path: pathlib.Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(f"""
import pathlib, signal, sys
sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
from client import Client
from rig import Rig
rig = Rig()
(identity,) = Client(rig, pathlib.Path({str(tmp_path)!r})).launch()
print(*rig.processes(identity), flush=True)
signal.pause()
""")
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, str(program)], env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) > 2
    watched = [os.pidfd_open(pid) for pid in pids]
    process.send_signal(signal.SIGKILL)
    process.wait()
    end = time.monotonic() + 20
    for pid, descriptor in zip(pids, watched):
        wait_ended(descriptor, end - time.monotonic())
        os.close(descriptor)


def wait_ended(descriptor: int, seconds: float) -> None:
    assert select.select([descriptor], [], [], max(seconds, 0))[0], "a process of the machine is still there"
