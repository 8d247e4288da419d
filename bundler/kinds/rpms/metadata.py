"""What the parts of this kind hand each other: a repository's metadata on disk, and the packages chosen from it."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import createrepo_c

from bundler.errors import ResolveError

_CHUNK = 1 << 20
_ZSTD = b"\x28\xb5\x2f\xfd"
_READERS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": lambda source: gzip.GzipFile(fileobj=source),
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
}
_NEVRA = re.compile(
    r"(?P<name>[^\s:/]+)-(?:(?P<epoch>\d+):)?(?P<version>[^\s:/-]+)-(?P<release>[^\s:/-]+)\.(?P<arch>[^\s:/.-]+)"
)


@dataclass(frozen=True)
class RepoMetadata:
    """The metadata files of one rpm-md repository, fetched and verified, as its repomd.xml lists them.

    Each file may be plain or compressed (gzip, bzip2, xz, zstd). `priority` and `module_hotfixes` are dnf's options of
    the same names: a lower number wins over a higher one; hotfix repositories are exempt from the modules rule.
    """

    id: str
    primary: Path
    filelists: Path | None = None
    comps: Path | None = None
    modules: Path | None = None
    updateinfo: Path | None = None
    priority: int = 99
    module_hotfixes: bool = False


@dataclass(frozen=True, order=True)
class NEVRA:
    """Name, epoch, version, release and architecture of a package. The order is for listings, it is not rpm's."""

    name: str
    epoch: int
    version: str
    release: str
    arch: str

    def __str__(self) -> str:
        """`name-[epoch:]version-release.arch` as dnf prints it: an epoch of 0 is left out."""
        epoch = f"{self.epoch}:" if self.epoch else ""
        return f"{self.name}-{epoch}{self.version}-{self.release}.{self.arch}"

    @property
    def evr(self) -> str:
        """`[epoch:]version-release`, an epoch of 0 left out."""
        epoch = f"{self.epoch}:" if self.epoch else ""
        return f"{epoch}{self.version}-{self.release}"

    @classmethod
    def parse(cls, text: str) -> NEVRA:
        """Read `name-[epoch:]version-release.arch`, as modulemd lists artifacts and dnf prints packages.

        Raises ValueError when `text` is of another form.
        """
        found = _NEVRA.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not name-[epoch:]version-release.arch")
        return cls(found["name"], int(found["epoch"] or 0), found["version"], found["release"], found["arch"])


@dataclass(frozen=True, order=True)
class Chosen:
    """One package of a closure, with what its repository's primary metadata says of its file.

    `repo` is the repository's id; `location` its href, relative to `base` (xml:base) or else to the repository's root;
    `checksum` hex digits of the algorithm `checksum_type` (`sha256` nearly always); `size` the file's size in bytes.
    """

    repo: str
    nevra: NEVRA
    location: str
    checksum_type: str
    checksum: str
    size: int
    base: str | None = None


@contextmanager
def opened(repo: RepoMetadata, path: Path) -> Iterator[BinaryIO]:
    """`path`, a metadata file of `repo`, decompressed into a nameless temporary file that is open for reading.

    Raises ResolveError naming the repository when the file is missing or damaged.
    """
    with tempfile.TemporaryFile() as plain:
        try:
            _decompress(path, plain)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, createrepo_c.CreaterepoCError) as error:
            raise ResolveError(
                f"repository {repo.id}: {path.name} cannot be read: {error}",
                hint="its metadata is missing or damaged: run it again, or tell whoever runs the repository",
            ) from error
        plain.seek(0)
        yield plain


def _decompress(path: Path, plain: BinaryIO) -> None:
    """Decompress by content: the first bytes say the format, a file's suffix need not."""
    with path.open("rb") as source:
        magic = source.read(6)
        source.seek(0)
        if magic.startswith(_ZSTD):
            with tempfile.NamedTemporaryFile() as named:
                createrepo_c.decompress_file(str(path), named.name, createrepo_c.ZSTD_COMPRESSION)
                with open(named.name, "rb") as content:
                    shutil.copyfileobj(content, plain, _CHUNK)
                if not plain.tell():
                    raise EOFError("it is no complete zstd frame")
            return
        reader = next((opener for head, opener in _READERS.items() if magic.startswith(head)), None)
        if reader is None:
            shutil.copyfileobj(source, plain, _CHUNK)
        else:
            with reader(source) as content:
                shutil.copyfileobj(content, plain, _CHUNK)
