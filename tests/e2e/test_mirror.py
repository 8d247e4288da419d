"""`mode: mirror`: the repository in the bundle, and then on the site, is the source's, byte for byte."""

from __future__ import annotations

import filecmp
from pathlib import Path

import pytest

from scripts.demo.hosts import HERE
from scripts.demo.internet import Internet
from scripts.demo.journey import bundler, site, unpack

pytestmark = [pytest.mark.e2e]

# No key: of the key that signed these packages the test data has only the name.
_PROFILE = """\
name: mirror
version: "1"
targets: [{distro: rocky, release: "8"}]
rpms:
  repos:
    - {id: rocky8, url: https://mirror.invalid/rocky8/, mode: mirror, gpgcheck: false}
"""


def test_a_mirror_is_identical_to_its_source(upstream: Internet, shared: Path, tmp_path: Path) -> None:
    profile = tmp_path / "mirror.yaml"
    profile.write_text(_PROFILE)
    config = upstream.write_config(tmp_path / "config.yaml")
    printed = bundler(HERE, "build", profile, "--output", tmp_path, "--config", config).stdout
    bundle = Path(printed.splitlines()[-1])
    source = shared / "rpm" / "rocky8"

    unpacked = unpack(bundle, tmp_path / "unpacked")
    (repodata,) = (unpacked / "rpms").rglob("repodata")
    _assert_identical(source, repodata.parent)

    with site(HERE, tmp_path, own_ports=False) as there:
        there.install(bundle)
        (repodata,) = (path for path in (there.root / "repos" / "mirror").resolve().rglob("repodata") if path.is_dir())
        _assert_identical(source, repodata.parent)


def _assert_identical(source: Path, copy: Path) -> None:
    files = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    assert files == {path.relative_to(copy) for path in copy.rglob("*") if path.is_file()}
    same, different, broken = filecmp.cmpfiles(source, copy, sorted(map(str, files)), shallow=False)
    assert (different, broken) == ([], [])
    assert len(same) == len(files)
