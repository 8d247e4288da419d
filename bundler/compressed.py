"""Decompressing what others compressed: by content, as a stream, and bounded in bytes, in ratio and in memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable

from bundler.limits import Bounded, Limit, LimitExceeded, Readable

# What the decompressors say of bytes that they cannot read.
BROKEN = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)
# Text that repeats itself, as metadata does, shrinks to a thirtieth. What shrinks further has to be small.
RATIO = 100
_ALWAYS = 64 << 20  # bytes that may come out of however few
_XZ_MEMORY = 256 << 20  # bytes; `xz -9` takes 65 MiB to decompress
_CHUNK = 64 << 10
_GZIP, _XZ, _BZIP2 = b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh"


def plain(source: Readable, limit: Limit) -> io.BufferedReader:
    """`source`, decompressed where it is gzip, xz or bzip2.

    Reading raises LimitExceeded beyond `limit`, or where much comes out of little; one of BROKEN for what is damaged.
    """
    packed = _Counted(source)
    begin = io.BufferedReader(packed, _CHUNK)
    magic = begin.peek(6)
    unpacked: Readable = begin
    if magic.startswith(_GZIP):
        unpacked = gzip.GzipFile(fileobj=begin)
    elif magic.startswith(_XZ):
        unpacked = io.BufferedReader(_Xz(begin), _CHUNK)
    elif magic.startswith(_BZIP2):
        unpacked = bz2.BZ2File(begin)
    else:
        return io.BufferedReader(Bounded(begin, limit), _CHUNK)
    return io.BufferedReader(Inflated(unpacked, limit, lambda: packed.count), _CHUNK)


class Inflated(Bounded):
    """What comes out of a decompressor, held to the number of bytes that went into it, `packed`, too."""

    def __init__(self, source: Readable, limit: Limit, packed: Callable[[], int]) -> None:
        super().__init__(source, limit)
        self._packed = packed

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = super().readinto(buffer)
        packed = self._packed()
        Limit(f"what may come out of {packed} compressed bytes", max(_ALWAYS, RATIO * packed)).check(self.arrived)
        return count


class _Counted(io.RawIOBase):
    """`source`, counted."""

    def __init__(self, source: Readable) -> None:
        super().__init__()
        self.count = 0
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._source.read(len(buffer))
        self.count += len(data)
        buffer[: len(data)] = data
        return len(data)


class _Xz(io.RawIOBase):
    """xz, one stream after the other. Other than lzma.LZMAFile it takes no more memory than it is allowed to."""

    def __init__(self, source: Readable) -> None:
        super().__init__()
        self._source = source
        self._stream = self._fresh()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while True:
            if self._stream.eof:
                rest = (self._stream.unused_data or self._source.read(_CHUNK)).lstrip(b"\0")  # padding
                if not rest:
                    return 0
                self._stream = self._fresh()
            else:
                rest = self._source.read(_CHUNK) if self._stream.needs_input else b""
                if self._stream.needs_input and not rest:
                    raise EOFError("it ends too early")
            data = self._decompressed(rest, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)

    def _decompressed(self, data: bytes, size: int) -> bytes:
        try:
            return self._stream.decompress(data, size)
        except lzma.LZMAError as error:
            if "Memory usage limit" in str(error):
                raise LimitExceeded(Limit("the memory that decompressing it takes", _XZ_MEMORY)) from None
            raise

    @staticmethod
    def _fresh() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
