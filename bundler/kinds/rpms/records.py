"""Fetching what a repomd.xml lists: verified, and no larger inside than it may be."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.compressed import BROKEN
from bundler.errors import FetchError, ResolveError
from bundler.kinds.rpms.metadata import decompressed, limit_of
from bundler.kinds.rpms.repodata import Record, Repomd
from bundler.limits import Limit, LimitExceeded

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream

log = logging.getLogger(__name__)

# repomd.xml's types for one thing; the first that the repository has is read.
COMPS = ("group", "group_gz", "group_xz", "group_zst")

_SIGNATURE_LIMIT = 1024 * 1024
_PACKED = Limit("a metadata file", 1 << 30)
_CHUNK = 1 << 20


def fetch_record(upstream: Upstream, root: str, record: Record, folder: Path, what: str) -> Path:
    """The metadata file of `record`, which the repository at `root` lists, fetched into `folder` and verified, and not
    larger inside than it may be.

    Raises FetchError, IntegrityError; ResolveError for what is too large, or damaged, inside.
    """
    file = folder / record.checksum.value
    try:
        if record.size is not None:
            _PACKED.check(record.size)
        if record.elsewhere:
            upstream.led(root, record.url)
        upstream.download(record.url, file, size=record.size, sha256=record.checksum.sha256, limit=_PACKED)
        if record.checksum.sha256 is None:
            record.checksum.check(file, f"{what}: {record.path}")
        with decompressed(file, limit_of(record.type, record.open_size)) as content:
            while content.read(_CHUNK):
                pass
    except LimitExceeded as error:
        raise error.of(ResolveError, f"{what}: {record.url}") from None
    except BROKEN as error:
        raise ResolveError(
            f"{what}: {record.url} cannot be read: {error}",
            hint="its metadata is damaged: run it again later, or tell whoever runs the repository",
        ) from None
    return file


def fetch_first(upstream: Upstream, repomd: Repomd, types: Sequence[str], folder: Path, what: str) -> Path | None:
    """The first of the records `types` that the repository lists and has; None, with a warning, when it lost them all.

    Raises FetchError, IntegrityError.
    """
    listed = [repomd.records[type_] for type_ in types if type_ in repomd.records]
    for record in listed:
        try:
            return fetch_record(upstream, repomd.root, record, folder, what)
        except FetchError as error:
            if not error.absent:
                raise
    if listed:
        log.warning("%s lists %s and has it not: going on without", what, listed[0].path)
    return None


def read_if_there(url: str, upstream: Upstream) -> bytes | None:
    """A signature or a key beside repomd.xml; None where the repository has none. Raises FetchError."""
    try:
        return upstream.read(url, limit=_SIGNATURE_LIMIT)
    except FetchError as error:
        if error.absent:
            return None
        raise
