"""A receipt: what a site says it has. It is carried back, and a bundle built since then leaves that out."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from bundler.errors import ConfigError
from bundler.files import open_regular, read_small
from bundler.limits import Limit, LimitExceeded
from bundler.model.contents import Name, Sha256, Version
from bundler.model.problems import first_problem
from bundler.model.target import StrictModel

FORMAT = 1
_LIMIT = 64 << 20  # bytes
_ENTRIES = Limit("a receipt", 900_000, "entries")


class _Release(StrictModel):
    name: Name
    version: Version
    id: Sha256
    current: bool


class _Record(StrictModel):
    receipt_format: Literal[1]
    releases: tuple[_Release, ...]
    objects: tuple[Sha256, ...]


@dataclass(frozen=True)
class Receipt:
    """`objects` are sha256 in hex; `id` the sha256 of the receipt's bytes."""

    id: str
    releases: tuple[tuple[str, str], ...]
    objects: frozenset[str]


def write_receipt(releases: Iterable[tuple[str, str, str, bool]], objects: Iterable[str]) -> bytes:
    """The bytes of a receipt; `releases` are (name, version, id, current), `objects` sha256 in hex."""
    record = {
        "receipt_format": FORMAT,
        "releases": [
            {"name": name, "version": version, "id": id_, "current": current}
            for name, version, id_, current in sorted(releases)
        ],
        "objects": sorted(set(objects)),
    }
    return json.dumps(record, indent=0).encode() + b"\n"


def is_receipt(path: Path) -> bool:
    """Whether the file at `path` begins as a receipt does."""
    try:
        file = os.fdopen(open_regular(path), "rb")
    except OSError:
        return False
    with file:
        return file.read(32).replace(b"\n", b"").startswith(b'{"receipt_format"')


def read_receipt(path: Path) -> Receipt:
    """The receipt at `path`. Raises ConfigError when it is none."""
    hint = "name the file that `bundler receipt` wrote on the site"
    try:
        data = read_small(path, _LIMIT)
        _ENTRIES.check(data.count(b","))  # before they are objects in memory
        record = _Record.model_validate_json(data)
    except OSError as error:
        raise ConfigError(f"{path} is no receipt: {error.strerror}", hint=hint) from None
    except LimitExceeded as exceeded:
        raise ConfigError(f"{path} is no receipt: {exceeded}", hint=hint) from None
    except ValidationError as error:
        raise ConfigError(f"{path} is no receipt: {first_problem(error)}", hint=hint) from None
    releases = tuple((release.name, release.version) for release in record.releases)
    return Receipt(hashlib.sha256(data).hexdigest(), releases, frozenset(record.objects))
