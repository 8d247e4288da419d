"""What the proof finds; that it finds nothing in whatever was resolved is asserted wherever these tests resolve."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.errors import BundleError
from bundler.model.items import Item

from .conftest import Bench, Serve
from .test_resolve import CENTOS7, OPENSTACK


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


def test_items_of_another_make(items: tuple[Item, ...], bench: Bench) -> None:
    (request,) = [item for item in items if item.attributes["type"] == "request"]
    strange = Item("rpms", "request", "x", (), {**request.attributes, "packages": ["--installroot=/\n"]})
    with pytest.raises(BundleError, match="rpms request x: its attributes cannot be read: packages"):
        bench.prove((strange,))
