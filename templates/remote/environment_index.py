"""Package indexes as a machine sees them: whether they answer, and how uv and pip are told of them.

Credentials go into variables of the child alone, never onto a command line or a disk.
"""

import base64
import os
import socket
import threading
import urllib.error
import urllib.request
from urllib.parse import unquote, urlsplit, urlunsplit

PATIENCE = 10


class Unreachable(Exception):
    """An index does not answer this machine, or does not let it in."""


def split(url):
    """The address without its credentials, and what to say for them."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    plain = urlunsplit(parts._replace(netloc=host))
    if parts.username is None:
        return plain, None
    pair = "%s:%s" % (unquote(parts.username), unquote(parts.password or ""))
    return plain, "Basic " + base64.b64encode(pair.encode("utf-8")).decode("ascii")


def secrets_of(access):
    found = set()
    for url in access["indexes"] + access["links"]:
        parts = urlsplit(url)
        for secret in (parts.password, parts.username if not parts.password else None):
            if secret:
                found.update((secret, unquote(secret)))
    return sorted(found, key=len, reverse=True)


def open_url(url, accept=None, cert=None):
    """Opens an address; one that can't be reached or refuses us raises Unreachable."""
    plain, authorization = split(url)
    request = urllib.request.Request(plain)
    if accept:
        request.add_header("Accept", accept)
    if authorization:
        request.add_unredirected_header("Authorization", authorization)
    context = None
    if plain.startswith("https:"):
        import ssl

        context = ssl.create_default_context(cafile=cert if cert and os.path.exists(cert) else None)
    host = urlsplit(plain).hostname
    try:
        return urllib.request.urlopen(request, timeout=PATIENCE, context=context)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403, 407):
            raise Unreachable("%s does not let this machine in (%d)" % (host, error.code))
        raise
    except (urllib.error.URLError, socket.timeout, OSError) as error:
        raise Unreachable("%s can't be reached: %s" % (host, getattr(error, "reason", error)))


class Reachability:
    """Asks every index at once whether it is there, so that no installer waits for one that isn't."""

    def __init__(self, access):
        self._cert = access.get("cert")
        self._nothing = access["no_index"] and not access["links"]
        self._troubles = []
        urls = ([] if access["no_index"] else access["indexes"]) + access["links"]
        # Whoever finds out otherwise that there is nothing doesn't wait for these.
        self._asking = [threading.Thread(target=self._ask, args=(url,), daemon=True) for url in urls]
        for thread in self._asking:
            thread.start()

    def _ask(self, url):
        try:
            open_url(url, cert=self._cert).close()
        except urllib.error.HTTPError:
            # It answers, which is all that matters: an index need not have a page of its own.
            pass
        except Unreachable as trouble:
            self._troubles.append(trouble)

    def check(self):
        if self._nothing:
            raise Unreachable("this run has no index")
        for thread in self._asking:
            thread.join()
        if self._troubles:
            raise self._troubles[0]


def environment_of(access, tool):
    """The variables that name the indexes."""
    env = {}
    indexes = [] if access["no_index"] else access["indexes"]
    if tool == "uv":
        if indexes:
            env["UV_DEFAULT_INDEX"] = indexes[0]
            env["UV_INDEX"] = " ".join(indexes[1:])
            env["UV_INDEX_STRATEGY"] = "unsafe-best-match"
        env["UV_FIND_LINKS"] = ",".join(access["links"])
        env["UV_INSECURE_HOST"] = " ".join(access["trusted"])
        if access.get("cert") and os.path.exists(access["cert"]):
            env["SSL_CERT_FILE"] = access["cert"]
    else:
        if indexes:
            env["PIP_INDEX_URL"] = indexes[0]
            env["PIP_EXTRA_INDEX_URL"] = " ".join(indexes[1:])
        env["PIP_FIND_LINKS"] = " ".join(access["links"])
        env["PIP_TRUSTED_HOST"] = " ".join(access["trusted"])
        if access.get("cert") and os.path.exists(access["cert"]):
            env["PIP_CERT"] = access["cert"]
        if access["no_index"]:
            env["PIP_NO_INDEX"] = "1"
        env["PIP_CONFIG_FILE"] = os.devnull
    return {name: value for name, value in env.items() if value}


def options_of(access):
    return ["--no-index"] if access["no_index"] else []
