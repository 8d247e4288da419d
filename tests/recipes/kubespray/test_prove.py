from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from bundler.kinds.files.place import place_of
from bundler.model.items import Item, Made, Object
from bundler.recipes.kubespray.prove import prove
from bundler.transfer.upstream import Upstream
from tests.recipes.kubespray.test_emit import TARGETS, an_item


@pytest.fixture
def item(shared: Path, outside: Upstream) -> Item:
    return an_item(shared, outside, "cilium")


@pytest.fixture
def carried(item: Item) -> tuple[Item, ...]:
    """Items as the kinds would make them of what the recipe asks for."""
    said: Any = item.attributes
    paths = [said["tree"], *map(place_of, said["files"]), *(chart["path"] for chart in said["charts"])]
    files = [Item("files", path, "1", (Object(path, 1, "ab" * 32, Made()),)) for path in paths]
    images = [Item("images", name, "1", (), {"reference": name}) for name in said["images"]]
    requests = [
        Item("rpms", "request", target, (), {"type": "request", "packages": [*names]})
        for target, names in said["packages"].items()
    ]
    return (*files, *images, *requests)


def test_nothing_lacks(item: Item, carried: tuple[Item, ...]) -> None:
    assert list(prove(item, carried)) == []


def test_each_thing_that_lacks_is_named(item: Item, carried: tuple[Item, ...]) -> None:
    assert len(list(prove(item, ()))) == len(carried)
    for lost in carried:
        (problem,) = prove(item, tuple(each for each in carried if each is not lost))
        name = "goes without the packages" if lost.kind == "rpms" else lost.name
        assert problem.startswith("kubespray: ")
        assert name in problem


def test_a_package_name_that_was_not_asked_for(item: Item, carried: tuple[Item, ...]) -> None:
    less = tuple(
        dataclasses.replace(each, attributes={"type": "request", "packages": [*each.attributes["packages"]][1:]})  # type: ignore[misc]
        if each.version == str(TARGETS[0])
        else each
        for each in carried
    )
    (problem,) = prove(item, less)
    assert problem.startswith(f"kubespray: {TARGETS[0]} goes without the packages ")
