"""The lock: what a profile resolved to. The same lock gives the same bundle, byte for byte."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from bundler.errors import BundleError
from bundler.model import contents
from bundler.model.items import Item, Object, objects_of
from bundler.model.target import Target

LOCK_FORMAT = 1


class LockRecord(contents.ContentsRecord):
    """A lock file as JSON."""

    lock_format: Literal[1]
    profile_sha256: contents.Sha256


@dataclass(frozen=True)
class Lock:
    """The resolved items of one profile, the digest of that profile, and what it says the nodes are."""

    name: str
    version: str
    profile_sha256: str
    items: tuple[Item, ...]
    targets: tuple[Target, ...] = ()

    @cached_property
    def objects(self) -> tuple[Object, ...]:
        """Every object once, sorted by path."""
        for obj in (objects := objects_of(self.items)):
            contents.check_path(obj.path)
        return objects

    def to_bytes(self) -> bytes:
        """The lock file."""
        head = {
            "lock_format": LOCK_FORMAT,
            "name": self.name,
            "version": self.version,
            "targets": contents.target_entries(self.targets),
            "profile_sha256": self.profile_sha256,
        }
        return contents.to_json(head, contents.sorted_items(self.items), self.objects)

    @cached_property
    def sha256(self) -> str:
        """The digest of the lock file."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes, what: str = "the lock") -> Lock:
        """Read a lock file. Raises BundleError when it is not one."""
        record = contents.parse(LockRecord, data, what)
        items, others = contents.to_items(record, what)
        if others:
            raise BundleError(
                f"{what}: {others[0].path!r} belongs to no item", hint="make the lock again with `bundler lock`"
            )
        return cls(record.name, record.version, record.profile_sha256, items, record.targets)
