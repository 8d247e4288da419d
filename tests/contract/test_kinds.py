"""What holds for every kind, as the docstring of bundler.kinds.base says it."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from bundler.bundle.reader import Bundle
from bundler.errors import ProfileError
from bundler.inputs import profile_schema, read_profile
from bundler.install import emit, install
from bundler.kinds import KINDS
from bundler.kinds.base import Kind
from bundler.model.items import Download, RegistryBlob
from bundler.model.lock import Lock
from bundler.model.site import Served, SiteConfig
from bundler.progress import Silent
from bundler.site.site import Site
from tests.contract.conftest import World
from tests.contract.samples import SAMPLES

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def test_every_kind_has_a_sample_and_a_readme() -> None:
    assert list(SAMPLES) == [kind.name for kind in KINDS]
    for kind in KINDS:
        folder = Path(__file__).parents[2] / "bundler" / "kinds" / kind.name
        assert (folder / "README.md").is_file()


def test_the_schema_describes_every_kind() -> None:
    schema = profile_schema()
    assert {kind.name for kind in KINDS} <= set(schema["properties"])  # type: ignore[call-overload]
    json.dumps(schema)


@each_kind
def test_an_unknown_key_is_named_with_its_place(kind: Kind, tmp_path: Path) -> None:
    section = SAMPLES[kind.name]
    wrong = [*section, {"surprise": 1}] if isinstance(section, list) else {**section, "surprise": 1}  # type: ignore[dict-item]
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({"name": "x", "version": "1", kind.name: wrong}))
    with pytest.raises(ProfileError) as caught:
        read_profile(path)
    assert any(f"{path}:" in line and "surprise" in line for line in caught.value.message.splitlines())
    assert "unknown key" in caught.value.message


@each_kind
def test_objects_stay_under_the_kinds_folders(kind: Kind, locks: dict[str, Lock]) -> None:
    items = locks[kind.name].items
    assert items
    assert all(item.kind == kind.name for item in items)
    assert all(obj.path.split("/", 1)[0] in kind.folders for item in items for obj in item.objects)


@each_kind
def test_items_survive_the_lock(kind: Kind, locks: dict[str, Lock]) -> None:
    lock = locks[kind.name]
    again = Lock.from_bytes(lock.to_bytes())
    assert again.to_bytes() == lock.to_bytes()


@each_kind
def test_resolving_twice_gives_the_same_lock(kind: Kind, locks: dict[str, Lock], world: World) -> None:
    assert world.lock(kind.name, "again").to_bytes() == locks[kind.name].to_bytes()


@each_kind
def test_a_second_load_adds_nothing(kind: Kind, world: World, site: SiteConfig) -> None:
    path = world.bundle(kind.name)
    assert install(path, site, progress=Silent()).changed
    with Bundle(path) as bundle, Site(site).opened(bundle.manifest, bundle) as opened:
        for step in kind.load(bundle.manifest.items, opened):
            step.put(bundle)
        assert (opened.written.objects, opened.written.size) == (0, 0)
    assert not install(path, site, progress=Silent()).changed


@each_kind
def test_emit_is_deterministic_and_fetches_from_no_upstream(kind: Kind, locks: dict[str, Lock]) -> None:
    lock = locks[kind.name]
    served = Served(SiteConfig(address="10.20.30.40"), lock.name, lock.version)
    files = emit(lock.items, served).files
    assert files == emit(Lock.from_bytes(lock.to_bytes()).items, served).files
    hosts = set()
    for obj in lock.objects:
        if isinstance(obj.source, Download):
            hosts.add(urlsplit(obj.source.url).netloc)
        elif isinstance(obj.source, RegistryBlob):
            hosts.add(obj.source.registry)
    for file in files:
        assert not [host for host in hosts if f"://{host}" in file.content], file.path
