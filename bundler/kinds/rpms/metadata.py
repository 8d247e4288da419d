"""What the parts of this kind hand each other: a repository's metadata on disk, and the packages chosen from it."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from bundler.compressed import BROKEN, Inflated, plain
from bundler.errors import ResolveError
from bundler.limits import Limit, LimitExceeded, Readable

_CHUNK = 1 << 20
_ZSTD, _ZCHUNK = b"\x28\xb5\x2f\xfd", b"\0ZCK1"
# Bytes, decompressed. Fedora's filelists and changelogs are the largest there are, with 1 GB each, and its primary has
# 200 MB; modules, groups and advisories of Enterprise Linux have 10, 2 and 100 MB at most.
_LARGEST = {"filelists": 2 << 30, "other": 2 << 30, "primary": 1 << 30, "updateinfo": 512 << 20, "modules": 64 << 20}
_LARGEST_GROUPS = 32 << 20  # comps, whose records have many names
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


def limit_of(type_: str, stated: int | None = None) -> Limit:
    """How large metadata of a type of repomd.xml's may be, decompressed: what it states (open-size), or the ceiling."""
    ceiling = _LARGEST.get(type_, _LARGEST_GROUPS)
    if stated is not None and stated < ceiling:
        return Limit(f"{type_}, by the open-size in its repomd.xml", stated, "bytes")
    return Limit(f"{type_} metadata, decompressed", ceiling)


@contextmanager
def opened(repo: RepoMetadata, path: Path, type_: str) -> Iterator[BinaryIO]:
    """`path`, the metadata file of `repo` of that type, decompressed into a nameless temporary file, open for reading.

    Raises ResolveError naming the repository when the file is missing, damaged or too large.
    """
    with tempfile.TemporaryFile() as content:
        try:
            with decompressed(path, limit_of(type_)) as stream:
                shutil.copyfileobj(stream, content, _CHUNK)
        except LimitExceeded as error:
            raise error.of(ResolveError, f"repository {repo.id}: {path.name}") from None
        except BROKEN as error:
            raise ResolveError(
                f"repository {repo.id}: {path.name} cannot be read: {error}",
                hint="its metadata is missing or damaged: run it again, or tell whoever runs the repository",
            ) from error
        content.seek(0)
        yield content


@contextmanager
def decompressed(path: Path, limit: Limit) -> Iterator[BinaryIO]:
    """A metadata file as a stream, decompressed by content: a file's suffix need not say the format.

    Raises, as reading does, what `bundler.compressed.plain` raises.
    """
    with path.open("rb") as source:
        magic = source.read(5)
        source.seek(0)
        if magic == _ZCHUNK:
            raise ValueError("zchunk is not read here")
        if not magic.startswith(_ZSTD):
            yield plain(source, limit)
            return
    with _zstd(path) as stream:
        size = path.stat().st_size
        yield io.BufferedReader(Inflated(stream, limit, lambda: size), _CHUNK)


@contextmanager
def _zstd(path: Path) -> Iterator[Readable]:
    """createrepo_c decompresses zstd from file to file alone: in a process of its own the file is a pipe."""
    program = "import sys, createrepo_c as c; c.decompress_file(sys.argv[1], '/dev/stdout', c.ZSTD_COMPRESSION)"
    command = [sys.executable, "-P", "-c", program, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        assert running.stdout is not None
        try:
            yield _Ended(running.stdout, running)
        finally:
            running.kill()


class _Ended:
    """What a process writes; its end is an end only if the process ended well, and wrote something."""

    def __init__(self, output: IO[bytes], running: subprocess.Popen[bytes]) -> None:
        self._output = output
        self._running = running
        self._empty = True

    def read(self, size: int, /) -> bytes:
        data = self._output.read(size)
        if not data and (self._running.wait() or self._empty):
            raise EOFError("it is no complete zstd frame")
        self._empty = False
        return data
