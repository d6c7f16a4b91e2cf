"""Runs beside the runner on a rented machine: puts its end off while it is spoken to, and listens for the notice that it will be taken away.

Holds the lock by which a run claims the machine, and says first whether it has it. Then a number on stdin is for how many
seconds the machine may live on, and a line on stdout is a notice. Ends with its stdin. Knows nothing of tests.
"""

import fcntl
import json
import os
import select
import sys
import time
import urllib.error
import urllib.request

METADATA = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254").rstrip("/")
LOOK_EVERY = 2.0
TOKEN_SECONDS = 21600
# The metadata service is on the machine's own host: no proxy leads there.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Metadata:
    def __init__(self):
        self._token = None

    def get(self, path):
        """The text there, or None while there is none."""
        for _ in range(2):
            if self._token is None:
                headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
                self._token = self._ask("/latest/api/token", "PUT", headers)
            try:
                return self._ask(path, "GET", {"X-aws-ec2-metadata-token": self._token})
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return None
                if error.code != 401:
                    raise
                self._token = None
        return None

    def _ask(self, path, method, headers):
        request = urllib.request.Request(METADATA + path, method=method, headers=headers)
        with OPENER.open(request, timeout=2) as answer:
            return answer.read().decode("utf-8")


def put_off(path, seconds):
    """The end is counted in the machine's uptime, which no clock adjustment moves."""
    with open("/proc/uptime") as file:
        uptime = float(file.read().split()[0])
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, b"%-20d\n" % (uptime + seconds))
    finally:
        os.close(descriptor)


def notice(metadata):
    """What is going to be done to this machine, and when, if anything is."""
    try:
        text = metadata.get("/latest/meta-data/spot/instance-action")
        return json.loads(text) if text else None
    except (OSError, ValueError):
        return None


def claim(path):
    """Whether the machine is ours for as long as this process lives."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main(path):
    claimed = claim(path + ".claim")
    say({"claimed": claimed})
    if not claimed:
        return
    metadata = Metadata()
    told = None
    buffer = b""
    due = time.monotonic()
    while True:
        readable, _, _ = select.select([0], [], [], max(0.0, due - time.monotonic()))
        if readable:
            data = os.read(0, 4096)
            if not data:
                return
            buffer += data
            *lines, buffer = buffer.split(b"\n")
            if lines:
                put_off(path, int(lines[-1]))
            continue
        due = time.monotonic() + LOOK_EVERY
        action = notice(metadata)
        if action and action != told:
            told = action
            say(action)


main(sys.argv[1])
