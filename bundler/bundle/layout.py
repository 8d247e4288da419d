"""Where each byte of the tarball lies: a pure function of the manifest.

The tar is POSIX.1-2001 (pax): ustar headers, and a pax extended header before a member whose path or size does not fit.
bundler writes headers itself, for a layout must be known before the first byte is fetched and must come out the same
under every Python; `tests/bundle/test_layout.py` holds it against `tarfile` and GNU tar.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from bundler.bundle.delta import DELTA, Delta
from bundler.bundle.manifest import MANIFEST, SUMS, Manifest
from bundler.errors import BundleError
from bundler.model.items import Object

BLOCK = 512
RECORD = 20 * BLOCK
# 1980-01-01, for every member: GNU tar calls older times implausible.
MTIME = 315532800
_USTAR_SIZE_LIMIT = 8**11


@dataclass(frozen=True, slots=True)
class Member:
    """One file in the tar. Offsets and sizes in bytes: its headers at `start`, its content at `data`."""

    path: str
    size: int
    mode: int
    start: int
    data: int

    @property
    def end(self) -> int:
        """The offset behind its padding."""
        return self.data + padded(self.size)


@dataclass(frozen=True)
class Layout:
    """All members in tar order, the tar's whole size, and the bytes of those that are neither payload nor documents.

    `payload` is what is carried of the manifest's, `left_out` the rest.
    """

    folder: str
    members: dict[str, Member]
    size: int
    head: dict[str, bytes]
    payload: tuple[Object, ...]
    left_out: tuple[Object, ...]

    def header(self, member: Member) -> bytes:
        """The bytes from `member.start` to `member.data`."""
        return header(f"{self.folder}/{member.path}", member.size, member.mode)

    @property
    def end_of_members(self) -> int:
        """Where the zero blocks at the end begin."""
        return max(member.end for member in self.members.values())


def layout(manifest: Manifest, delta: Delta | None = None) -> Layout:
    """The layout of the bundle that `manifest` describes, without what `delta` leaves out. Raises BundleError."""
    payload, left_out = delta.split(manifest.payload) if delta else (manifest.payload, ())
    carried = (*manifest.documents, *payload)
    head = {DELTA: delta.data} if delta else {}
    head |= {MANIFEST: manifest.data, SUMS: sums(manifest, delta, carried)}
    entries = [(path, len(data), 0o644) for path, data in head.items()]
    entries += [(obj.path, obj.size, obj.mode) for obj in carried]
    members: dict[str, Member] = {}
    offset = 0
    for path, size, mode in entries:
        if path in members:
            raise BundleError(f"{path} would stand in the bundle twice", hint="get it again from where it was made")
        data_at = offset + header_size(f"{manifest.folder}/{path}", size)
        members[path] = Member(path, size, mode, offset, data_at)
        offset = members[path].end
    total = -(-(offset + 2 * BLOCK) // RECORD) * RECORD
    return Layout(manifest.folder, members, total, head, payload, left_out)


def sums(manifest: Manifest, delta: Delta | None, carried: Iterable[Object]) -> bytes:
    """The bytes of SHA256SUMS, as `sha256sum -c` reads it: the manifest first, then what else is there."""
    lines = [f"{manifest.id}  {MANIFEST}\n"]
    if delta:
        lines.append(f"{hashlib.sha256(delta.data).hexdigest()}  {DELTA}\n")
    return "".join([*lines, *(f"{obj.sha256}  {obj.path}\n" for obj in carried)]).encode()


def padded(size: int) -> int:
    """`size` rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


def header(path: str, size: int, mode: int) -> bytes:
    """The header blocks of a regular file (POSIX.1-2001, "ustar Interchange Format" and "pax Header Block")."""
    split, records = _split(path), _records(path, size)
    prefix, name = split or ("", path[-100:])
    file = _ustar(prefix, name, size if size < _USTAR_SIZE_LIMIT else 0, mode, b"0")
    if not records:
        return file
    extended = _ustar("", "././@PaxHeader", len(records), 0o644, b"x")
    return extended + records.ljust(padded(len(records)), b"\0") + file


def header_size(path: str, size: int) -> int:
    """How many bytes the header blocks of a regular file are."""
    records = _records(path, size)
    return BLOCK + (BLOCK + padded(len(records)) if records else 0)


def _records(path: str, size: int) -> bytes:
    """The pax records for what does not fit into a ustar header."""
    records = b"" if _split(path) else _pax_record("path", path)
    return records + (_pax_record("size", str(size)) if size >= _USTAR_SIZE_LIMIT else b"")


def _split(path: str) -> tuple[str, str] | None:
    """`path` as ustar's prefix (155 bytes) and name (100 bytes), or None when it does not fit."""
    if len(path) <= 100:
        return "", path
    cut = path.find("/", len(path) - 101)
    if cut < 1 or cut > 155 or cut == len(path) - 1:
        return None
    return path[:cut], path[cut + 1 :]


def _pax_record(key: str, value: str) -> bytes:
    """`LENGTH key=value\\n`, where LENGTH counts its own digits."""
    body = f" {key}={value}\n".encode()
    length = len(body) + len(str(len(body)))
    if len(str(length)) > len(str(len(body))):
        length += 1
    return str(length).encode() + body


def _ustar(prefix: str, name: str, size: int, mode: int, kind: bytes) -> bytes:
    fields = (
        name.encode().ljust(100, b"\0"),
        b"%07o\0" % mode,
        b"%07o\0" % 0,  # uid
        b"%07o\0" % 0,  # gid
        b"%011o\0" % size,
        b"%011o\0" % MTIME,
        b" " * 8,  # the checksum counts as spaces
        kind,
        bytes(100),  # link name
        b"ustar\x0000",
        b"root".ljust(32, b"\0"),
        b"root".ljust(32, b"\0"),
        b"%07o\0" % 0,  # device major
        b"%07o\0" % 0,  # device minor
        prefix.encode().ljust(155, b"\0"),
        bytes(12),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
