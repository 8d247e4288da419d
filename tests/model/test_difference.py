"""What changes between two sets of items."""

from __future__ import annotations

import hashlib

from bundler.model.difference import Change, difference, new_bytes
from bundler.model.items import Item, Made, Object


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


def test_what_came_went_and_changed() -> None:
    assert difference(OLD, NEW) == [
        Change("files", "fresh", (), ("1",), 5),
        Change("files", "moved", (), ("1",), 0),  # its bytes were there, under another name
        Change("rpms", "gone", ("1",), (), 0),
        Change("rpms", "newer", ("1",), ("2",), 11),
        Change("rpms", "rebuilt", ("1",), ("1",), 6),
    ]
    assert [change.what for change in difference(OLD, NEW)] == ["added", "added", "removed", "changed", "changed"]
    assert difference(OLD, OLD) == []


def test_several_versions_of_one_name() -> None:
    old, new = (
        [item("kernel", "1", "a"), item("kernel", "2", "b")],
        [item("kernel", "2", "b"), item("kernel", "3", "c")],
    )
    assert difference(old, new) == [Change("rpms", "kernel", ("1", "2"), ("2", "3"), 1)]


def test_bytes_that_are_not_there_count_once() -> None:
    twice = [item("a", "1", "data"), item("b", "1", "data")]
    assert new_bytes(twice, set()) == 4
    assert new_bytes(twice, {twice[0].objects[0].sha256}) == 0
