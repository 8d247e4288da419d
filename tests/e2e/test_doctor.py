"""`bundler doctor` on a site that is well, and on ones that were hurt in each of the ways it looks for."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.demo.hosts import HERE
from scripts.demo.internet import Internet
from scripts.demo.journey import Site, bundler, site
from tests.e2e import small

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def bundle(upstream: Internet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.build(upstream, tmp_path_factory.mktemp("doctor") / "built")


@pytest.fixture
def admin(bundle: Path, tmp_path: Path) -> Iterator[Site]:
    with site(HERE, tmp_path, own_ports=False) as there:
        there.install(bundle)
        yield there


def examine(admin: Site, *options: str) -> tuple[int, dict[str, Any]]:
    done = bundler(HERE, "doctor", "--json", "--root", admin.root, *options, check=False)
    document: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, document


def failed(document: dict[str, Any]) -> dict[str, str]:
    return {f["check"]: f["said"] for f in document["findings"] if f["state"] == "failed"}


def test_a_site_that_is_well(admin: Site) -> None:
    code, document = examine(admin, "--all")
    assert failed(document) == {}
    assert (code, document["well"]) == (0, True)
    said = {finding["check"]: finding["said"] for finding in document["findings"]}
    assert {"service nginx", "service registry", "door web", "door registry", "disk", "permissions"} <= said.keys()
    counted = said["small 1"].split()
    assert counted[0] == counted[3], said["small 1"]  # `40 of its 40 objects are right`
    text = bundler(HERE, "doctor", "--root", admin.root).stdout
    assert "ok" in text
    assert "remedy for TLS" in text  # plain HTTP is a warning, and no failure


def test_bytes_that_changed_on_the_disk(admin: Site, bundle: Path) -> None:
    """A file, a package and a layer, each with one bit turned: all are named, by what nodes get."""
    hurt = []
    release = next((admin.root / "repos/.releases").iterdir())
    hurt.append(next(path for path in (release / "files").rglob("kubeadm")))
    hurt.append(next((release / "rpms").rglob("*.rpm")))
    hurt.append(max((admin.root / "registry").rglob("data"), key=lambda path: path.stat().st_size))
    for path in hurt:
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
    code, document = examine(admin, "--all")
    assert code == 9
    said = failed(document)["small 1"]
    assert "files/dl.k8s.io/release/v1.35.4/bin/linux/amd64/kubeadm: nodes get other bytes" in said
    assert ".rpm: nodes get other bytes" in said
    assert f"images/blobs/sha256/{hurt[2].parent.name}: nodes get other bytes" in said
    # The remedy is one.
    for path in hurt:
        path.unlink()
    admin.install(bundle)
    assert examine(admin, "--all")[0] == 0


def test_what_is_lost(admin: Site) -> None:
    release = next((admin.root / "repos/.releases").iterdir())
    next((release / "files").rglob("kubeadm")).unlink()
    code, document = examine(admin, "--all")
    assert code == 9
    assert "is answered 404" in failed(document)["small 1"]


def test_a_service_that_died_and_secrets_that_are_open_are_mended(admin: Site) -> None:
    pid = int((admin.root / "services/registry/pid").read_text())
    os.kill(pid, signal.SIGKILL)
    secret = admin.root / "services/registry/secret"
    secret.chmod(0o644)
    code, document = examine(admin)
    assert code == 9
    found = failed(document)
    assert "does not run" in found["service registry"]
    assert "permissions" in found
    code, document = examine(admin, "--fix")
    assert (code, failed(document)) == (0, {})
    mended = [f"{entry['check']}: {entry['said']}" for entry in document["mended"]]
    assert any(line.startswith("service registry") for line in mended)
    assert sum(line.startswith("permissions") for line in mended) == 1
    assert secret.stat().st_mode & 0o777 == 0o600


def test_a_door_that_somebody_else_has(admin: Site) -> None:
    pid = int((admin.root / "services/nginx/pid").read_text())
    port = int(admin.web.rsplit(":", 1)[1])
    os.kill(pid, signal.SIGTERM)
    for _ in range(100):
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                other.bind(("0.0.0.0", port))
                break
            except OSError:
                continue
    code, document = examine(admin)
    assert code == 9
    assert "door web" in failed(document)


def test_a_kept_release_is_looked_at_too(admin: Site, upstream: Internet, tmp_path: Path) -> None:
    second = small.build(upstream, tmp_path / "second", "--set", "version=2", "--set", "files=[]")
    admin.install(second)
    (old,) = (path for path in (admin.root / "repos/.releases").iterdir() if path.name.startswith("small-1-"))
    lost = next((old / "files").rglob("kubeadm"))
    code, document = examine(admin, "--all")
    assert (code, failed(document)) == (0, {})
    lost.unlink()
    code, document = examine(admin, "--all")
    assert code == 9
    assert list(failed(document)) == ["small 1 (kept)"]


def test_where_there_is_no_site(tmp_path: Path) -> None:
    done = bundler(HERE, "doctor", "--root", tmp_path, check=False)
    assert done.returncode == 4
    assert "no site is known here" in done.stderr


def test_upstreams_that_answer_and_ones_that_do_not(upstream: Internet, tmp_path: Path) -> None:
    small.build(upstream, tmp_path / "there")  # for its profile and config
    profile, config = tmp_path / "there/small.yaml", tmp_path / "there/config.yaml"
    done = bundler(HERE, "doctor", profile, "--config", config, "--json")
    document = json.loads(done.stdout)
    asked = [finding["check"] for finding in document["findings"]]
    assert {"registry docker.io", "files of dl.k8s.io", "repository appstream for rocky-8-x86_64"} <= set(asked)
    assert document["well"] is True
    lost = profile.with_name("lost.yaml")
    lost.write_text(profile.read_text().replace("AppStream", "Nowhere").replace("library/alpine", "nobody/has"))
    done = bundler(HERE, "doctor", lost, "--config", config, "--json", check=False)
    assert done.returncode == 6
    found = failed(json.loads(done.stdout))
    assert list(found) == ["repository appstream for rocky-8-x86_64"]
    nobody = tmp_path / "nobody.yaml"
    nobody.write_text("mirrors: {docker.io: 'http://127.0.0.1:9', 'https://dl.k8s.io': 'http://127.0.0.1:9'}\n")
    done = bundler(HERE, "doctor", profile, "--config", nobody, "--json", check=False)
    assert done.returncode == 6
    assert {"registry docker.io", "files of dl.k8s.io"} <= failed(json.loads(done.stdout)).keys()
