from __future__ import annotations

import dataclasses

import pytest

from bundler.kinds.images.prove import prove
from bundler.kinds.images.resolve import resolve
from bundler.kinds.images.spec import Spec
from bundler.model.items import Item, Json
from bundler.model.target import Target
from bundler.transfer.fetched import Fetched
from bundler.transfer.upstream import Upstream
from tests.kinds.images.registries import RunningRegistry
from tests.kinds.images.test_load import NAMES


@pytest.fixture
def items(library: RunningRegistry, upstream: Upstream) -> tuple[Item, ...]:
    assert library.tags("library/alpine")
    return resolve(Spec.model_validate(NAMES), (Target(distro="rocky", release="9"),), upstream)


def without(item: Item, what: str, position: int) -> Item:
    """`item` that does not name one of its `blobs` or `manifests`."""
    listed = item.attributes[what]
    assert isinstance(listed, list)
    left: list[Json] = [*listed[:position], *listed[position + 1 :]]
    return dataclasses.replace(item, attributes={**item.attributes, what: left})


def test_what_was_resolved_is_whole(items: tuple[Item, ...], upstream: Upstream) -> None:
    assert list(prove(items, Fetched(upstream))) == []


@pytest.mark.parametrize("position", [0, -1])
def test_a_layer_or_config_that_lacks(items: tuple[Item, ...], upstream: Upstream, position: int) -> None:
    (alpine,) = [item for item in items if item.name == "docker.io/library/alpine"]
    blobs = alpine.attributes["blobs"]
    assert isinstance(blobs, list)
    (problem,) = prove((without(alpine, "blobs", range(len(blobs))[position]),), Fetched(upstream))
    assert problem.startswith("images docker.io/library/alpine:3.11: its manifest sha256:")
    assert f" names {blobs[position]} (" in problem


def test_a_platform_of_an_index_that_lacks(items: tuple[Item, ...], upstream: Upstream) -> None:
    whole = next(item for item in items if str(item.attributes["reference"]).startswith("docker.io/team/multi@"))
    problems = list(prove((without(whole, "manifests", 0),), Fetched(upstream)))
    assert len(problems) == 1
    assert "which is not in the bundle" in problems[0]


def test_a_size_that_is_another(items: tuple[Item, ...], upstream: Upstream) -> None:
    (alpine,) = [item for item in items if item.name == "docker.io/library/alpine"]
    digest = str(alpine.attributes["blobs"][0])  # type: ignore[index]
    objects = tuple(
        dataclasses.replace(obj, size=obj.size + 1) if digest.endswith(obj.sha256) else obj for obj in alpine.objects
    )
    (problem,) = prove((dataclasses.replace(alpine, objects=objects),), Fetched(upstream))
    assert digest in problem
