"""User data, read as cloud-init reads it: `#cloud-config` and `#!` scripts.

Says what a machine has to do at boot; doing it is the business of `init.sh`. Never touches the machine.
"""

from __future__ import annotations

import base64
import dataclasses
import gzip
import shlex
from typing import Any, List, Optional, Tuple, Union

import yaml

KNOWN = {
    "bootcmd",
    "runcmd",
    "write_files",
    "ssh_deletekeys",
    "ssh_genkeytypes",
    "ssh_keys",
    "ssh_authorized_keys",
    "ssh_pwauth",
    "disable_root",
    "package_update",
    "package_upgrade",
}


@dataclasses.dataclass
class HostKey:
    private: str
    public: str


@dataclasses.dataclass
class File:
    path: str
    content: bytes
    permissions: str
    owner: str
    append: bool


@dataclasses.dataclass
class UserData:
    """What was asked for, in the order in which it is done."""

    bootcmd: str = ""
    files: List[File] = dataclasses.field(default_factory=list)
    host_key: Optional[HostKey] = None
    authorized_keys: List[str] = dataclasses.field(default_factory=list)
    runcmd: str = ""
    script: str = ""
    problems: List[str] = dataclasses.field(default_factory=list)


def read(raw: bytes) -> UserData:
    """What can't be understood becomes a problem, as on a real machine: it boots all the same."""
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    text = raw.decode("utf-8", "replace")
    if text.startswith("#!"):
        return UserData(script=text)
    if not text.strip():
        return UserData()
    if not text.startswith("#cloud-config"):
        return UserData(problems=[f"Unhandled non-multipart userdata starting {text[:20]!r}"])
    try:
        config = yaml.safe_load(text) or {}
        return _cloud_config(config)
    except (yaml.YAMLError, TypeError, KeyError, ValueError, AttributeError) as error:
        return UserData(problems=[f"Failed loading yaml blob: {error!r}"])


def _cloud_config(config: Any) -> UserData:
    keys = config.get("ssh_keys") or {}
    host_key, problems = _host_key(keys)
    problems += [f"unknown key {name!r} in the cloud-config" for name in sorted(set(config) - KNOWN)]
    return UserData(
        bootcmd=shellify(config.get("bootcmd") or []),
        files=[_file(entry) for entry in config.get("write_files") or []],
        host_key=host_key,
        authorized_keys=[str(key) for key in config.get("ssh_authorized_keys") or []],
        runcmd=shellify(config.get("runcmd") or []),
        problems=problems,
    )


def _host_key(keys: Any) -> Tuple[Optional[HostKey], List[str]]:
    private = keys.get("ed25519_private")
    others = sorted(name for name in keys if not name.startswith("ed25519_"))
    problems = [f"ssh_keys: {name} is not supported here" for name in others]
    if private is None:
        return None, problems
    return HostKey(private.rstrip("\n") + "\n", keys.get("ed25519_public", "").strip() + "\n"), problems


def _file(entry: Any) -> File:
    content: Union[str, bytes] = entry.get("content") or ""
    data = content if isinstance(content, bytes) else content.encode()
    encoding = str(entry.get("encoding") or "text/plain").lower()
    if encoding in ("b64", "base64"):
        data = base64.b64decode(data)
    elif encoding in ("gz+b64", "gz+base64", "gzip+b64", "gzip+base64"):
        data = gzip.decompress(base64.b64decode(data))
    elif encoding in ("gz", "gzip"):
        data = gzip.decompress(data)
    permissions = entry.get("permissions", "0644")
    if isinstance(permissions, int):
        permissions = oct(permissions)[2:]
    return File(
        path=entry["path"],
        content=data,
        permissions=str(permissions),
        owner=entry.get("owner") or "root:root",
        append=bool(entry.get("append")),
    )


def shellify(commands: List[Union[str, List[Any]]]) -> str:
    """One script of all commands: a string is a line of it, a list an argument vector."""
    if isinstance(commands, str):
        raise TypeError(f"a list of commands is needed, not {commands!r}")
    lines = []
    for command in commands:
        if isinstance(command, (list, tuple)):
            lines.append(" ".join(shlex.quote(str(word)) for word in command))
        elif isinstance(command, str):
            lines.append(command)
        else:
            raise TypeError(f"a command is a string or a list, not {command!r}")
    return "".join(f"{line}\n" for line in lines)
