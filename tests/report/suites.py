"""Suites whose runs are worth looking at, and how to run them with a report.

Real files, real runs on local machines; nothing here knows what the report should say.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Dict

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("CLOUDIST_BIN") or str(REPOSITORY / "target" / "release" / "cloudist")
PATIENCE = 120.0

# Ids and output that would end a script element or an attribute, if they were not escaped.
NASTY = "</script><script>document.title = 'broken'</script>"

VARIED = {
    "pyproject.toml": '[tool.pytest.ini_options]\ntestpaths = ["tests"]\n',
    "tests/test_orders.py": (
        "import time\nimport pytest\n"
        "time.sleep(0.3)\n"
        "@pytest.mark.parametrize('n', range(30))\n"
        "def test_total(n):\n    time.sleep(0.004 * (n % 9))\n"
        "def test_discount():\n"
        "    print('price list 7 was used')\n"
        "    order = {'price': 30, 'paid': 25}\n"
        "    assert order['paid'] == order['price'], 'a discount too many'\n"
    ),
    "tests/test_names.py": (
        "import pytest\n"
        f"@pytest.mark.parametrize('name', [{NASTY!r}, '\"><img src=x onerror=alert(1)>', 'a b'])\n"
        "def test_name(name):\n    assert 'b' in name, name\n"
    ),
    "tests/test_stock.py": (
        "import time\nimport pytest\n"
        "@pytest.fixture(scope='module')\n"
        "def store():\n    time.sleep(0.1)\n    yield {}\n    time.sleep(0.1)\n"
        "@pytest.mark.parametrize('n', range(12))\n"
        "def test_amount(n, store):\n    time.sleep(0.02)\n"
        "@pytest.fixture\ndef database():\n    raise RuntimeError('no database')\n"
        "def test_query(database):\n    pass\n"
        "def test_later():\n    pytest.skip('not today')\n"
        "@pytest.mark.xfail\ndef test_rounding():\n    assert 0.1 + 0.2 == 0.3\n"
    ),
    "tests/test_slow.py": (
        "import time\nimport pytest\n"
        "SEEN = []\n"
        "def test_long():\n    time.sleep(1.2)\n"
        "@pytest.mark.flaky(reruns=2)\n"
        "def test_sometimes():\n    SEEN.append(1)\n    assert len(SEEN) > 1\n"
    ),
}


SHOWN = {
    "pyproject.toml": VARIED["pyproject.toml"],
    "tests/test_orders.py": VARIED["tests/test_orders.py"],
    "tests/test_stock.py": VARIED["tests/test_stock.py"].replace("def test_query(database):", "def test_query(store):"),
    "tests/test_slow.py": VARIED["tests/test_slow.py"],
    **{
        f"tests/test_{name}.py": (
            "import time\nimport pytest\n"
            f"time.sleep({0.1 + 0.05 * place})\n"
            f"@pytest.mark.parametrize('n', range({24 - 3 * place}))\n"
            f"def test_{name}(n):\n    time.sleep(0.01 * (n % {5 + place}))\n"
        )
        for place, name in enumerate(("cart", "customers", "invoices", "prices", "shipping"))
    },
}


def many(files: int, tests: int) -> Dict[str, str]:
    """A suite of trivial tests."""
    body = f"import pytest\n@pytest.mark.parametrize('n', range({tests}))\ndef test_trivial(n):\n    assert n >= 0\n"
    suite = {f"tests/test_file_{number:03}.py": body for number in range(files)}
    return dict(suite, **{"pyproject.toml": VARIED["pyproject.toml"]})


def write(suite: Dict[str, str], directory: pathlib.Path) -> pathlib.Path:
    for name, text in suite.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def environment(directory: pathlib.Path) -> Dict[str, str]:
    """What is kept goes below the directory."""
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    state = {"CLOUDIST_STATE_DIR": str(directory / ".state"), "CLOUDIST_CACHE_DIR": str(directory / ".cache")}
    return {**keep, **state, "AWS_EC2_METADATA_DISABLED": "true"}


def cloudist(directory: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the tool in a directory that also holds what it keeps."""
    return subprocess.run(
        [BINARY, *arguments],
        cwd=directory,
        env=environment(directory),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=PATIENCE,
    )


def run(directory: pathlib.Path, *arguments: str, workers: int = 3) -> subprocess.CompletedProcess[str]:
    return cloudist(
        directory,
        *("pytest", "-n", str(workers), "--provider", "local", "--local-python", sys.executable),
        *arguments,
    )
