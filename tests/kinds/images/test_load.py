"""The whole way: resolved, fetched into a folder, read there by skopeo and podman, loaded into a registry, pulled."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from bundler.errors import BundleError
from bundler.kinds.images.attributes import ImageAttributes
from bundler.kinds.images.emit import emit
from bundler.kinds.images.load import load
from bundler.kinds.images.resolve import resolve
from bundler.kinds.images.spec import Spec
from bundler.model.items import Item, Json, Made, RegistryBlob, objects_of
from bundler.model.site import ExternalRegistry, Served, SiteConfig
from bundler.model.target import Target
from bundler.site.site import Site
from bundler.transfer.store import Store
from bundler.transfer.upstream import Upstream
from tests.kinds.images.contents import MemoryContent
from tests.kinds.images.registries import RunningRegistry, needs, run, running_registry

MULTI_INDEX = "sha256:0de0e983a4980f32b1aad2d7f7f387cea2d4e9517b47f336cef27f63735911fa"
NAMES = [
    "docker.io/library/alpine:3.11",
    "docker.io/library/hello:1",
    "docker.io/team/multi:1",
    f"docker.io/team/multi@{MULTI_INDEX}",
    f"docker.io/team/multi:{MULTI_INDEX.replace(':', '-')}.sig",
]


@pytest.fixture
def items(library: RunningRegistry, upstream: Upstream) -> tuple[Item, ...]:
    assert library.tags("library/alpine")
    return resolve(Spec.model_validate(NAMES), (Target(distro="rocky", release="9"),), upstream)


@pytest.fixture
def content(items: tuple[Item, ...], library: RunningRegistry, store: Store) -> MemoryContent:
    """What a bundle would hold: every object's bytes."""
    contents = {}
    for obj in objects_of(items):
        match obj.source:
            case RegistryBlob(repository=repository, digest=digest, what=what):
                data = library.get(f"{repository}/{what}/{digest}").content
            case Made():
                data = store.path(obj.sha256).read_bytes()
            case _:
                raise AssertionError(obj)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (obj.size, obj.sha256)
        contents[obj.path] = data
    return MemoryContent(contents)


@pytest.fixture
def folder(content: MemoryContent, tmp_path: Path) -> Path:
    """A bundle's folder, as `tar x` leaves it."""
    for path, data in content.contents.items():
        (tmp_path / "bundle" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bundle" / path).write_bytes(data)
    return tmp_path / "bundle"


@pytest.fixture
def closed(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[RunningRegistry]:
    """The site's registry."""
    with running_registry(tmp_path / "closed" / "registry", free_port()) as running:
        yield running


def site_of(closed: RunningRegistry, tmp_path: Path) -> Site:
    config = SiteConfig(address="127.0.0.1", root=str(tmp_path / "site"), registry=ExternalRegistry(url=closed.url))
    return Site(config)


def loaded(items: tuple[Item, ...], content: MemoryContent, site: Site) -> None:
    for step in load(items, site):
        step.put(content)
    site.registry.commit()


def test_skopeo_reads_every_image_by_its_name(items: tuple[Item, ...], folder: Path) -> None:
    needs("skopeo")
    for item in items:
        image = ImageAttributes.of(item)
        assert image.reference in NAMES
        found = json.loads(run("skopeo", "inspect", f"oci:{folder}/images:{image.reference}"))
        assert found["Layers"][0] in image.blobs
        if "docker" not in image.media_type:
            assert found["Digest"] == image.digest


def test_podman_pulls_from_the_folder(folder: Path, podman: Podman) -> None:
    image_id = podman("pull", "--quiet", f"oci:{folder}/images:docker.io/library/alpine:3.11").strip()
    assert json.loads(podman("inspect", image_id))[0]["Architecture"] == "amd64"


def test_everything_is_served_by_its_digest(
    items: tuple[Item, ...], content: MemoryContent, closed: RunningRegistry, tmp_path: Path
) -> None:
    site = site_of(closed, tmp_path)
    loaded(items, content, site)
    for item in items:
        image = ImageAttributes.of(item)
        for reference in (*image.tags, image.digest):
            assert closed.digest(image.repository, reference) == image.digest
        for manifest in image.manifests:
            answer = closed.get(f"{image.repository}/manifests/{manifest.digest}")
            assert answer.headers["Content-Type"] == manifest.media_type
        for blob in image.blobs:
            assert closed.has_blob(image.repository, blob)
    catalogue = requests.get(f"{closed.url}/v2/_catalog", timeout=10).json()
    assert catalogue == {"repositories": ["library/alpine", "library/hello", "team/multi"]}


def test_the_second_load_writes_nothing(
    items: tuple[Item, ...], content: MemoryContent, closed: RunningRegistry, tmp_path: Path
) -> None:
    loaded(items, content, site_of(closed, tmp_path))
    again = site_of(closed, tmp_path)
    loaded(items, content, again)
    assert (again.registry.objects_written, again.registry.bytes_written) == (0, 0)


def test_attributes_that_lead_elsewhere_are_refused(
    items: tuple[Item, ...], content: MemoryContent, closed: RunningRegistry, tmp_path: Path
) -> None:
    item = items[0]
    changes: dict[str, Json] = {"repository": "../../admin", "blobs": ["sha256:" + "0" * 64], "tags": ["a/b"]}
    for key, value in changes.items():
        wrong = Item(item.kind, item.name, item.version, item.objects, {**item.attributes, key: value})
        with pytest.raises(BundleError, match=item.name):
            loaded((wrong,), content, site_of(closed, tmp_path))


class Podman:
    """podman with a storage of its own, which reads one registries.conf and nothing of the machine's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.registries = folder / "registries.conf"
        self.registries.write_text("")

    def __call__(self, *argv: str) -> str:
        storage = ["--root", str(self._folder / "root"), "--runroot", str(self._folder / "run")]
        environment = [f"CONTAINERS_REGISTRIES_CONF={self.registries}"]
        return run("env", *environment, "podman", *storage, "--storage-driver=vfs", *argv)


@pytest.fixture
def podman() -> Iterator[Podman]:
    needs("podman")
    # Not under tmp_path: podman refuses a long runroot.
    with tempfile.TemporaryDirectory(prefix="podman-") as folder:
        yield Podman(Path(folder))


def test_podman_pulls_with_the_node_files(
    items: tuple[Item, ...], content: MemoryContent, closed: RunningRegistry, tmp_path: Path, podman: Podman
) -> None:
    site = site_of(closed, tmp_path)
    loaded(items, content, site)
    conf = next(file for file in emit(items, Served(site.config, "demo", "1")).files if file.path.endswith(".conf"))
    podman.registries.write_text(conf.content)
    for name in (f"{closed.host}/library/alpine:3.11", "docker.io/library/alpine:3.11"):
        podman("pull", "--quiet", name)
    pinned = f"docker.io/team/multi@{MULTI_INDEX}"
    podman("pull", "--quiet", pinned)
    assert json.loads(podman("inspect", pinned))[0]["Architecture"] == "amd64"
