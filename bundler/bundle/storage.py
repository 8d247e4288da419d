"""Where a bundle's bytes lie: in one file, in the volumes that it was split into, or on their way in a pipe.

Volumes are plain parts: `cat base-1.tar.001 base-1.tar.002 … > base-1.tar` joins them too. `base-1.tar.volumes.json`
names them in order with size and sha256, so that a bad or missing one is known by its name, and the others need not be
carried again.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from bisect import bisect_right
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from bundler.errors import BundleError, IntegrityError
from bundler.files import open_regular, read_small
from bundler.model.problems import first_problem

STDIN = Path("-")
INDEX_SUFFIX = ".volumes.json"
MOST_VOLUMES = 9999
_PART = re.compile(r"(.+)\.\d{3,}")
_INDEX_LIMIT = 4 << 20
_CHUNK = 1 << 20
_AT_ONCE = 4
_SHOWN = 10  # volumes in a message
_LONGEST = 200  # letters of a bundle's name

# NAME-VERSION.tar, NAME-VERSION.delta.tar: what `join` and `sign` write beside it can be no other sort of file.
_BUNDLE = re.compile(r"[a-z0-9][a-z0-9._-]*-[A-Za-z0-9][A-Za-z0-9._+-]*\.tar")
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=255)]


def is_bundle_name(name: str) -> bool:
    """Whether a file is called as `build` calls bundles."""
    return _BUNDLE.fullmatch(name) is not None and len(name) <= _LONGEST


def _check_bundle_name(name: str) -> str:
    if not is_bundle_name(name):
        raise ValueError("it is not called NAME-VERSION.tar")
    return name


class Volume(BaseModel):
    """One part: its file, beside the index; `size` in bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: FileName
    size: int = Field(ge=1)
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Index(BaseModel):
    """The volumes of a bundle in order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    volumes_format: Literal[1] = 1
    bundle: Annotated[str, AfterValidator(_check_bundle_name)]
    size: int
    volumes: tuple[Volume, ...] = Field(min_length=1, max_length=MOST_VOLUMES)


class Storage(Protocol):
    """The bytes of a bundle, to be read from several threads; a `once` one in their order, and by one thread."""

    @property
    def once(self) -> bool: ...

    @property
    def size(self) -> int | None:
        """In bytes; None where that shows at the end only."""
        ...

    def pread(self, size: int, offset: int) -> bytes:
        """At most `size` bytes at `offset`; none behind the end. Raises OSError."""
        ...

    def readinto(self, buffer: memoryview, offset: int) -> int:
        """The same into `buffer`, as much as fits; gives how many bytes it was."""
        ...

    def piece(self, size: int, offset: int) -> tuple[int, int] | None:
        """The file descriptor and offset there of a range that lies in one file, None when it does not."""
        ...

    def blame(self, size: int, offset: int) -> str:
        """Which part of the storage is damaged, where a range was found to be; empty when there is but one."""
        ...

    def passed(self, offset: int) -> None:
        """What lies before `offset` will not be asked for any more."""
        ...

    def close(self) -> None: ...


def open_storage(path: Path) -> Storage:
    """The storage at `path`: a bundle, a volume or the index of volumes, a folder with one of these indexes; `-` is the
    standard input.

    Raises BundleError when it is none of that, IntegrityError naming volumes that are missing or of a wrong size.
    """
    if path == STDIN:
        return Pipe(0)
    try:
        index = find_index(path)
        return Volumes(index) if index else File(path)
    except OSError as error:
        raise BundleError(
            f"cannot open {path}: {error.strerror}", hint="name the .tar file that `bundler build` made"
        ) from error


class File:
    """A bundle in one file."""

    once = False

    def __init__(self, path: Path) -> None:
        self._fd = open_regular(path)
        self.size = os.fstat(self._fd).st_size

    def pread(self, size: int, offset: int) -> bytes:
        return os.pread(self._fd, size, offset)

    def readinto(self, buffer: memoryview, offset: int) -> int:
        return os.preadv(self._fd, [buffer], offset)

    def piece(self, size: int, offset: int) -> tuple[int, int] | None:
        del size
        return self._fd, offset

    def blame(self, size: int, offset: int) -> str:
        del size, offset
        return ""

    def passed(self, offset: int) -> None:
        del offset

    def close(self) -> None:
        os.close(self._fd)


class Pipe:
    """A bundle that comes in a pipe: its head is kept until it was read, and of the rest what is asked for next."""

    once = True
    size = None

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._held = bytearray()
        self._start = 0  # offset of what is held

    def pread(self, size: int, offset: int) -> bytes:
        if offset < self._start:
            raise BundleError("a bundle in a pipe can be read once", hint="save it to a file for that")
        while len(self._held) < offset + size - self._start:
            chunk = os.read(self._fd, _CHUNK)
            if not chunk:
                break
            self._held += chunk
        at = offset - self._start
        return bytes(self._held[at : at + size])

    def readinto(self, buffer: memoryview, offset: int) -> int:
        found = self.pread(len(buffer), offset)
        buffer[: len(found)] = found
        return len(found)

    def piece(self, size: int, offset: int) -> tuple[int, int] | None:
        del size, offset
        return None

    def blame(self, size: int, offset: int) -> str:
        del size, offset
        return ""

    def passed(self, offset: int) -> None:
        del self._held[: offset - self._start]
        self._start = offset

    def close(self) -> None:
        pass


class Volumes:
    """A bundle in volumes, which all lie beside their index."""

    once = False

    def __init__(self, index: Path) -> None:
        found = read_index(index)
        self.size = found.size
        self._volumes = found.volumes
        self._starts = list(accumulate((volume.size for volume in found.volumes[:-1]), initial=0))
        self._fds = open_volumes(index, found)

    def pread(self, size: int, offset: int) -> bytes:
        for number, start in self._touched(1, offset):
            return os.pread(self._fds[number], size, offset - start)
        return b""

    def readinto(self, buffer: memoryview, offset: int) -> int:
        for number, start in self._touched(1, offset):
            return os.preadv(self._fds[number], [buffer], offset - start)
        return 0

    def piece(self, size: int, offset: int) -> tuple[int, int] | None:
        touched = list(self._touched(size, offset))
        if len(touched) != 1:
            return None
        ((number, start),) = touched
        return self._fds[number], offset - start

    def blame(self, size: int, offset: int) -> str:
        touched = [number for number, _ in self._touched(size, offset)]
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            digests = list(threads.map(lambda number: _sha256(self._fds[number]), touched))
        volumes = [self._volumes[number] for number in touched]
        bad = [volume.file for volume, digest in zip(volumes, digests, strict=True) if volume.sha256 != digest]
        return ", ".join(bad)

    def passed(self, offset: int) -> None:
        del offset

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)

    def _touched(self, size: int, offset: int) -> Iterator[tuple[int, int]]:
        """Number and start of each volume that has something of a range."""
        for number in range(max(bisect_right(self._starts, offset) - 1, 0), len(self._volumes)):
            start = self._starts[number]
            if start >= offset + size:
                return
            if offset < start + self._volumes[number].size:
                yield number, start


def read_index(path: Path) -> Index:
    """The index at `path`. Raises BundleError when it is none."""
    hint = "name the file that `bundler split` wrote beside the volumes"
    try:
        index = Index.model_validate_json(read_small(path, _INDEX_LIMIT))
    except OSError as error:
        raise BundleError(f"{path} is no index of volumes: {error.strerror}", hint=hint) from None
    except ValidationError as error:
        raise BundleError(f"{path} is no index of volumes: {first_problem(error)}", hint=hint) from None
    named = all(volume.file == volume_name(index.bundle, number) for number, volume in enumerate(index.volumes, 1))
    if not named or sum(volume.size for volume in index.volumes) != index.size:
        raise BundleError(f"{path} is no index of volumes: its sizes or names do not fit together", hint=hint)
    return index


def volume_name(bundle: str, number: int) -> str:
    """The file of a bundle's volume; they count from 1."""
    return f"{bundle}.{number:03}"


