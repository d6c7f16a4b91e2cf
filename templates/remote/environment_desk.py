"""What the steps of a build share: where to print, how to run a program, and why one may fail.

Whatever is printed has been cleared of secrets, which live in this process and its children's environment alone.
"""

import os
import re
import subprocess
import threading

from .environment_index import secrets_of

CREDENTIALS = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/@\s\"']+@")


class Failed(Exception):
    """A step failed; what it printed says why."""


class NeedsFiles(Exception):
    """This machine can't fetch what it needs: it has to be brought."""


class Desk:
    """What the steps of a build share: where to print and how to run a program."""

    def __init__(self, places, request):
        self.places, self.request = places, request
        self.access = request["access"]
        self.offline = request.get("files") is not None
        self._secrets = secrets_of(self.access)

    def clear(self, text):
        text = CREDENTIALS.sub(r"\1****@", text)
        for secret in self._secrets:
            text = text.replace(secret, "****")
        return text

    def say(self, text):
        os.write(1, self.clear(text.rstrip("\n") + "\n").encode("utf-8", "replace"))

    def run(self, argv, env=None, cwd=None, quiet=False, stdin=None):
        """Runs a program, which reads `stdin`, and passes on what it prints; answers its output."""
        merged = dict(os.environ, **(env or {}))
        try:
            process = subprocess.Popen(
                argv,
                env=merged,
                cwd=cwd or self.places.home,
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            raise Failed("failed to start %s: %s" % (argv[0], error.strerror))
        if stdin is not None:
            # Beside the reading, since neither pipe has room for everything.
            threading.Thread(target=feed, args=(process.stdin, stdin), daemon=True).start()
        lines = []
        for line in process.stdout:
            lines.append(line.decode("utf-8", "replace"))
            if not quiet:
                self.say(lines[-1])
        if process.wait() != 0:
            raise Failed("%s ended with status %d" % (os.path.basename(argv[0]), process.returncode))
        return "".join(lines)

    def brought_tool(self):
        """The uv that was brought, as a program or as a wheel."""
        for file in self.request.get("files") or ():
            if file["role"] == "tool":
                return os.path.join(self.places.wheels, file["sha256"], os.path.basename(file["name"]))
        return None


def feed(pipe, text):
    try:
        with pipe:
            pipe.write(text.encode("utf-8"))
    except OSError:
        # Whoever does not read it says why itself.
        pass
