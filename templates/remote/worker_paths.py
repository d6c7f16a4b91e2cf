"""Which directories a worker imports from, and whether what the zygote imported early came from there.

Where a machine shares its disk with the user, paths into the user's own tree are led to the snapshot's copy.
Never imports anything of the project.
"""

import os
import re
import site
import sys
import sysconfig


class PathMap:
    """Pairs of a prefix on the machine and the one it stands for at the user's."""

    def __init__(self, pairs):
        self._pairs = sorted(
            ((remote.rstrip("/"), local.rstrip("/")) for remote, local in pairs), key=longest_local
        )
        self._locals = {remote: local for remote, local in self._pairs}
        remotes = sorted(self._locals, key=len, reverse=True)
        pattern = "|".join(re.escape(remote) for remote in remotes)
        self._pattern = re.compile("(?:%s)(?![A-Za-z0-9_-])" % pattern) if remotes else None

    def local_text(self, text):
        """The text with every path of the machine's turned into the user's."""
        if self._pattern is None or not self._pattern.search(text):
            return text
        return self._pattern.sub(lambda match: self._locals[match.group()], text)

    def local_prefix(self, path):
        """The longest prefix of the user's that holds the path, unless it is the machine's after all."""
        if any(inside(path, remote) for remote, _ in self._pairs):
            return None
        return next((local for _, local in self._pairs if inside(path, local)), None)

    def remote(self, path):
        if any(inside(path, remote) for remote, _ in self._pairs):
            return path
        for remote, local in self._pairs:
            if inside(path, local):
                return remote + path[len(local) :]
        return path


def longest_local(pair):
    return -len(pair[1])


def inside(path, directory):
    return path == directory or path.startswith(directory + "/")


class InterpreterPaths:
    """`sys.path` as the interpreter had it, before any session."""

    def __init__(self):
        self._own = list(sys.path)
        self._loaded = frozenset(sys.modules)
        config = sysconfig.get_paths()
        homes = {config[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
        homes.update(getattr(site, "getsitepackages", list)())
        homes.add(site.getusersitepackages())
        self._homes = {os.path.normpath(home) for home in homes}
        self._prefixes = {
            os.path.normpath(prefix) for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix)
        }

    def apply(self, sys_path, pairs):
        """Sets `sys.path` for a session. Returns what a subprocess needs in PYTHONPATH to find the same."""
        mapping = PathMap(pairs)
        own = [self._lead(path, mapping) for path in self._own]
        led = [path for path, before in zip(own, self._own) if path != before]
        sys.path[:] = list(dict.fromkeys(sys_path + own))
        for name in list(sys.path_importer_cache):
            del sys.path_importer_cache[name]
        return list(dict.fromkeys(sys_path + led + self._lead_finders(mapping)))

    def misfit(self, sys_path, pairs):
        """Why the modules that are loaded aren't those that this session would load, or None."""
        mapping = PathMap(pairs)
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if file and self._lead(os.path.abspath(file), mapping) != os.path.abspath(file):
                return "%s comes from %s" % (name, file)
        names = {name.partition(".")[0] for name in sys.modules if name not in self._loaded}
        for directory in sys_path:
            shadow = next((name for name in sorted(names & set(importable(directory)))), None)
            if shadow:
                return "%s would come from %s" % (shadow, directory)
        return None

    def are_the_interpreters(self, spec):
        """Whether a module, and what is in it, came with the interpreter or was installed beside it."""
        origin = getattr(spec, "origin", None)
        places = [origin] if origin else list(getattr(spec, "submodule_search_locations", None) or ())
        there = [os.path.abspath(place) for place in places if place not in ("built-in", "frozen")]
        return all(any(inside(place, home) for home in self._homes) for place in there)

    def _lead(self, path, mapping):
        prefix = mapping.local_prefix(path)
        if prefix is None or any(inside(path, home) for home in self._homes):
            return path
        if any(inside(path, own) and len(own) > len(prefix) for own in self._prefixes):
            return path
        return mapping.remote(path)

    def _lead_finders(self, mapping):
        """Leads the finders of editable installs as well; returns the directories they find packages in."""
        parents = []
        for finder in sys.meta_path:
            module = sys.modules.get(getattr(finder, "__module__", None) or "")
            tables = [getattr(finder, "_redirections", None)]
            if module is not None and module.__name__.startswith("__editable__"):
                tables += [getattr(module, "MAPPING", None), getattr(module, "NAMESPACES", None)]
            for table in tables:
                if isinstance(table, dict):
                    for name, value in table.items():
                        if isinstance(value, str):
                            table[name] = self._lead(value, mapping)
                            parents.append((value, table[name]))
                        elif isinstance(value, list):
                            value[:] = [self._lead(path, mapping) for path in value]
        return [os.path.dirname(after) for before, after in parents if after != before]


def importable(directory):
    """The names of the modules and packages that lie in a directory."""
    try:
        entries = os.listdir(directory)
    except OSError:
        return
    for entry in entries:
        stem, dot, _ = entry.partition(".")
        if entry.endswith((".py", ".so", ".pyc")) and dot:
            yield stem
        elif not dot and os.path.isfile(os.path.join(directory, entry, "__init__.py")):
            yield entry
