"""Machines that the user has: host keys, user keys, the agent, jumps, and hosts that are down."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess

import pytest

from places import new_key
from processes import until

RUN = ("ssh-run", "-n1", "--hosts=one")


@pytest.fixture
def one(servers):
    return servers["one"]


@pytest.fixture
def reach(cloudist, ssh_config, project):
    """Runs a command on the host of these blocks."""

    def run(*blocks, env=None, options=(), patience=60.0):
        config = {"CLOUDIST_SSH_CONFIG": str(ssh_config(*blocks)), **(env or {})}
        return cloudist(
            *RUN,
            *options,
            "--",
            "echo",
            "reached",
            cwd=project({"code.py": ""}),
            env=config,
            patience=patience,
        )

    return run


def test_an_unknown_host_is_refused(reach, one, tmp_path):
    empty = tmp_path / "known_none"
    empty.touch()
    sessions, accepted = one.sessions(), one.log().count("Accepted publickey")
    done = reach(one.client_configuration(f"UserKnownHostsFile {empty}", "StrictHostKeyChecking no")).check(
        91
    )
    assert (
        "not" in done.err and "known" in done.err and "help: " in done.err and "ssh-keyscan" in done.err
    ), done
    assert f"-p {one.port}" in done.err and "SHA256:" in done.err
    assert (one.sessions(), one.log().count("Accepted publickey")) == (sessions, accepted)
    assert empty.read_text() == ""


def test_a_changed_host_key_is_refused(reach, one, tmp_path):
    other = tmp_path / "known_other"
    other.write_text(one.known_hosts_line(new_key(tmp_path / "other_key")))
    sessions, accepted = one.sessions(), one.log().count("Accepted publickey")
    done = reach(one.client_configuration(f"UserKnownHostsFile {other}")).check(91)
    assert f"{other}:1" in done.err and "help: " in done.err, done
    assert (one.sessions(), one.log().count("Accepted publickey")) == (sessions, accepted)


def test_a_refusal_in_a_test_run(cloudist, project, ssh_config, one, tmp_path):
    (tmp_path / "known_none").touch()
    config = ssh_config(one.client_configuration(f"UserKnownHostsFile {tmp_path / 'known_none'}"))
    root = project({"test_a.py": "def test_a(): pass"})
    done = cloudist("pytest", "--hosts=one", cwd=root, env={"CLOUDIST_SSH_CONFIG": str(config)}).check(91)
    assert "known_hosts" in done.out + done.err and "ssh-keyscan" in done.out + done.err, done


def test_a_key_that_is_not_let_in(reach, one, tmp_path):
    stranger = new_key(tmp_path / "stranger")
    sessions = one.sessions()
    done = reach(
        one.client_configuration(f"IdentityFile {stranger}").replace(f"IdentityFile {one.client_key}", "")
    ).check(91)
    assert str(stranger) in done.err and "help: " in done.err, done
    assert one.sessions() == sessions


def test_no_key_at_all(reach, one):
    block = one.client_configuration().replace(str(one.client_key), "/no/such/key")
    done = reach(block).check(91)
    assert "help: " in done.err and "key" in done.err


def test_another_user(reach, one):
    done = reach(one.client_configuration("User nobody-there")).check(91)
    assert "nobody-there" in done.err, done


def test_the_agent_is_asked(cloudist, reach, one, tmp_path):
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        until(socket.exists, "the agent listens")
        environment = {"SSH_AUTH_SOCK": str(socket)}
        added = subprocess.run(["ssh-add", "-q", str(one.client_key)], env={**os.environ, **environment})
        assert added.returncode == 0
        block = one.client_configuration("IdentityAgent SSH_AUTH_SOCK", "IdentitiesOnly no")
        block = block.replace(f"IdentityFile {one.client_key}", "IdentityFile /no/such/key")
        assert reach(block, env=environment).check(0).out == "reached\n"
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.wait()


def test_through_a_proxy_command(reach, one):
    code = "import socket,sys,threading,os\ns=socket.create_connection((sys.argv[1],int(sys.argv[2])))\n"
    code += (
        "def up():\n while True:\n  d=os.read(0,65536)\n  if not d: break\n  s.sendall(d)\n s.shutdown(1)\n"
    )
    code += "threading.Thread(target=up,daemon=True).start()\nwhile True:\n d=s.recv(65536)\n if not d: break\n os.write(1,d)\n"
    script = pathlib.Path(one.directory, "proxy.py")
    script.write_text(code)
    assert reach(one.client_configuration(f"ProxyCommand python3 {script} %h %p")).check(0).out == "reached\n"


def test_through_a_jump_host(reach, servers):
    one, two = servers["one"], servers["two"]
    before = two.log().count("Accepted publickey")
    done = reach(one.client_configuration("ProxyJump two"), two.client_configuration()).check(0)
    assert done.out == "reached\n"
    assert two.log().count("Accepted publickey") == before + 1


def test_a_host_that_is_down(reach, one):
    done = reach(one.client_configuration("Port 1"), patience=100).check(91)
    assert "refused" in done.err.lower() and "one" in done.err and "help: " in done.err, done


def test_a_name_that_does_not_resolve(reach, one):
    done = reach(one.client_configuration("HostName no-such-host.invalid"), patience=100).check(91)
    assert "no-such-host.invalid" in done.err and "help: " in done.err, done


def test_a_configuration_that_ssh_does_not_understand(reach, one):
    done = reach(one.client_configuration("NoSuchSetting yes")).check(91)
    assert "nosuchsetting" in done.err.lower() and "help: " in done.err, done


def test_workers_that_never_had_a_machine_count_as_lost(cloudist, project, ssh_config, servers):
    """Half of a command's workers did not run: that is no success."""
    down = servers["two"].client_configuration("Port 1")
    config = ssh_config(servers["one"].client_configuration(), down)
    run = ("ssh-run", "-n2", "--hosts=one,two", "--", "echo", "ran")
    done = cloudist(*run, cwd=project({}), env={"CLOUDIST_SSH_CONFIG": str(config)}, patience=100).check(91)
    assert "ran" in done.out and "two" in done.err, done