def find_index(path: Path) -> Path | None:
    """The index of the volumes at `path`, which is a folder, a volume or the index; None for any other file.

    Raises BundleError for a folder that has not exactly one.
    """
    if path.is_dir():
        found = sorted(path.glob(f"*{INDEX_SUFFIX}"))
        if len(found) != 1:
            raise BundleError(
                f"{path} holds {len(found) or 'no'} indexes of volumes (*{INDEX_SUFFIX})",
                hint="name the bundle, one of its volumes, or the folder that has one bundle's volumes",
            )
        return found[0]
    if path.name.endswith(INDEX_SUFFIX):
        return path
    part = _PART.fullmatch(path.name)
    index = path.with_name(f"{part[1]}{INDEX_SUFFIX}") if part else None
    return index if index and index.exists() else None


def open_volumes(index: Path, found: Index) -> list[int]:
    """The descriptors of all volumes, each of its size. Raises IntegrityError naming those that are missing or are not,
    OSError when there are more than may be open at once.
    """
    fds, problems = [], []
    try:
        for volume in found.volumes:
            try:
                fds.append(open_regular(index.parent / volume.file))
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    raise
                missing = isinstance(error, FileNotFoundError)
                problems.append(f"{volume.file} is missing" if missing else f"{volume.file}: {error.strerror}")
                continue
            if (size := os.fstat(fds[-1]).st_size) != volume.size:
                problems.append(f"{volume.file} has {size} bytes instead of {volume.size}")
        if problems:
            more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
            raise IntegrityError(
                f"of the {len(found.volumes)} volumes of {found.bundle}, {'; '.join([*problems[:_SHOWN], *more])}",
                hint=f"bring {'it' if len(problems) == 1 else 'them'} to {index.parent}; "
                "the others need not be sent again",
            )
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    return fds


def _sha256(fd: int) -> str:
    digest = hashlib.sha256()
    offset = 0
    while chunk := os.pread(fd, _CHUNK, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()
