"""What the admin host runs of a bundle is told by its items, and cannot be hidden by them."""

from __future__ import annotations

import hashlib

import pytest

from bundler.bundle.programs import programs
from bundler.model.items import Item, Json, Made, Object


def item(kind: str, attributes: dict[str, Json], *paths: str) -> Item:
    objects = tuple(Object(path, 1, hashlib.sha256(path.encode()).hexdigest(), Made()) for path in paths)
    return Item(kind, "thing", "1", objects, attributes)


def test_what_has_a_role_is_a_program_and_nothing_else() -> None:
    registry = item("images", {"role": "registry"}, "images/blobs/sha256/b", "images/blobs/sha256/a")
    scripts = item("bootstrap", {"role": "bootstrap"}, "bootstrap/install.sh")
    found = programs([item("files", {"note": "role"}, "files/x"), registry, scripts])
    assert [(program.role, program.file.path) for program in found] == [
        ("bootstrap", "bootstrap/install.sh"),
        ("registry", "images/blobs/sha256/a"),
        ("registry", "images/blobs/sha256/b"),
    ]
    assert found[0].item is scripts


@pytest.mark.parametrize("attributes", [{}, {"role": None}, {"role": ""}, {"role": "harmless"}], ids=str)
def test_what_lies_in_the_bootstrap_folder_is_run_whatever_it_says(attributes: dict[str, Json]) -> None:
    (found,) = programs([item("files", attributes, "bootstrap/install.sh")])
    assert found.role == "bootstrap"


@pytest.mark.parametrize("role", ["a\x1b[2Jb", "a\u202eb", ["\x1b"], {"\x1b": 1}, 7], ids=repr)
def test_a_role_is_one_line_of_printable_text(role: Json) -> None:
    (found,) = programs([item("images", {"role": role}, "images/x")])
    assert found.role is not None
    assert found.role.isprintable()
