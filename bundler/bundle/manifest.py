"""manifest.json: the bundle's first member, which names every other byte of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from bundler.model import contents
from bundler.model.items import Item, Object, objects_of
from bundler.model.target import Target

FORMAT = 1
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"


class ManifestRecord(contents.ContentsRecord):
    """manifest.json as JSON."""

    format: Literal[1]
    profile_sha256: contents.Sha256
    lock_sha256: contents.Sha256


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds, and for which nodes. `documents` are objects that belong to no item: see `documents`."""

    name: str
    version: str
    profile_sha256: str
    lock_sha256: str
    items: tuple[Item, ...]
    documents: tuple[Object, ...]
    targets: tuple[Target, ...] = ()

    @property
    def folder(self) -> str:
        """The one folder that a bundle unpacks to."""
        return f"{self.name}-{self.version}"

    @property
    def architectures(self) -> tuple[str, ...]:
        """Of its targets, in rpm's words."""
        return tuple(sorted({target.arch for target in self.targets}))

    @cached_property
    def payload(self) -> tuple[Object, ...]:
        """Every object of an item, sorted by path."""
        return objects_of(self.items)

    @property
    def objects(self) -> tuple[Object, ...]:
        """Every object in the order it has in the tar: documents first, then the payload."""
        return (*self.documents, *self.payload)

    @cached_property
    def data(self) -> bytes:
        """The bytes of manifest.json."""
        head = {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "targets": contents.target_entries(self.targets),
            "profile_sha256": self.profile_sha256,
            "lock_sha256": self.lock_sha256,
        }
        return contents.to_json(head, contents.sorted_items(self.items), self.objects)

    @cached_property
    def id(self) -> str:
        """The bundle's id: the sha256 of manifest.json."""
        return hashlib.sha256(self.data).hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes, what: str = MANIFEST) -> Manifest:
        """Read manifest.json. Raises BundleError when it is not one, or not in its one canonical form."""
        manifest = cls._of(contents.parse(ManifestRecord, data, what), what)
        if manifest.data != data:
            raise contents.not_canonical(what)
        return manifest

    @classmethod
    def _of(cls, record: ManifestRecord, what: str) -> Manifest:
        items, documents = contents.to_items(record, what)
        return cls(
            record.name, record.version, record.profile_sha256, record.lock_sha256, items, documents, record.targets
        )
