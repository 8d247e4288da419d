"""Bundles made on the spot, for tests of the tarball."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from bundler.bundle.documents import describe
from bundler.bundle.writer import Writer
from bundler.model.items import Item, Made, Object
from bundler.model.lock import Lock


def item_of(contents: Mapping[str, bytes]) -> Item:
    """One item whose objects are `contents`, by path."""
    objects = tuple(
        Object(path, len(data), hashlib.sha256(data).hexdigest(), Made(), 0o755 if path.endswith("x") else 0o644)
        for path, data in contents.items()
    )
    return Item("files", "sample", "1", objects, {"note": "a value"}, "pkg:generic/sample@1", "MIT")


def lock_of(contents: Mapping[str, bytes]) -> Lock:
    return Lock("demo", "1.0", "0" * 64, (item_of(contents),))


def write_bundle(target: Path, contents: Mapping[str, bytes]) -> Path:
    """A whole bundle of `contents` at `target`."""
    manifest, documents = describe(lock_of(contents))
    with Writer(target, manifest, documents) as writer:
        for obj in writer.pending():
            with writer.slot(obj) as slot:
                slot.write(contents[obj.path])
                slot.finish()
        return writer.commit()
