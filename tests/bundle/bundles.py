"""Bundles made on the spot, for tests of the tarball."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bundler.bundle.documents import describe
from bundler.bundle.manifest import Manifest
from bundler.bundle.writer import Writer
from bundler.model.items import Item, Made, Object
from bundler.model.lock import Lock
from bundler.model.target import Target


def item_of(contents: Mapping[str, bytes]) -> Item:
    """One item whose objects are `contents`, by path."""
    objects = tuple(
        Object(path, len(data), hashlib.sha256(data).hexdigest(), Made(), 0o755 if path.endswith("x") else 0o644)
        for path, data in contents.items()
    )
    return Item("files", "sample", "1", objects, {"path": "a value"}, "pkg:generic/sample@1", "MIT")


TARGETS = (Target(distro="rocky", release="9"), Target(distro="debian", release="12", arch="aarch64"))


def lock_of(contents: Mapping[str, bytes], version: str = "1.0") -> Lock:
    return Lock("demo", version, "0" * 64, (item_of(contents),), TARGETS)


def write_bundle(target: Path, contents: Mapping[str, bytes], version: str = "1.0") -> Path:
    """A whole bundle of `contents` at `target`."""
    return write_lock(target, lock_of(contents, version), contents)


def write_lock(target: Path, lock: Lock, contents: Mapping[str, bytes]) -> Path:
    """The bundle of `lock` at `target`."""
    return _write(target, *describe(lock), contents)


def forge(target: Path, contents: Mapping[str, bytes], documents: Mapping[str, bytes]) -> Path:
    """A bundle of `contents` with other documents: all of it is right, but for what they are."""
    honest, _ = describe(lock_of(contents))
    objects = tuple(
        Object(path, len(data), hashlib.sha256(data).hexdigest(), Made()) for path, data in documents.items()
    )
    return _write(target, replace(honest, documents=objects), documents, contents)


def _write(target: Path, manifest: Manifest, documents: Mapping[str, bytes], contents: Mapping[str, bytes]) -> Path:
    with Writer(target, manifest, documents) as writer:
        for obj in writer.pending():
            with writer.slot(obj) as slot:
                slot.write(contents[obj.path])
                slot.finish()
        return writer.commit()
