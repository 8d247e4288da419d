"""What changes between two sets of items."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bundler.model.difference import Change, Word, difference, new_bytes
from bundler.model.items import Download, Item, Json, Made, Object
from bundler.model.lock import Lock
from bundler.model.target import Target


def item(name: str, version: str, data: str, kind: str = "rpms") -> Item:
    obj = Object(f"{kind}/{name}-{version}", len(data), hashlib.sha256(data.encode()).hexdigest(), Made())
    return Item(kind, name, version, (obj,))


OLD = [item("same", "1", "same"), item("newer", "1", "old"), item("gone", "1", "gone"), item("rebuilt", "1", "before")]
NEW = [
    item("same", "1", "same"),
    item("newer", "2", "newer bytes"),
    item("fresh", "1", "fresh", "files"),
    item("rebuilt", "1", "after!"),
    item("moved", "1", "gone", "files"),
]


BUMP: tuple[Word, ...] = ("version", "content", "path")


def lock(*items: Item, targets: Sequence[Target] = ()) -> Lock:
    return Lock("demo", "1", "0" * 64, items, tuple(targets))


def test_what_came_went_and_changed() -> None:
    assert difference(lock(*OLD), lock(*NEW)) == [
        Change("files", "fresh", (), ("1",), 5),
        Change("files", "moved", (), ("1",), 0),  # its bytes were there, under another name
        Change("rpms", "gone", ("1",), (), 0),
        Change("rpms", "newer", ("1",), ("2",), 11, BUMP),
        Change("rpms", "rebuilt", ("1",), ("1",), 6, ("content",)),
    ]
    found = difference(lock(*OLD), lock(*NEW))
    assert [change.what for change in found] == ["added", "added", "removed", "changed", "changed"]
    assert difference(lock(*OLD), lock(*OLD)) == []


def test_several_versions_of_one_name() -> None:
    one, two, three = item("kernel", "1", "a"), item("kernel", "2", "b"), item("kernel", "3", "c")
    assert difference(lock(one, two), lock(two, three)) == [Change("rpms", "kernel", ("1", "2"), ("2", "3"), 1, BUMP)]
    assert difference(lock(one), lock(one, two)) == [Change("rpms", "kernel", ("1",), ("1", "2"), 1, ("number",))]
    assert difference(lock(one, one), lock(one)) == [Change("rpms", "kernel", ("1",), ("1",), 0, ("number",))]


def test_bytes_that_are_not_there_count_once() -> None:
    twice = [item("a", "1", "data"), item("b", "1", "data")]
    assert new_bytes(twice, set()) == 4
    assert new_bytes(twice, {twice[0].objects[0].sha256}) == 0


TOOLS = Item(
    "files",
    "tools",
    "1",
    (Object("files/kubeadm", 4, "a" * 64, Made(), 0o755), Object("files/rescue.sh", 4, "b" * 64, Made())),
    {"gpgcheck": True, "keys": ["keys/a"], "vars": {"become": None}},
    "pkg:generic/tools@1",
    "MIT",
)
KUBEADM, RESCUE = TOOLS.objects


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": "2"}, "version"),
        ({"objects": (KUBEADM,)}, "content, path, mode"),
        ({"objects": (replace(KUBEADM, sha256="c" * 64), RESCUE)}, "content"),
        ({"objects": (replace(KUBEADM, size=5), RESCUE)}, "content"),
        ({"objects": (replace(KUBEADM, path="files/kubectl"), RESCUE)}, "path"),
        ({"objects": (replace(KUBEADM, path=RESCUE.path), replace(RESCUE, path=KUBEADM.path))}, "path, mode"),
        ({"objects": (RESCUE, KUBEADM)}, "path"),
        ({"objects": (replace(KUBEADM, mode=0o644), RESCUE)}, "mode"),
        ({"objects": (replace(KUBEADM, mode=0o644), replace(RESCUE, mode=0o755))}, "mode"),
        ({"objects": (replace(KUBEADM, source=Download("https://evil.example/")), RESCUE)}, "source"),
        ({"attributes": {**TOOLS.attributes, "gpgcheck": False}}, "settings (gpgcheck)"),
        ({"attributes": {**TOOLS.attributes, "gpgcheck": 1}}, "settings (gpgcheck)"),
        ({"attributes": {**TOOLS.attributes, "keys": [], "new": None}}, "settings (keys, new)"),
        ({"attributes": {**TOOLS.attributes, "vars": {"become": "{{ lookup('pipe','id') }}"}}}, "settings (vars)"),
        ({"attributes": dict(reversed(list(TOOLS.attributes.items())))}, "settings"),
        ({"purl": "pkg:generic/other@1"}, "package URL"),
        ({"licence": None}, "licence"),
    ],
)
def test_what_is_different_is_said(change: dict[str, Any], words: str) -> None:
    (found,) = difference(lock(TOOLS), lock(replace(TOOLS, **change)))
    assert (found.what, found.kind, found.name, found.why) == ("changed", "files", "tools", words)


def test_what_two_of_one_name_exchange_is_seen() -> None:
    first, second = (replace(TOOLS, version=version, attributes={"target": version}) for version in ("1", "2"))
    swapped = replace(first, attributes=second.attributes), replace(second, attributes=first.attributes)
    (found,) = difference(lock(first, second), lock(*swapped))
    assert found.why == "settings (target)"


def test_other_targets_are_a_change() -> None:
    rocky, debian = Target(distro="rocky", release="9"), Target(distro="debian", release="12")
    (found,) = difference(lock(TOOLS, targets=[rocky]), lock(TOOLS, targets=[rocky, debian]))
    assert (found.kind, found.name, found.old, found.new) == (
        *("bundle", "targets"),
        ("rocky-9-x86_64",),
        ("rocky-9-x86_64", "debian-12-x86_64"),
    )
    assert difference(lock(TOOLS, targets=[rocky, debian]), lock(TOOLS, targets=[debian, rocky])) == []


JSON: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["", "a", "b"]) | st.sampled_from([0.0, 1.0]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["k", "l"]), inner, max_size=2),
    max_leaves=4,
)
# Few values, so that two items often differ in one of them alone.
OBJECTS = st.builds(
    Object,
    path=st.sampled_from(["files/a", "files/b"]),
    size=st.just(1),
    sha256=st.sampled_from(["a" * 64, "b" * 64]),
    source=st.sampled_from([Made(), Download("https://e.example/")]),
    mode=st.sampled_from([0o644, 0o755]),
)
ITEMS = st.builds(
    Item,
    kind=st.just("files"),
    name=st.just("tools"),
    version=st.sampled_from(["1", "2"]),
    objects=st.lists(OBJECTS, max_size=2, unique_by=lambda obj: obj.path).map(tuple),
    attributes=st.dictionaries(st.sampled_from(["k", "l"]), JSON, max_size=2),
    purl=st.sampled_from([None, "pkg:a/b"]),
    licence=st.sampled_from([None, "MIT"]),
)


@given(ITEMS, ITEMS)
def test_no_two_that_differ_are_the_same(old: Item, new: Item) -> None:
    was, now = lock(old), lock(new)
    found = difference(was, now)
    assert bool(found) == (was.to_bytes() != now.to_bytes())
    assert all(change.changed for change in found)


@pytest.mark.parametrize("words", [{"release": "9-x86"}, {"arch": "x86-64"}], ids=str)
def test_no_two_targets_read_the_same(words: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="a hyphen is for the distro's name alone"):
        Target.model_validate({"distro": "rocky", "release": "9", **words})
