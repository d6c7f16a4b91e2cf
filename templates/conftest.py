# >>> cloudist >>>
# Lets `pytest --cloudist=test` run these tests on other machines. Written by `cloudist init`.
def _with_cloudist(plugins):
    import importlib.util
    import os
    import shutil
    import subprocess
    import sys

    import pytest

    if os.environ.get("CLOUDIST_WORKER"):
        return plugins
    if importlib.util.find_spec("pytest_cloudist") is None:
        program = shutil.which(os.environ.get("CLOUDIST_BIN") or "cloudist")
        if program is None:
            wanted = os.environ.get("CLOUDIST_MODE", "no") != "no"
            if wanted or any(argument.split("=")[0] == "--cloudist" for argument in sys.argv):
                raise pytest.UsageError(
                    "cloudist is not installed: put it on PATH, or name it in CLOUDIST_BIN"
                )
            return plugins
        told = subprocess.run([program, "plugin-path"], stdout=subprocess.PIPE, check=True)
        sys.path.append(os.fsdecode(told.stdout.rstrip(b"\n")))
    return [*(plugins.split(",") if isinstance(plugins, str) else plugins), "pytest_cloudist"]


pytest_plugins = _with_cloudist(globals().get("pytest_plugins", []))
# <<< cloudist <<<
