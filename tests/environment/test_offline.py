"""A machine that reaches no index ends with what others have: the same distributions, file by file."""

from __future__ import annotations

import hashlib
import json
import pathlib
import subprocess

import pytest

from places import Server

PINS = [("apple", "1.0"), ("pear", "1.0"), ("plum", "2.0")]
NOWHERE = "http://127.0.0.1:9/simple/"
DISTRIBUTIONS = (
    pathlib.Path(__file__).resolve().parents[2] / "templates/remote/distributions.py"
).read_text()


@pytest.fixture
def second(tmp_path):
    server = Server("second", tmp_path / "second", "127.0.0.1")
    yield server
    server.end()


def distributions(text: str) -> dict:
    found = json.loads(text)["distributions"]
    return {entry["name"]: entry["version"] for entry in found if entry["name"] not in ("pip", "wheel")}


def contents(machine) -> dict:
    """Every file that was installed, by its digest; records name the environment, and who wrote them."""
    (stamp,) = (machine.home / ".cache/cloudist/environments").glob("*/cloudist.json")
    (site,) = stamp.parent.glob("lib/python*/site-packages")
    left_out = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json")
    return {
        str(path.relative_to(site)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in site.rglob("*")
        if path.is_file() and path.name not in left_out and path.suffix != ".pyc"
    }


@pytest.mark.parametrize("how", ["auto", "pip", "hashes"])
def test_the_list_is_identical(run_on, local, machine, second, packages, index, how):
    local.install("apple==1.0", "plum==2.0", "pear==1.0")
    options = ("--env=pip",) if how == "pip" else ()
    if how == "hashes":
        lines = [
            f"{name}=={version} --hash=sha256:{digest(packages, name, version)}\n" for name, version in PINS
        ]
        (run_on.root / "requirements.txt").write_text("".join(lines))

    def there(server, **variables) -> dict:
        return distributions(
            run_on(server, "python", "-c", DISTRIBUTIONS, options=options, **variables).check(0).out
        )

    here = distributions(
        subprocess.run(
            [str(local.python), "-c", DISTRIBUTIONS], stdout=subprocess.PIPE, check=True
        ).stdout.decode()
    )
    assert set(PINS) <= set(here.items())
    online = there(machine, PIP_INDEX_URL=index.url)
    asked = len(index.asked)
    offline = there(second, PIP_INDEX_URL=NOWHERE, PIP_RETRIES="0", PIP_FIND_LINKS=str(packages))
    assert here == online == offline
    assert len(index.asked) == asked
    assert contents(machine) == contents(second)
    # It was brought there; with pip there is nothing to bring.
    assert bool(list((second.home / ".cache/cloudist/tools").glob("uv-*/uv"))) == (how != "pip")


def digest(packages: pathlib.Path, name: str, version: str) -> str:
    return hashlib.sha256((packages / f"{name}-{version}-py3-none-any.whl").read_bytes()).hexdigest()


def test_a_file_that_names_what_to_install(run_on, machine, packages):
    (run_on.root / "bounds.txt").write_text("plum<2\n")
    (run_on.root / "base.txt").write_text("plum\n")
    (run_on.root / "wanted.txt").write_text("-r base.txt\n-c bounds.txt\npear==1.0\n")
    done = run_on(
        machine,
        "python",
        "-c",
        DISTRIBUTIONS,
        options=("--env=wanted.txt",),
        PIP_INDEX_URL=NOWHERE,
        PIP_RETRIES="0",
        PIP_FIND_LINKS=str(packages),
    ).check(0)
    assert distributions(done.out) == {"pear": "1.0", "plum": "1.0"}


def test_what_is_nowhere_is_named(run_on, local, machine):
    local.install("apple==1.0")
    done = run_on(machine, "true", PIP_INDEX_URL=NOWHERE, PIP_RETRIES="0").check(95)
    assert "apple" in done.err and "help: " in done.err, done
