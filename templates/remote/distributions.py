"""Prints, as JSON, what an interpreter is and which distributions it finds in its own directories.

Runs by itself, here with the project's interpreter and on a machine with the environment's, so that the two can
be compared. Never imports what it lists.
"""

import importlib.metadata
import json
import os
import platform
import re
import site
import sys
import sysconfig


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def directories():
    """Where packages are installed, in the order in which they are found."""
    places = [sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]]
    places += site.getsitepackages() if hasattr(site, "getsitepackages") else []
    if site.ENABLE_USER_SITE:
        places.append(site.getusersitepackages())
    own = {os.path.realpath(place) for place in places}
    found = [entry for entry in sys.path if entry and os.path.realpath(entry) in own and os.path.isdir(entry)]
    return list(dict.fromkeys(os.path.abspath(entry) for entry in found))


def linked(directory):
    """Directories that legacy editable installs lead to."""
    for name in os.listdir(directory):
        if name.endswith(".egg-link"):
            with open(os.path.join(directory, name)) as file:
                yield file.readline().strip()


def files_of(distribution, place):
    """The installed files of a distribution that lie beside its metadata."""
    for file in distribution.files or ():
        path = os.path.normpath(os.path.join(place, str(file)))
        if path.startswith(place + os.sep) and not path.endswith(".pyc") and os.path.isfile(path):
            yield path


def describe(distribution, place, link):
    name, version = distribution.metadata["Name"], distribution.version
    path = str(getattr(distribution, "_path", ""))
    if not name or not version or not path:
        return None
    entry = {"name": normal(name), "version": version, "installer": "", "url": None, "carry": []}
    entry["installer"] = (distribution.read_text("INSTALLER") or "").strip()
    direct = json.loads(distribution.read_text("direct_url.json") or "null")
    if link:
        entry.update(editable=True, carry=[path])
    elif direct:
        url = direct.get("url", "")
        if direct.get("dir_info", {}).get("editable"):
            entry.update(editable=True, carry=[path])
        elif url.startswith("file:"):
            entry["carry"] = sorted(files_of(distribution, place))
        else:
            entry["url"] = address(direct)
    return entry


def address(direct):
    """A direct address as a requirement names it, down to the very content."""
    url, part = direct["url"], direct.get("subdirectory")
    fragment = ["subdirectory=" + part] if part else []
    vcs = direct.get("vcs_info")
    if vcs:
        url = "%s+%s@%s" % (vcs["vcs"], url, vcs["commit_id"])
    else:
        archive = direct.get("archive_info", {})
        digest = archive.get("hashes", {}).get("sha256")
        if digest is None and archive.get("hash", "").startswith("sha256="):
            digest = archive["hash"][len("sha256=") :]
        if digest and "#" not in url:
            fragment.insert(0, "sha256=" + digest)
    return url + ("#" + "&".join(fragment) if fragment else "")


def distributions(places):
    found = {}
    searched = [(place, False) for place in places]
    searched += [(path, True) for place in places for path in linked(place)]
    for place, link in searched:
        for distribution in importlib.metadata.distributions(path=[place]):
            entry = describe(distribution, place, link)
            if entry:
                found.setdefault(entry["name"], entry)
    return [found[name] for name in sorted(found)]


def default_index():
    """The index that this interpreter's pip, or the one that comes with it, asks when it is told of none."""
    try:
        from pip._internal.models.index import PyPI

        return PyPI.simple_url
    except ImportError:
        pass
    try:
        import ensurepip

        with ensurepip._get_pip_whl_path_ctx() as wheel:
            sys.path.insert(0, str(wheel))
            from pip._internal.models.index import PyPI
        return PyPI.simple_url
    except (ImportError, AttributeError, OSError):
        pass
    try:
        import ensurepip

        bundled = os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")
        sys.path[:0] = [
            os.path.join(bundled, name) for name in os.listdir(bundled) if name.startswith("pip-")
        ]
        from pip._internal.models.index import PyPI

        return PyPI.simple_url
    except (ImportError, OSError):
        return None


def main():
    places = directories()
    print(
        json.dumps(
            {
                "implementation": platform.python_implementation(),
                "version": platform.python_version(),
                "platform": sysconfig.get_platform(),
                "prefix": sys.prefix,
                "conda": os.path.isdir(os.path.join(sys.prefix, "conda-meta")),
                "directories": places,
                "distributions": distributions(places),
                "index": default_index() if "--index" in sys.argv else None,
            }
        )
    )


if __name__ == "__main__":
    main()
