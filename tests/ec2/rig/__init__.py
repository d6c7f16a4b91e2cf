"""An EC2 account on loopback: the API (moto with its gaps mended), and a machine with OpenSSH per instance.

Needs root on Linux, as machines are made of namespaces; nothing else may listen on port 22 of all addresses.
Everything is on 127.0.0.0/8; the API's region is us-east-1.

    with Rig() as rig:
        subprocess.run([...], env={**environment, **rig.environment})
        assert rig.listing() == before

Rig(boot_seconds=0.0,       how long an instance is `pending` (its port 22 swallows connections then)
    octet=None,             machines get 127.OCTET.x.y; chosen when None
    ssh_seconds=0.0,        how long after that its sshd starts (connections are refused then)
    terminate_seconds=0.0,  how long it is `shutting-down`
    minute_seconds=60.0,    how long a minute of `shutdown -P +N` lasts in machines
    client_address="127.0.0.1/32",  who the client is to security groups, and to the checkip page
    machine_path=(),        directories that come first in the PATH of SSH sessions, e.g. a venv's bin
    machine_files={})       files in /etc of machines, with their contents

rig.environment             variables for the client: endpoint, credentials, region, advisor and checkip pages
rig.listing()               {"instances": [...], "security groups", "launch templates", "key pairs", "fleets",
                            "volumes", "images"}: what a run could leave behind; terminated instances and
                            deleted fleets are not in it
rig.calls                   the log: iterate, len(), rig.calls["CreateFleet"], .actions(), .clear(). A Call
                            has action, parameters, reply, error (code), message, took_effect, began, ended
rig.problems                what went wrong in the rig itself; `with` raises it at the end

rig.wait_call(action, timeout=20, count=1)     -> Call, once answered
rig.wait_state(state, count=None, timeout=20)  -> [Instance], once so many (None: all) are in the state
rig.wait_ssh(id, timeout=20)                   -> Instance, once its sshd listens
rig.wait(condition, timeout=20)                -> its result; asked anew after each change of an instance

rig.instances(), rig.instance(id)   an Instance has id, state, type, zone, market ("spot" or "on-demand"),
                            public_ip, private_ip, tags, launched, user_data (bytes), console, key_name,
                            fleet, client_token, reason (code, message), image, groups, volumes,
                            shutdown_behavior
instance.machine            its Machine while there is one: directory, ssh_log(), console(), processes(),
                            armed() (the seconds its timed shutdown was last asked for, or None)
rig.account.images.become(state)    images of one's own are in that state from now on
rig.processes(id)           process ids on this host of all that runs in the machine

rig.interrupt(id, notice=120)   shown in the metadata at once; reclaimed after `notice` seconds
rig.rebalance(id)               shown in the metadata
rig.reclaim(id)                 interrupted without notice
rig.crash(id)                   everything in it killed; terminated with Server.InternalError
rig.lose(id)                    its host is gone: connections just fall silent; terminated likewise
rig.freeze(id), rig.thaw(id)    everything in it stopped and continued

rig.price(type, zone, dollars)                 rig.advisor(type, bucket, savings=65)
rig.web.broken = True                          rig.lose_default_vpc()
rig.on_call(action, callback, when="before")   callback(call) inside the call: "before" its effect, or "after"
                            it and before the reply is sent; a callback that gives rig.DROP (of this package)
                            ends the call there without an answer. Gives a function that takes the hook away

rig.faults                  clear() ends all; `times`: so often (None: always), `skip`: not the first ones
    of calls ("*": every action)
    .error(action, code, message="", times=None, skip=0)
    .throttle(action, calls)  .expired(code="RequestExpired")  .unauthorized(action)
    .slow(action, seconds, times=None)  .drop_reply(action, times=1)
    of the market
    .capacity(type=None, zone=None, available=0)  .spot_quota(vcpus)  .on_demand_quota(vcpus)
    of machines launched from now on, each with times=None, skip=0
    .never_boots()  .fails_to_boot()  .vanishes()  .impostor()  .ssh_blocked()  .no_python()
    .disk_full(size="256k")  .late(seconds=0.5): descriptions don't know it for so long

In a machine the login user is `ec2-user` (`ubuntu` on Ubuntu images). /home /root /tmp /run /var /etc and
/dev/shm are its own, the rest is the host's, target/venvs and the interpreters behind it included.
`shutdown`, `poweroff`, `halt`, `systemctl`, `systemd-run` and `sudo` are stand-ins. The variable
AWS_EC2_METADATA_SERVICE_ENDPOINT says where its metadata service is. User data: `#cloud-config` with bootcmd,
write_files, ssh_keys (ed25519), ssh_authorized_keys, runcmd; or a `#!` script. What is not understood is
named in the console.
"""

from .api import DROP
from .errors import ApiError
from .rig import Rig

__all__ = ["DROP", "ApiError", "Rig"]
