"""The registry's program comes out of a bundle that was verified to its last byte, or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from bundler.bundle.reader import Bundle
from bundler.errors import IntegrityError
from bundler.install import install
from bundler.model.site import Ports, SiteConfig
from bundler.progress import Silent
from bundler.site.site import Site
from tests.contract.conftest import World


@pytest.fixture
def config(tmp_path: Path, free_port: Callable[[], int]) -> SiteConfig:
    ports = Ports(web=free_port(), registry=free_port(), index=free_port())
    return SiteConfig(address="127.0.0.1", services="process", root=str(tmp_path / "site"), ports=ports)


def test_a_bundle_that_is_damaged_anywhere_runs_nothing(world: World, tmp_path: Path, config: SiteConfig) -> None:
    whole = world.bundle("images")
    damaged = Path(shutil.copy(whole, tmp_path / "damaged.tar"))
    with Bundle(damaged) as bundle:
        last = max(bundle.layout.members.values(), key=lambda member: member.data)
    with damaged.open("r+b") as file:
        file.seek(last.data + last.size - 1)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(IntegrityError):
        install(damaged, config, progress=Silent())
    services = Path(config.root) / "services"
    assert list(services.glob("registry/rootfs*")) == []
    assert list(services.glob("*/pid")) == []


@pytest.mark.parametrize("umask", [0o000, 0o077], ids="{:04o}".format)
def test_modes_do_not_depend_on_the_umask(world: World, config: SiteConfig, tmp_path: Path, umask: int) -> None:
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_defaults=True)))
    argv = [sys.executable, "-m", "bundler", "install", str(world.bundle("images")), "--site"]
    root = Path(config.root)
    try:
        subprocess.run([*argv, str(tmp_path / "site.yaml")], check=True, umask=umask)
        guarded = {root / "registry", root / "run/registry", root / "services/registry/tmp"}
        for path in (root, *root.rglob("*")):
            if not path.is_symlink() and guarded.isdisjoint(path.parents):
                assert not path.stat().st_mode & 0o022 or path in guarded, path
        modes = {
            name: (root / name).stat().st_mode & 0o7777 for name in (".", "site.yaml", ".lock", "repos", "registry")
        }
        assert modes == {".": 0o755, "site.yaml": 0o644, ".lock": 0o600, "repos": 0o755, "registry": 0o700}
        for name in ("nginx/nginx.conf", "nginx/pid", "registry/pid"):
            assert (root / "services" / name).stat().st_mode & 0o7777 == 0o644
        assert (root / "services/registry/log").stat().st_mode & 0o7777 == 0o640
        assert {path.stat().st_mode & 0o444 for path in (root / "repos/images").resolve().rglob("*")} == {0o444}
    finally:
        Site(config).services.stop()


def test_its_own_program_serves_it(world: World, config: SiteConfig) -> None:
    bundle = world.bundle("images")
    try:
        assert install(bundle, config, progress=Silent()).changed
        services = Path(config.root) / "services"
        (tree,) = (path for path in services.glob("registry/rootfs-*") if path.is_dir())
        command = Path(f"/proc/{Site(config).services.status()[0].pid}/cmdline").read_bytes().decode()
        assert f"{tree}/bin/registry" in command
        before = tree.stat().st_ino
        assert not install(bundle, config, progress=Silent()).changed
        assert tree.stat().st_ino == before
    finally:
        Site(config).services.stop()
