"""Locks and manifests survive JSON, and refuse what they never write."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.bundle.manifest import Manifest
from bundler.errors import BundleError
from bundler.model.contents import check_path
from bundler.model.items import Download, Item, LocalFile, Made, Object, RegistryBlob, Source, parse_source, source_text
from bundler.model.lock import Lock
from bundler.model.target import Target

SOURCES: list[Source] = [
    Download("https://example.org/a b?x=1"),
    RegistryBlob("127.0.0.1:5000", "library/nginx", "sha256:" + "a" * 64),
    RegistryBlob("docker.io", "library/nginx", "sha256:" + "b" * 64, "manifests"),
    LocalFile("keys/RPM-GPG-KEY"),
    Made(),
]
OBJECTS = tuple(Object(f"files/{index}", index, f"{index:064x}", source) for index, source in enumerate(SOURCES))
ITEM = Item("files", "name", "1", OBJECTS, {"deep": [1, {"a": None}], "text": "ü"}, "pkg:generic/name@1", "MIT")
TARGETS = (Target(distro="rocky", release="9"), Target(distro="rocky", release="9", arch="aarch64"))
LOCK = Lock("demo", "1.0", "f" * 64, (ITEM,), TARGETS)


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_survives_its_text(source: Source) -> None:
    assert parse_source(source_text(source)) == source


@pytest.mark.parametrize(
    "text", ["", "ftp://x/y", "/etc/passwd", "oci-blobs://host/repo@md5:1", "made:x", "javascript:x"]
)
def test_a_source_that_bundler_never_writes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="names no source"):
        parse_source(text)


def test_a_lock_survives_its_bytes() -> None:
    again = Lock.from_bytes(LOCK.to_bytes())
    assert again == LOCK
    assert again.to_bytes() == LOCK.to_bytes()


def test_a_manifest_survives_its_bytes() -> None:
    readme = Object("README.txt", 1, "0" * 64, Made())
    manifest = Manifest("demo", "1.0", "f" * 64, LOCK.sha256, LOCK.items, (readme,), TARGETS)
    again = Manifest.from_bytes(manifest.data)
    assert again == manifest
    assert again.id == manifest.id
    assert (again.targets, again.architectures) == (TARGETS, ("aarch64", "x86_64"))


def test_the_order_of_items_does_not_matter() -> None:
    others = [Item("files", f"n{index}", "1", (obj,)) for index, obj in enumerate(OBJECTS)]
    assert (
        Lock("d", "1", "0" * 64, tuple(others)).to_bytes() == Lock("d", "1", "0" * 64, tuple(others[::-1])).to_bytes()
    )


def test_one_path_with_two_contents_is_an_error() -> None:
    twin = Item("files", "twin", "1", (Object("files/0", 5, "c" * 64, Made()),))
    with pytest.raises(BundleError, match="two different contents"):
        Lock("d", "1", "0" * 64, (ITEM, twin)).to_bytes()


def _change(document: dict[str, Any], way: list[Any], value: Any) -> None:
    for step in way[:-1]:
        document = document[step]
    document[way[-1]] = value


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (["lock_format"], 2),
        (["name"], "../up"),
        (["name"], "-option"),
        (["version"], "1\n2"),
        (["targets"], [{"distro": "rocky"}]),
        (["targets", 0, "distro"], "rocky\n"),
        (["targets", 0, "arch"], "aarch64"),  # as the other one
        (["items", 0, "objects"], ["files/1", "files/2", "files/3", "files/4"]),  # files/0 belongs to nothing
        (["objects", 0, "path"], "files/../../etc/passwd"),
        (["objects", 0, "path"], "/etc/passwd"),
        (["objects", 0, "path"], "files/new\nline"),
        (["objects", 0, "path"], "files/1"),
        (["objects", 0, "size"], -1),
        (["objects", 0, "size"], 1 << 60),
        (["objects", 0, "sha256"], "F" * 64),
        (["objects", 0, "source"], "/etc/shadow"),
        (["objects", 0, "mode"], 0o4755),
        (["items", 0, "objects"], ["files/none"]),
        (["items", 0, "surprise"], 1),
        (["items"], {}),
    ],
)
def test_a_document_that_was_tampered_with_is_refused(way: list[Any], value: Any) -> None:
    document = json.loads(LOCK.to_bytes())
    _change(document, way, value)
    with pytest.raises(BundleError):
        Lock.from_bytes(json.dumps(document).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError):
        Lock.from_bytes(data)


@given(st.text(max_size=60))
def test_no_path_leads_out_of_the_bundle(text: str) -> None:
    try:
        path = check_path(text)
    except ValueError:
        return
    parts = path.split("/")
    assert not path.startswith("/")
    assert all(part not in ("", ".", "..") for part in parts)
    assert not set(path) & {"\n", "\0", "\\", "\u202e"}
