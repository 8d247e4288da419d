"""What the proof finds; that it finds nothing in whatever was resolved is asserted wherever these tests resolve."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.errors import BundleError
from bundler.kinds.rpms.attributes import BootstrapAttributes
from bundler.kinds.rpms.emit import emit
from bundler.model.items import Item, Json, Object
from bundler.model.site import Served, SiteConfig

from .conftest import Bench, Serve
from .test_resolve import CENTOS7, OPENSTACK

SERVED = Served(SiteConfig(address="192.168.10.10"), "demo", "1.0")


@pytest.fixture
def items(shared: Path, serve: Serve, bench: Bench) -> tuple[Item, ...]:
    return bench.resolve(OPENSTACK.format(url=serve(shared / "rpm")), CENTOS7)


def without(items: tuple[Item, ...], *names: str) -> tuple[Item, ...]:
    left = tuple(item for item in items if item.name not in names)
    assert len(left) < len(items)
    return left


def test_a_package_that_was_asked_for(items: tuple[Item, ...], bench: Bench) -> None:
    (problem,) = bench.prove(without(items, "python-openstackclient"))
    assert "rpms for centos-7-x86_64: python-openstackclient-" in problem
    assert "Packages/python-openstackclient-" in problem
    assert problem.endswith("is not in the bundle")


def test_a_package_that_another_needs(items: tuple[Item, ...], bench: Bench) -> None:
    (problem,) = bench.prove(without(items, "python2-keystoneauth1"))
    assert "python2-keystoneauth1-" in problem


def test_a_repository(items: tuple[Item, ...], bench: Bench) -> None:
    (problem,) = bench.prove(without(items, "cloud"))
    assert problem.startswith("rpms for centos-7-x86_64: ")
    assert "python-openstackclient" in problem


def test_a_key(items: tuple[Item, ...], bench: Bench) -> None:
    problems = bench.prove(tuple(item for item in items if item.attributes["type"] != "key"))
    assert len(problems) == 3
    assert problems[0].startswith("rpms base for centos-7-x86_64: its key keys/")


def test_what_nodes_are_taken_to_have(items: tuple[Item, ...], bench: Bench) -> None:
    """Without the metadata of the node's base the packages do not resolve: it goes along."""
    (request,) = [item for item in items if item.attributes["type"] == "request"]
    bare = {**request.attributes, "assumed": None}
    others = tuple(item for item in items if item is not request)
    (problem,) = bench.prove((*others, Item("rpms", "request", request.version, (), bare)))
    assert "nothing provides" in problem


STRANGE: tuple[Json, ...] = (None, 1, "", "x", [], ["x"], {}, {"x": None}, [[]])


def test_whatever_attributes_say_ends_in_an_error_of_ours(items: tuple[Item, ...]) -> None:
    """Each attribute of an item of each sort, left out and of every other shape."""
    tried = 0
    for sort in ("repository", "package", "request", "key"):
        whole = next(item for item in items if item.attributes["type"] == sort)
        others = tuple(item for item in items if item is not whole)
        for name in whole.attributes:
            bare = {key: value for key, value in whole.attributes.items() if key != name}
            for attributes in (bare, *({**bare, name: value} for value in STRANGE)):
                forged = replace(whole, attributes=attributes)
                tried += 1
                with suppress(BundleError):
                    emit((*others, forged), SERVED)
    assert tried > 200


@pytest.mark.parametrize("missing", ["target", "repo", "nevra", "href"])
def test_a_package_without_what_it_needs(items: tuple[Item, ...], bench: Bench, missing: str) -> None:
    package = next(item for item in items if item.attributes["type"] == "package")
    bare = {key: value for key, value in package.attributes.items() if key != missing}
    forged = tuple(replace(item, attributes=bare) if item is package else item for item in items)
    with pytest.raises(BundleError, match=f"attributes cannot be read: {missing}"):
        emit(forged, SERVED)
    with pytest.raises(BundleError, match=f"attributes cannot be read: {missing}"):
        bench.prove(forged)


def test_a_repomd_that_is_too_large_is_not_read(items: tuple[Item, ...], bench: Bench) -> None:
    def forged(obj: Object) -> Object:
        return replace(obj, size=1 << 40) if obj.path.endswith("repomd.xml") else obj

    huge = tuple(replace(item, objects=tuple(map(forged, item.objects))) for item in items)
    with pytest.raises(BundleError, match=r"repomd\.xml: it exceeds the limit of 4\.0 MiB"):
        bench.prove(huge)


