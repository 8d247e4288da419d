"""What the proof finds; that it finds nothing in whatever was resolved is asserted wherever these tests resolve."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest

from bundler.errors import BundleError
from bundler.kinds.wheels.attributes import LockAttributes, WheelAttributes
from bundler.kinds.wheels.prove import prove
from bundler.model.items import Item, Json
from tests.kinds.wheels.conftest import Resolver
from tests.kinds.wheels.indexes import LocalIndex
from tests.site.content import MemoryContent

NOTHING = MemoryContent({})


@pytest.fixture
def items(index: LocalIndex, resolved: Resolver) -> tuple[Item, ...]:
    index.add_wheel("app", "1.0", requires=['old; python_version < "3.12"', "lib>=2", 'more; extra == "more"'])
    index.add_wheel("old", "1.0")
    index.add_wheel("lib", "2.0")
    index.add_wheel("more", "1.0")
    return resolved(python=["3.11", "3.12"], requirements=["app[more]", "lib"], index_url=index.url)


def changed(item: Item, **attributes: Json) -> Item:
    return dataclasses.replace(item, attributes={**item.attributes, **attributes})


@pytest.mark.parametrize(("name", "pythons"), [("lib", 2), ("old", 1), ("more", 2), ("app", 2)])
def test_a_wheel_that_lacks(items: tuple[Item, ...], name: str, pythons: int) -> None:
    left = tuple(item for item in items if item.name != name)
    assert len(left) == len(items) - 1
    problems = list(prove(left, NOTHING))
    assert len(problems) == pythons
    assert all("cannot resolve for Python 3.1" in problem and name in problem for problem in problems)


def test_a_version_that_does_not_do(items: tuple[Item, ...]) -> None:
    wanting = tuple(changed(item, requires_dist=["lib>=3"]) if item.name == "app" else item for item in items)
    first, second = prove(wanting, NOTHING)
    assert "lib>=3" in first
    assert "lib>=3" in second


def test_a_wheel_for_another_machine(items: tuple[Item, ...]) -> None:
    other = "lib-2.0-cp312-cp312-manylinux_2_17_aarch64.whl"
    foreign = tuple(changed(item, filename=other) if item.name == "lib" else item for item in items)
    assert len(list(prove(foreign, NOTHING))) == 2


@pytest.mark.parametrize(
    "asked", ["--index-url=http://127.0.0.1:1/", "-r /etc/passwd", "app @ file:///etc/app.whl", "."]
)
def test_nothing_reaches_pip_but_names(items: tuple[Item, ...], asked: str) -> None:
    """Neither options nor places: a bundle is data from outside."""
    hostile = tuple(changed(item, asked=[asked]) if item.attributes["type"] == "lock" else item for item in items)
    with pytest.raises(BundleError, match="is no requirement"):
        list(prove(hostile, NOTHING))


@pytest.mark.parametrize("file_name", ["../../evil-1-py3-none-any.whl", "/tmp/evil.whl", "evil\n.whl", ".whl"])
def test_no_file_outside_the_scratch_folder(items: tuple[Item, ...], file_name: str) -> None:
    hostile = tuple(changed(item, filename=file_name) if item.name == "lib" else item for item in items)
    with pytest.raises(BundleError, match="attributes cannot be read: filename"):
        list(prove(hostile, NOTHING))


def test_what_was_asked_for_is_kept(index: LocalIndex, resolved: Resolver, tmp_path: Path) -> None:
    index.add_wheel("app", "1.0", requires=[])
    lib = index.add_wheel("lib", "2.0")
    (tmp_path / "requirements.txt").write_text(
        f"--prefer-binary\nlib ==2.0 --hash=sha256:{hashlib.sha256(lib).hexdigest()}\n"
    )
    url = f"{index.url.removesuffix('simple')}files/app-1.0-py3-none-any.whl"
    items = resolved(python=["3.12"], requirements=[url, "requirements.txt"], index_url=index.url)
    ((_, lock),) = LockAttributes.among(items)
    assert lock.asked == ("app", "lib==2.0")
    assert [wheel.requires_dist for _, wheel in WheelAttributes.among(items)] == [(), ()]
