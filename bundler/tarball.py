"""Opening tar archives of others: `tarfile` reads them, and sees no header that could make it do more than read.

tarfile takes an extended header into memory as large as it says that it is, and turns its digits into numbers for as
long as that takes. So each header is looked at on its way to it (POSIX.1-2001, pax and ustar; GNU tar's long names).
"""

from __future__ import annotations

import io
import re
import tarfile

from bundler.compressed import BROKEN as _BROKEN
from bundler.compressed import plain
from bundler.limits import Limit, LimitExceeded, Readable

# What tarfile, and the decompressors below it, say of bytes that are no archive.
BROKEN = (tarfile.TarError, TypeError, OverflowError, *_BROKEN)

_BLOCK = 512
_EXTENDED = Limit("an extended header of an archive", 64 << 10)
_ALL_EXTENDED = Limit("the extended headers of an archive", 64 << 20)
_GLOBAL = Limit("the global extended headers of an archive", 64 << 10)
_IN_A_ROW = Limit("the extended headers of one member", 8, "headers")
_FILES, _OTHERS, _LONG, _PAX = b"\00007", b"123456", b"LK", b"xg"
# pax's `12 path=value`. What changes how many bytes of the archive are the member's has no place in one of ours.
_RECORD = re.compile(rb"([1-9][0-9]{0,5}) ([^=\n]{1,1000})=")
_RESIZING = (b"size", b"GNU.sparse.", b"SCHILY.realsize", b"SUN.holesdata")
_DIGITS = re.compile(rb"[0-9]{64}")


def open_tar(source: Readable, *, unpacked: Limit, members: Limit) -> tarfile.TarFile:
    """The archive in `source`, plain or compressed, to be read once from its start to its end.

    Opening it, and reading it, raises LimitExceeded for what has more bytes or members than that, or headers out of
    all proportion; one of BROKEN for what is damaged, or no archive.
    """
    checked = io.BufferedReader(_Checked(plain(source, unpacked), unpacked, members), 64 << 10)
    return tarfile.open(fileobj=checked, mode="r|", bufsize=64 << 10)


class _Checked(io.RawIOBase):
    """An archive's bytes as they are, up to its end, each header checked before it is handed on."""

    def __init__(self, source: io.BufferedReader, unpacked: Limit, members: Limit) -> None:
        super().__init__()
        self._source = source
        self._unpacked = unpacked
        self._members = members
        self._ready = memoryview(b"")  # headers that were checked
        self._data = 0  # bytes of the member at hand that are still to come, its padding included
        self._ended = False
        self._count = self._extended = self._global = self._row = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._ready and not self._data and not self._ended:
            self._ready = memoryview(self._header())
        if self._ready:
            part = self._ready[: len(buffer)]
            self._ready = self._ready[len(part) :]
        elif self._data:
            part = memoryview(self._source.read(min(len(buffer), self._data)))
            self._data = self._data - len(part) if part else 0
        else:
            part = memoryview(b"")
        buffer[: len(part)] = part
        return len(part)

    def _header(self) -> bytes:
        """The next header; with its content, where that is an extension of the one after it."""
        block = self._source.read(_BLOCK)
        if len(block) < _BLOCK or not block.strip(b"\0"):
            self._ended = True
            return block
        kind, size = block[156:157], _size(block)
        if kind in _LONG or kind in _PAX:
            return block + self._extension(kind, size)
        self._row = 0
        self._count += 1
        self._members.check(self._count)
        if kind in _FILES:
            if size and kind == b"\0" and block[:100].rstrip(b"\0").endswith(b"/"):
                raise tarfile.ReadError("a folder that has content")  # which not every tarfile skips
            self._unpacked.check(size)  # tarfile skips in steps, for as long as it takes, beyond the archive's end, too
            self._data = _padded(size)
        elif kind not in _OTHERS:
            raise tarfile.ReadError(f"a member of the unknown type {kind!r}")
        return block

    def _extension(self, kind: bytes, size: int) -> bytes:
        _EXTENDED.check(size)
        self._extended += size
        _ALL_EXTENDED.check(self._extended)
        self._row += 1
        _IN_A_ROW.check(self._row)
        if kind == b"g":
            self._global += size
            _GLOBAL.check(self._global)
        content = self._source.read(_padded(size))
        if kind in _PAX:
            _check_records(content[:size])
        return content


def _size(block: bytes) -> int:
    """A header's size field: octal digits, or GNU's binary number, which could be negative."""
    field = block[124:136]
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip()
    if not re.fullmatch(rb"[0-7]*", digits):
        raise tarfile.ReadError("a size that is no number")
    return int(digits or b"0", 8)


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _check_records(content: bytes) -> None:
    place = 0
    while place < len(content):
        found = _RECORD.match(content, place)
        if found is None or content[place + int(found[1]) - 1 : place + int(found[1])] != b"\n":
            raise tarfile.ReadError("an extended header that is malformed")
        if found[2].startswith(_RESIZING):
            raise tarfile.ReadError(f"an extended header that sets {found[2].decode(errors='replace')!r}")
        place += int(found[1])
    if _DIGITS.search(content):
        raise LimitExceeded(Limit("a number in an archive's extended header", 63, "digits"))
