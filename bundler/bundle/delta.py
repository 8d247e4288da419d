"""delta.json: what a bundle leaves out because the site has it. It is then the tar's first member, before the manifest.

The manifest describes the whole release all the same, so its id, and what is on the site in the end, do not depend on
how the bytes came there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from bundler.bundle.manifest import MANIFEST, Manifest
from bundler.errors import BundleError
from bundler.model import json_text
from bundler.model.contents import Sha256
from bundler.model.items import Object
from bundler.model.problems import first_problem
from bundler.model.target import StrictModel

DELTA = "delta.json"
FORMAT = 1
LIMIT = 8 << 20  # bytes of delta.json: more ranges than a manifest can have objects

Index = Annotated[int, Field(ge=0)]


class _Record(StrictModel):
    delta_format: Literal[1]
    manifest_sha256: Sha256
    receipt_sha256: Sha256
    left_out: tuple[tuple[Index, Index], ...]


@dataclass(frozen=True)
class Delta:
    """`left_out` are ranges of indexes into the manifest's payload, their ends exclusive, in rising order.

    `receipt` is the sha256 of the receipt that says what the site has, `manifest` the id of the manifest it goes with.
    """

    manifest: str
    receipt: str
    left_out: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, manifest: Manifest, receipt: str, held: Collection[str]) -> Delta:
        """Leave out what of `manifest` has one of the digests in `held` (sha256, in hex)."""
        indexes = [index for index, obj in enumerate(manifest.payload) if obj.sha256 in held]
        return cls(manifest.id, receipt, tuple(_ranges(indexes)))

    @cached_property
    def data(self) -> bytes:
        """The bytes of delta.json."""
        document = {
            "delta_format": FORMAT,
            "manifest_sha256": self.manifest,
            "receipt_sha256": self.receipt,
            "left_out": [list(pair) for pair in self.left_out],
        }
        return json_text.to_bytes(document)

    @classmethod
    def from_bytes(cls, data: bytes, what: str) -> Delta:
        """Read delta.json. Raises BundleError when it is not one, or not in its one canonical form."""
        hint = "the bundle was not made by bundler; ask where it comes from"
        try:
            record = _Record.model_validate_json(data)
        except ValidationError as error:
            raise BundleError(f"{what}: {first_problem(error)}", hint=hint) from None
        found = cls(record.manifest_sha256, record.receipt_sha256, record.left_out)
        ends = [end for pair in found.left_out for end in pair]
        if ends != sorted(set(ends)) or found.data != data:
            raise BundleError(f"{what} is not in its canonical form", hint=hint)
        return found

    def split(self, payload: tuple[Object, ...]) -> tuple[tuple[Object, ...], tuple[Object, ...]]:
        """The objects of `payload` that are carried, and those that are left out. Raises BundleError."""
        if self.left_out and self.left_out[-1][1] > len(payload):
            raise BundleError(f"{DELTA} leaves out more than {MANIFEST} has", hint="the bundle was not made by bundler")
        gone = {index for start, end in self.left_out for index in range(start, end)}
        carried = tuple(obj for index, obj in enumerate(payload) if index not in gone)
        return carried, tuple(payload[index] for index in sorted(gone))


def _ranges(indexes: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Rising numbers as ranges, the ends exclusive."""
    start = end = -1
    for index in indexes:
        if index != end:
            if end > start:
                yield start, end
            start = index
        end = index + 1
    if end > start:
        yield start, end
