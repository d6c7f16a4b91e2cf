"""A machine: Linux namespaces on this host, with a file tree, a login user and an OpenSSH server of its own.

Starts, freezes and ends it, and lays out the directory from which `init.sh` makes it. Knows of no API.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import time
from typing import Iterator, List, Mapping, Optional, Sequence, Tuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from . import shown
from .user_data import File, HostKey, UserData

HERE = pathlib.Path(__file__).parent
UNSHARE = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
OVERLAID = ("/etc", "/usr/bin", "/usr/sbin", "/usr/local/bin")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SSHD = "/usr/sbin/sshd"


@dataclasses.dataclass
class Specification:
    """What a machine is made from."""

    name: str
    user: str
    addresses: Tuple[str, ...]
    metadata: str
    user_data: UserData
    authorized_keys: List[str]
    path: Sequence[str] = ()
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    minute: float = 60.0
    home_size: Optional[str] = None
    python: bool = True
    own_host_key: bool = True
    home: Optional[pathlib.Path] = None


def new_host_key() -> HostKey:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return HostKey(private.decode(), public.decode())


class Machine:
    def __init__(self, directory: pathlib.Path, specification: Specification) -> None:
        self.directory = directory
        self.specification = specification
        self._lay_out()
        # Open for both ways: what is written before the machine reads is kept, and no writer ever blocks.
        self._power = os.open(directory / "power", os.O_RDWR | os.O_CLOEXEC)
        self._process: Optional[subprocess.Popen] = None

    def start(self) -> int:
        """The id of the process whose end is the machine's."""
        with (self.directory / "console").open("ab") as console:
            self._process = subprocess.Popen(
                [*UNSHARE, "/bin/sh", str(HERE / "init.sh"), str(self.directory)],
                stdin=subprocess.PIPE,
                stdout=console,
                stderr=console,
                env={"PATH": PATH, "LANG": "C.UTF-8"},
                start_new_session=True,
            )
        return self._process.pid

    def admit(self) -> None:
        """SSH may be served: now, or as soon as the machine has booted."""
        (self.directory / "admitted").touch()
        if (self.directory / "booted").exists():
            os.write(self._power, b"ssh\n")

    def freeze(self) -> None:
        """Returns when every process in it stands still, those included that were just being made."""
        end = time.monotonic() + 5
        while moving := [pid for pid in self.processes() if not _stands_still(pid)]:
            if time.monotonic() > end:
                raise TimeoutError(f"processes {moving} of {self.specification.name} don't stop")
            for pid in moving:
                _signal(pid, signal.SIGSTOP)
            time.sleep(0.001)

    def thaw(self) -> None:
        for pid in self.processes():
            _signal(pid, signal.SIGCONT)

    def kill(self) -> None:
        """Ends every process in it and waits until they are gone."""
        if self._process is None or self._process.returncode is not None:
            return
        init = self._init()
        _signal(init if init is not None else self._process.pid, signal.SIGKILL)
        self._process.wait()

    def ended_by_itself(self) -> bool:
        """After its end: whether it was shut down from inside."""
        assert self._process is not None
        return self._process.wait() == 0

    def home(self) -> pathlib.Path:
        """Its user's home directory, as this host sees it while the machine runs."""
        return pathlib.Path(f"/proc/{self._init()}/root/home/{self.specification.user}")

    def processes(self) -> Iterator[int]:
        """The ids that its processes have on this host."""
        init = self._init()
        if init is None:
            return
        try:
            own = os.readlink(f"/proc/{init}/ns/pid")
        except OSError:
            return
        for name in os.listdir("/proc"):
            try:
                if name.isdigit() and os.readlink(f"/proc/{name}/ns/pid") == own:
                    yield int(name)
            except OSError:
                continue

    def console(self) -> str:
        try:
            return (self.directory / "console").read_text("utf-8", "replace")
        except OSError:
            return ""

    def ssh_log(self) -> str:
        try:
            return (self.directory / "sshd.log").read_text("utf-8", "replace")
        except OSError:
            return ""

    def armed(self) -> Optional[float]:
        """In how many seconds, as of the last request, `shutdown` is to end it; None when it is not."""
        asked = (self.directory / "armed").read_text()
        return float(asked) if asked else None

    def remove(self) -> None:
        self.kill()
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        if self._power >= 0:
            os.close(self._power)
            self._power = -1
        shutil.rmtree(self.directory, ignore_errors=True)

    def _init(self) -> Optional[int]:
        assert self._process is not None
        pid = self._process.pid
        try:
            children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return None
        return int(children[0]) if children else None

    def _lay_out(self) -> None:
        chosen, directory = self.specification, self.directory
        for part in ("root", "over/etc", "over/usr/bin", "over/usr/sbin", "files"):
            (directory / part).mkdir(parents=True)
        directory.chmod(0o711)
        os.mkfifo(directory / "power")
        (directory / "power").chmod(0o666)
        self._write("armed", "", mode=0o666)
        self._write("overlaid", "".join(f"{name}\n" for name in OVERLAID if os.path.isdir(name)))
        self._write("shown", "".join(f"{path}\n" for path in shown.paths()))
        self._write(
            "hidden", "" if chosen.python else "".join(f"{path}\n" for path in shown.pythons(OVERLAID))
        )
        if chosen.home is not None:
            subprocess.run(["cp", "-a", str(chosen.home), str(directory / "home")], check=True)
        self._lay_out_system()
        path = ":".join([*(chosen.path if chosen.python else ()), PATH])
        self._write(
            "environment",
            f"export PATH={shlex.quote(path)} AWS_EC2_METADATA_SERVICE_ENDPOINT={chosen.metadata}\n"
            f"MACHINE_NAME={chosen.name} MACHINE_USER={chosen.user} MACHINE_HOME=/home/{chosen.user}\n"
            f"MACHINE_HOME_SIZE={chosen.home_size or ''} MACHINE_MINUTE={chosen.minute}\n",
            mode=0o644,
        )
        key = chosen.user_data.host_key
        if key is None or not chosen.own_host_key:
            key = new_host_key()
        self._write("host_key", key.private)
        self._write("host_key.pub", key.public)
        listen = "".join(f"ListenAddress {address}\n" for address in chosen.addresses)
        self._write(
            "sshd_config",
            f"{listen}Port 22\nHostKey /run/rig/host_key\nPidFile none\nUsePAM no\nPermitRootLogin no\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nLogLevel VERBOSE\nPrintMotd no\n"
            "UseDNS no\nAcceptEnv LANG LC_*\nSubsystem sftp internal-sftp\n"
            f"SetEnv PATH={path} AWS_EC2_METADATA_SERVICE_ENDPOINT={chosen.metadata}\n",
        )
        self._write("boot", self._boot_script())
        self._write("final", self._final_script())

    def _lay_out_system(self) -> None:
        user, over = self.specification.user, self.directory / "over"
        accounts = [line for line in pathlib.Path("/etc/passwd").read_text().splitlines() if _is_system(line)]
        (over / "etc/passwd").write_text(
            "\n".join([*accounts, f"{user}:x:1000:1000:EC2 Default User:/home/{user}:/bin/bash", ""])
        )
        groups = [line for line in pathlib.Path("/etc/group").read_text().splitlines() if _is_system(line)]
        (over / "etc/group").write_text("\n".join([*groups, f"{user}:x:1000:", ""]))
        # `*`: no password. `!` would be a locked account, which sshd refuses without PAM.
        (over / "etc/shadow").write_text(f"root:*:19000:0:99999:7:::\n{user}:*:19000:0:99999:7:::\n")
        (over / "etc/shadow").chmod(0o600)
        for name, text in self.specification.files.items():
            file = over / name.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        (over / "etc/hostname").write_text(f"{self.specification.name}\n")
        (over / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.0.1 {self.specification.name}\n")
        for shim, names in {
            "shutdown": ("usr/sbin/shutdown", "usr/sbin/poweroff", "usr/sbin/halt"),
            "sudo": ("usr/bin/sudo",),
            "systemctl": ("usr/bin/systemctl",),
            "systemd-run": ("usr/bin/systemd-run",),
        }.items():
            for name in names:
                shutil.copy(HERE / "shims" / shim, over / name)
        if self.specification.python and not os.path.exists("/usr/bin/python3"):
            (over / "usr/bin/python3").symlink_to(shown.base_python())

    def _boot_script(self) -> str:
        data, user = self.specification.user_data, self.specification.user
        lines = [f"echo {shlex.quote('cloud-init: ' + problem)}" for problem in data.problems]
        if data.bootcmd:
            self._write("bootcmd", data.bootcmd)
            lines.append("/bin/sh /run/rig/bootcmd || echo 'cloud-init: Running module bootcmd failed'")
        for number, file in enumerate(data.files):
            lines += self._write_file(number, file)
        keys = "".join(
            f"{key.strip()}\n" for key in [*self.specification.authorized_keys, *data.authorized_keys]
        )
        self._write("authorized_keys", keys)
        ssh = f"/home/{user}/.ssh"
        lines += [
            f"mkdir -p -m 700 {ssh} && install -m 600 /run/rig/authorized_keys {ssh}/authorized_keys",
            f"chown -R {user}: {ssh}",
        ]
        return "\n".join([*lines, ""])

    def _write_file(self, number: int, file: File) -> List[str]:
        (self.directory / "files" / str(number)).write_bytes(file.content)
        path = shlex.quote(file.path)
        return [
            f'mkdir -p "$(dirname {path})"',
            f"cat /run/rig/files/{number} {'>>' if file.append else '>'}{path}",
            f"chown {shlex.quote(file.owner)} {path}; chmod {shlex.quote(file.permissions)} {path}",
        ]

    def _final_script(self) -> str:
        lines = []
        if self.specification.user_data.runcmd:
            self._write("runcmd", self.specification.user_data.runcmd)
            lines.append("/bin/sh /run/rig/runcmd || echo 'cloud-init: Running module scripts_user failed'")
        if self.specification.user_data.script:
            self._write("script", self.specification.user_data.script)
            (self.directory / "script").chmod(0o700)
            lines.append("/run/rig/script || echo 'cloud-init: Running module scripts_user failed'")
        lines.append("touch /run/rig/finished")
        return "\n".join([*lines, ""])

    def _write(self, name: str, content: str, mode: int = 0o600) -> None:
        path = self.directory / name
        path.write_text(content)
        path.chmod(mode)


def _is_system(line: str) -> bool:
    number = int(line.split(":")[2])
    return number < 1000 or number == 65534


def _stands_still(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TZX"
    except OSError:
        return True


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
