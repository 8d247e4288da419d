"""A bundle that could not be installed: not written, unless that is asked for, and found out wherever it comes from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.demo.hosts import HERE
from scripts.demo.internet import Internet
from scripts.demo.journey import bundler
from tests.e2e import small

pytestmark = [pytest.mark.e2e]


def verify(bundle: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return bundler(HERE, "verify", "--closure", *options, bundle, check=False)


@pytest.fixture(scope="module")
def whole(upstream: Internet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.build(upstream, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def torn(whole: Path, tmp_path: Path) -> Path:
    """A lock in which an image names no longer all of its layers: written by hand, or by a fault."""
    (made,) = whole.parent.glob("*.lock.json")
    lock: Any = json.loads(made.read_bytes())
    image = next(item for item in lock["items"] if item["name"] == "docker.io/library/registry")
    image["attributes"]["blobs"].pop()
    path = tmp_path / "torn.lock.json"
    path.write_bytes(json.dumps(lock, indent=1, ensure_ascii=True).encode() + b"\n")
    (tmp_path / "torn.lock.d").symlink_to(made.with_name(f"{made.name.removesuffix('.json')}.d"))
    return path


def test_a_whole_bundle(whole: Path) -> None:
    answer = verify(whole, "--json")
    assert (answer.returncode, json.loads(answer.stdout)["installable"]) == (0, True)
    assert "intact, nothing lacks" in verify(whole).stdout


def test_a_bundle_that_lacks_something(torn: Path, upstream: Internet, tmp_path: Path) -> None:
    command = small.command(upstream, tmp_path / "out", "--lock", str(torn))
    refused = HERE.run(command, check=False)
    assert refused.returncode == 13
    assert "small 1 could not be installed: images docker.io/library/registry:3: its manifest sha256:" in refused.stderr
    assert "--allow-incomplete" in refused.stderr
    assert not list(tmp_path.glob("out/*.tar"))

    written = HERE.run([*command, "--allow-incomplete"])
    assert "warning: small 1 is incomplete: images docker.io/library/registry:3" in written.stderr
    (bundle,) = tmp_path.glob("out/*.tar")
    assert bundler(HERE, "verify", bundle).returncode == 0, "it is not damaged"

    found = verify(bundle)
    assert (found.returncode, "could not be installed" in found.stderr) == (13, True)
    assert HERE.run(command, check=False).returncode == 13, "one that stands there is proved, too"


def test_where_nothing_can_be_proved(whole: Path) -> None:
    with whole.open("rb") as pipe:
        command = [sys.executable, "-m", "bundler", "verify", "--closure", "-"]
        answer = subprocess.run(command, stdin=pipe, capture_output=True, text=True)
    assert answer.returncode == 7
    assert "cannot be proved from a pipe" in answer.stderr
