"""The signature in a package: read off its headers and checked, as a node's rpm will do with `gpgcheck=1`.

A package is a lead, a signature header, the header, and the payload. The signature is over the header, which says the
payload's digest since rpm 4.14; before that a second one was over both. Where there is neither, the header's digests
of the files vouch for them, as they do for rpm.

Source: https://rpm-software-management.github.io/rpm/manual/format_v4.html and format_header.html
"""

from __future__ import annotations

import binascii
import hashlib
import itertools
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass

from bundler.kinds.rpms.openpgp import Keys, SignatureError

_LEAD, _LEAD_SIZE = b"\xed\xab\xee\xdb", 96
_HEADER, _INTRO, _ENTRY = b"\x8e\xad\xe8\x01", 16, 16
# What rpm itself allows (rpmio's hdrblobInit) is more than any package has, and all of it is held in memory.
_MOST_ENTRIES, _MOST_DATA = 1 << 16, 32 << 20
# Tags of signatures over the header: of RSA and EdDSA keys, of DSA keys, and rpm 6's, which holds several in base64.
_OVER_HEADER, _OVER_HEADER_BASE64 = (268, 267), 278
_OVER_PAYLOAD = (1002, 1005)  # and the header before it
_PAYLOAD_DIGEST, _PAYLOAD_ALGORITHM = 5092, 5093
_SHA256 = 8
_STRINGS = (6, 8, 9)


@dataclass(frozen=True, slots=True)
class _Header:
    """A header: its bytes, and by tag the type, the offset in its data and the count."""

    raw: bytes
    entries: dict[int, tuple[int, int, int]]
    data: bytes

    def binary(self, tag: int) -> bytes | None:
        if tag not in self.entries:
            return None
        _, offset, count = self.entries[tag]
        return self.data[offset : offset + count]

    def strings(self, tag: int) -> list[bytes]:
        kind, offset, count = self.entries.get(tag, (0, 0, 0))
        return self.data[offset:].split(b"\0", count)[:count] if kind in _STRINGS else []

    def number(self, tag: int) -> int | None:
        if tag not in self.entries:
            return None
        offset = self.entries[tag][1]
        return int.from_bytes(self.data[offset : offset + 4], "big")


def check_package(chunks: Iterator[bytes], keys: Keys) -> None:
    """Read a package whole, and see that one of `keys` signed it. Raises SignatureError."""
    source = _Source(chunks)
    if not source.take(_LEAD_SIZE).startswith(_LEAD):
        raise SignatureError("is none: the file is no package")
    signatures = _header(source)
    source.take(-len(signatures.raw) % 8)
    header = _header(source)
    of_header = _of_header(signatures)
    whole = next((found for tag in _OVER_PAYLOAD if (found := signatures.binary(tag))), None)
    if of_header:
        _check_any(of_header, header.raw, keys)
    promised = header.strings(_PAYLOAD_DIGEST)
    if promised and of_header and header.number(_PAYLOAD_ALGORITHM) in (None, _SHA256):
        payload = hashlib.sha256()
        for chunk in source.rest():
            payload.update(chunk)
        if payload.hexdigest().encode() != promised[0].lower():
            raise SignatureError("is over another payload")
    elif whole is not None:
        keys.verify(whole, itertools.chain([header.raw], source.rest()))
    elif not of_header:
        raise SignatureError("is missing")
    for _ in source.rest():
        """Read to the end: only then have its bytes been verified."""


def _check_any(signatures: list[bytes], header: bytes, keys: Keys) -> None:
    """One that is right is enough: a package may be signed by several."""
    failures = []
    for signature in signatures:
        try:
            return keys.verify(signature, [header])
        except SignatureError as error:
            failures.append(error)
    raise failures[0]


def _of_header(signatures: _Header) -> list[bytes]:
    found = [signature for tag in _OVER_HEADER if (signature := signatures.binary(tag))]
    try:
        return found or [b64decode(text, validate=True) for text in signatures.strings(_OVER_HEADER_BASE64)]
    except binascii.Error:
        raise SignatureError("is no base64") from None


def _header(source: _Source) -> _Header:
    intro = source.take(_INTRO)
    entries, size = int.from_bytes(intro[8:12], "big"), int.from_bytes(intro[12:16], "big")
    if not intro.startswith(_HEADER) or entries > _MOST_ENTRIES or size > _MOST_DATA:
        raise SignatureError("cannot be read: the package's headers are damaged")
    index = source.take(entries * _ENTRY)
    data = source.take(size)
    found = {}
    for start in range(0, len(index), _ENTRY):
        tag, kind, offset, count = (int.from_bytes(index[start + at : start + at + 4], "big") for at in (0, 4, 8, 12))
        found[tag] = (kind, offset, count)
    return _Header(intro + index + data, found, data)


class _Source:
    """Chunks, as a file that is read to its end."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises SignatureError when there are not so many."""
        parts = bytearray(self._left)
        while len(parts) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise SignatureError("cannot be read: the package is cut off")
            parts += chunk
        self._left = bytes(parts[size:])
        return bytes(parts[:size])

    def rest(self) -> Iterator[bytes]:
        left, self._left = self._left, b""
        yield left
        yield from self._chunks
