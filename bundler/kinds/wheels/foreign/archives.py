"""The one file of a source distribution that says what it is, read without unpacking the rest."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

METADATA_LIMIT = 8 << 20  # bytes of a PKG-INFO
ARCHIVE_LIMIT = 4 << 30  # bytes of an archive, unpacked, until its PKG-INFO must have come
_HEADER_LIMIT = 1 << 20  # bytes of a tar header with all that belongs to it
_CHUNK = 64 << 10
_OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".tgz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".tar": lambda path: path.open("rb"),
}
_UNREADABLE = (
    *(OSError, EOFError, ValueError, LookupError, RuntimeError, StopIteration),
    *(tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError),
)


def pkg_info(archive: Path) -> bytes | None:
    """The PKG-INFO at the top of a source distribution; None where there is none, or what there is cannot be read."""
    try:
        with _member(archive) as file:
            found = bytearray()
            while len(found) <= METADATA_LIMIT and (chunk := file.read(_CHUNK)):
                found += chunk
    except _UNREADABLE:
        return None
    return bytes(found) if len(found) <= METADATA_LIMIT else None


def _member(archive: Path) -> IO[bytes]:
    if archive.suffix == ".zip":
        names = zipfile.ZipFile(archive)
        return names.open(next(name for name in names.namelist() if _is_wanted(name)))
    for member in (tar := tarfile.TarFile(fileobj=_Measured(_OPENERS[archive.suffix](archive)))):
        if member.offset_data + member.size > ARCHIVE_LIMIT:
            break
        if member.isreg() and _is_wanted(member.name) and (found := tar.extractfile(member)) is not None:
            return found
    raise LookupError(archive.name)


def _is_wanted(name: str) -> bool:
    return name.count("/") == 1 and name.endswith("/PKG-INFO")


class _Measured(io.RawIOBase):
    """An archive as tarfile reads it, which reads a header of whatever size at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _HEADER_LIMIT:
            raise ValueError("a header of the archive is too large")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if offset > ARCHIVE_LIMIT:
            raise ValueError("the archive is too large")
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
