"""Node files of images, held against golden copies. `UPDATE_GOLDEN=1` writes them anew."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from bundler.kinds.images.attributes import ImageAttributes, ManifestEntry, blob_path
from bundler.kinds.images.emit import emit
from bundler.kinds.images.oci import OCI_MANIFEST
from bundler.kinds.images.reference import Reference
from bundler.model.items import Item, Made, Object
from bundler.model.site import ExternalRegistry, Ports, Served, SiteConfig
from tests.kinds.images.registries import digest_of

GOLDEN = Path(__file__).parent / "golden"

SITES = {
    "own": SiteConfig(address="192.168.10.10"),
    "own-ipv6-other-port": SiteConfig(address="[fd00::10]", ports=Ports(registry=5443)),
    "external": SiteConfig(address="192.168.10.10", registry=ExternalRegistry(url="https://harbor.corp:8443")),
    "external-with-prefix": SiteConfig(address="a", registry=ExternalRegistry(url="https://harbor.corp/k8s/mirror/")),
}


def item(name: str, size: int, *, platforms: tuple[str, ...] = ("linux/amd64",)) -> Item:
    reference = Reference.parse(name)
    digest = digest_of(name.encode())
    attributes = ImageAttributes(
        reference=str(reference),
        registry=reference.registry,
        repository=reference.repository,
        tags=(reference.tag,) if reference.tag else (),
        digest=digest,
        media_type=OCI_MANIFEST,
        upstream_digest=digest,
        platforms=platforms,
        manifests=(ManifestEntry(digest=digest, media_type=OCI_MANIFEST),),
        blobs=(),
    )
    obj = Object(blob_path(digest), size, digest.removeprefix("sha256:"), Made())
    return Item("images", reference.name, reference.version, (obj,), attributes.as_json())


ITEMS = (
    item("docker.io/library/nginx:1.28", 2000),
    item("quay.io/coreos/etcd:v3.5.26", 1000),
    item("docker.io/library/nginx:sha256-abc.sig", 10, platforms=()),
    item("127.0.0.1:5001/team/tool:1", 3000),
)


def emitted(site: SiteConfig, items: tuple[Item, ...] = ITEMS) -> str:
    """Everything that is emitted, as one text."""
    made = emit(items, Served(site, "demo", "1.0"))
    files = [
        f"== {file.path} -> {file.destination} {file.mode:o} where {file.only_where or 'anywhere'}\n{file.content}"
        for file in made.files
    ]
    checks = [f"== check: {check.title} ({check.needs})\n{check.command}\n" for check in made.checks]
    return "\n".join(files + checks)


@pytest.mark.parametrize("name", SITES)
def test_node_files_are_as_they_were(name: str) -> None:
    golden = GOLDEN / f"{name}.txt"
    text = emitted(SITES[name])
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("name", SITES)
def test_nothing_is_fetched_from_upstream(name: str) -> None:
    """Parsed as their readers do: an original host is only ever a name that is mapped."""
    site = SITES[name]
    for file in emit(ITEMS, Served(site, "demo", "1.0")).files:
        document = tomllib.loads(file.content)
        if file.path.endswith("hosts.toml"):
            assert {document["server"], *document["host"]} == {document["server"]}
            assert document["server"].startswith(site.registry_url.split("/k8s")[0])
        else:
            for registry in document["registry"]:
                assert registry["location"] == site.registry_host
                assert "mirror" not in registry


def test_the_order_of_items_does_not_matter() -> None:
    site = SITES["own"]
    assert emitted(site, ITEMS) == emitted(site, tuple(reversed(ITEMS)))


def test_without_images_there_is_nothing() -> None:
    made = emit((), Served(SITES["own"], "demo", "1.0"))
    assert (made.files, made.checks) == ((), ())


def test_artifacts_alone_are_not_pulled_by_podman() -> None:
    made = emit(ITEMS[2:3], Served(SITES["own"], "demo", "1.0"))
    assert [check.needs for check in made.checks] == ["curl"]


def test_checks_are_shell_commands() -> None:
    for check in emit(ITEMS, Served(SITES["own-ipv6-other-port"], "demo", "1.0")).checks:
        subprocess.run(["sh", "-n", "-c", check.command], check=True)


def test_with_a_ca_every_engine_is_told_and_none_goes_unchecked() -> None:
    site = SiteConfig(address="192.168.10.10", tls="self-signed")
    made = {file.path: file for file in emit(ITEMS, Served(site, "demo", "1.0", "the CA\n")).files}
    for engine in ("containers", "docker"):
        file = made[f"{engine}/certs.d/192.168.10.10:5000/ca.crt"]
        assert (file.content, file.only_where) == ("the CA\n", f"/etc/{engine}")
    text = "".join(file.content for file in made.values())
    assert "insecure" not in text
    assert "http://" not in text
    toml = tomllib.loads(made["containerd/certs.d/192.168.10.10:5000/hosts.toml"].content)
    assert toml["host"]["https://192.168.10.10:5000"]["ca"] == "/etc/bundler/demo.ca.pem"


def test_an_external_registry_is_not_the_sites_to_vouch_for() -> None:
    external = ExternalRegistry(url="https://harbor.example")
    site = SiteConfig(address="192.168.10.10", tls="self-signed", registry=external)
    text = "".join(file.content for file in emit(ITEMS, Served(site, "demo", "1.0", "the CA\n")).files)
    assert "ca.pem" not in text
    assert "the CA" not in text
