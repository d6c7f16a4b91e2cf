"""Prints, as JSON, where this interpreter finds the project's code. Run with the project's interpreter."""

import json
import os
import site
import sys
import sysconfig


def interpreter_directories():
    places = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
    places += sysconfig.get_paths().values()
    places += site.getsitepackages() if hasattr(site, "getsitepackages") else []
    places.append(site.getusersitepackages() if hasattr(site, "getusersitepackages") else "")
    return tuple({os.path.realpath(place) + os.sep for place in places if place})


def editable_directories():
    """Directories of packages that editable installs reach through a finder rather than sys.path."""
    found = []
    for finder in sys.meta_path:
        module = sys.modules.get(getattr(finder, "__module__", ""), None)
        for location in getattr(module, "MAPPING", {}).values() if "editable" in str(module) else ():
            found.append(os.path.dirname(location))
    return found


def main():
    own = interpreter_directories()
    entries = []
    # The first entry is where `python -` or `-c` looks: the working directory, which travels anyway.
    for entry in sys.path[1:]:
        path = os.path.realpath(entry)
        if os.path.isdir(path) and not (path + os.sep).startswith(own):
            entries.append(os.path.abspath(entry))
    print(
        json.dumps(
            {
                "sys_path": entries,
                "roots": [path for path in editable_directories() if os.path.isdir(path)],
            }
        )
    )


main()