@pytest.mark.parametrize("document", ["repomd.xml", "primary.xml.gz"])
def test_metadata_that_leads_out_of_the_bundle(items: tuple[Item, ...], bench: Bench, document: str) -> None:
    """dnf would fetch what it names from there, on nodes and in install.sh."""

    def forged(obj: Object) -> Object:
        if not obj.path.endswith(document):
            return obj
        data = bench.store.path(obj.sha256).read_bytes()
        xml = gzip.decompress(data) if document.endswith(".gz") else data
        led = xml.replace(b"<location href", b'<location xml:base="https://evil.example/" href')
        assert led != xml
        size, sha256 = bench.store.add(gzip.compress(led) if document.endswith(".gz") else led)
        return replace(obj, size=size, sha256=sha256)

    hostile = tuple(replace(item, objects=tuple(map(forged, item.objects))) for item in items)
    with pytest.raises(BundleError, match=r"is to be fetched from elsewhere than the bundle \(xml:base\)"):
        bench.prove(hostile)


def test_items_of_another_make(items: tuple[Item, ...], bench: Bench) -> None:
    (request,) = [item for item in items if item.attributes["type"] == "request"]
    strange = Item("rpms", "request", "x", (), {**request.attributes, "packages": ["--installroot=/\n"]})
    with pytest.raises(BundleError, match="rpms request x: its attributes cannot be read: packages"):
        bench.prove((strange,))


# What install.sh takes


@pytest.fixture
def with_bootstrap(shared: Path, serve: Serve, bench: Bench) -> tuple[Item, ...]:
    section = OPENSTACK.replace(
        "[python-openstackclient]", "[python-openstackclient, {{name: python-six, bootstrap: true}}]"
    )
    return bench.resolve(section.format(url=serve(shared / "rpm")), CENTOS7)


def changed(items: tuple[Item, ...], change: Callable[[Item], Item]) -> tuple[Item, ...]:
    return tuple(change(item) if item.attributes["type"] == "bootstrap" else item for item in items)


def test_packages_that_install_sh_would_miss(with_bootstrap: tuple[Item, ...], bench: Bench) -> None:
    def change(item: Item) -> Item:
        return replace(item, objects=tuple(obj for obj in item.objects if not obj.path.endswith(".rpm")))

    (problem,) = bench.prove(changed(with_bootstrap, change))
    assert "install.sh needs rpms/centos/7/cloud/Packages/python-six-" in problem


@pytest.mark.parametrize("option", ["gpgcheck", "priority", "keys"])
def test_repositories_that_nodes_do_not_use(with_bootstrap: tuple[Item, ...], bench: Bench, option: str) -> None:
    def change(item: Item) -> Item:
        said = BootstrapAttributes.of(item)
        first, *rest = said.repositories
        other = {"gpgcheck": False, "priority": 1, "keys": [rest[0].keys[0]]}[option]
        role = "bootstrap-unchecked" if option == "gpgcheck" else "bootstrap"
        repositories: list[Any] = [
            first.model_dump(mode="json") | {option: other},
            *(r.model_dump(mode="json") for r in rest),
        ]
        kept = {key for repo in repositories for key in repo["keys"]}
        objects = tuple(obj for obj in item.objects if obj.path in kept or not obj.path.startswith("keys/"))
        return replace(
            item, attributes={**item.attributes, "role": role, "repositories": repositories}, objects=objects
        )

    (problem,) = bench.prove(changed(with_bootstrap, change))
    assert problem == "rpms for centos-7-x86_64: install.sh would use other repositories than nodes"


@pytest.mark.parametrize("name", ["--pipe=id", "-e", "a b", "*", "$(id)", "", "a\nb", "@core", "nginx.rpm"])
def test_names_that_install_sh_would_refuse(with_bootstrap: tuple[Item, ...], bench: Bench, name: str) -> None:
    forged = changed(with_bootstrap, lambda item: replace(item, attributes={**item.attributes, "names": [name]}))
    with pytest.raises(BundleError, match=r"names\.0"):
        bench.prove(forged)
    with pytest.raises(BundleError, match=r"names\.0"):
        emit(forged, SERVED)


@pytest.mark.parametrize("role", ["harmless", None, "bootstrap-unchecked"])
@pytest.mark.parametrize("sort", ["bootstrap", "package"])
def test_a_role_that_is_none_of_rpms(with_bootstrap: tuple[Item, ...], role: Json, sort: str) -> None:
    forged = tuple(
        replace(item, attributes={**item.attributes, "role": role}) if item.attributes["type"] == sort else item
        for item in with_bootstrap
    )
    with pytest.raises(BundleError):
        emit(forged, SERVED)


@pytest.mark.parametrize("path", ["files/x", "rpms/centos/9/x.rpm", "bootstrap/wheels/x.whl"])
def test_a_file_of_somewhere_else(with_bootstrap: tuple[Item, ...], path: str) -> None:
    def change(item: Item) -> Item:
        return replace(item, objects=(*item.objects, replace(item.objects[0], path=path)))

    with pytest.raises(BundleError, match="is not its own"):
        emit(changed(with_bootstrap, change), SERVED)
