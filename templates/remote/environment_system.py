"""Packages of the operating system, by the package manager that the machine has.

Asks for no password: a machine on which that takes one is told of as it is.
"""

import os
import re
import shutil

from .environment_desk import Failed

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._:=~*@/-]*\Z")
PROGRAMS = {"apt": "apt-get", "dnf": "dnf"}


def install_system(desk, stamp, wanted):
    """Installs with the first manager that is named and there, then writes the stamp."""
    named = [manager for manager in ("apt", "dnf") if wanted.get(manager)]
    manager = next((manager for manager in named if shutil.which(PROGRAMS[manager])), None)
    if manager is None:
        programs = " or ".join(PROGRAMS[manager] for manager in named)
        raise Failed("this machine has no %s" % programs)
    packages = wanted[manager]
    for package in packages:
        if not NAME.match(package):
            raise Failed("%r is not the name of a package" % package)
    become = []
    if os.geteuid() != 0:
        if shutil.which("sudo") is None:
            raise Failed("packages can't be installed: this user is not root, and there is no sudo")
        try:
            desk.run(["sudo", "-n", "true"])
        except Failed:
            raise Failed("packages can't be installed: sudo asks for a password on this machine")
        become = ["sudo", "-n"]
    env = ["env", "DEBIAN_FRONTEND=noninteractive"]
    if manager == "apt":
        desk.run(become + env + ["apt-get", "update", "-qq"])
        desk.run(become + env + ["apt-get", "install", "-y", "-qq", "--no-install-recommends"] + packages)
    else:
        desk.run(become + ["dnf", "install", "-y", "-q"] + packages)
    with open(stamp, "w") as file:
        file.write("\n".join(packages) + "\n")
