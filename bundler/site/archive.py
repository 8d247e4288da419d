"""The members of a tar archive that a bundle carries. Its bytes were verified; what they say is taken with care."""

from __future__ import annotations

import itertools
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bundler.errors import BundleError
from bundler.limits import Limit, LimitExceeded
from bundler.model.contents import check_path
from bundler.tarball import BROKEN, open_tar

# A source tree has thousands of files and some megabytes; an archive far beyond that was not made to be one.
_MEMBERS = Limit("the members of a source archive", 100_000, "members")
_UNPACKED = Limit("a source archive, decompressed", 2 << 30)


@dataclass(frozen=True, slots=True)
class Member:
    """A file, or a symbolic link to `target`. `path` leaves the archive's top folder away; `size` is in bytes."""

    path: str
    size: int
    mode: int
    target: str | None = None


class Content:
    """A file's bytes. They are only there until the next member is asked for."""

    def __init__(self, file: IO[bytes], archive: Path) -> None:
        self._file = file
        self._archive = archive

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes. Raises BundleError where the archive ends too early."""
        try:
            return self._file.read(size)
        except (*BROKEN, LimitExceeded) as error:
            raise _refused(self._archive, str(error)) from None


def members(archive: Path) -> Iterator[tuple[Member, Content | None]]:
    """The files and links of `archive` (tar, also compressed), in its order; a file with its bytes.

    Raises BundleError for what is no archive, and for a member that leads out of it, is neither file, folder nor
    symbolic link, or makes it larger than a source tree can be.
    """
    try:
        with archive.open("rb") as source, open_tar(source, unpacked=_UNPACKED, members=_MEMBERS) as opened:
            for entry in opened:
                if not entry.isdir():
                    file = opened.extractfile(entry) if entry.isreg() else None
                    yield _member(entry, archive), Content(file, archive) if file else None
    except (*BROKEN, LimitExceeded) as error:
        raise _refused(archive, str(error)) from None


def _member(entry: tarfile.TarInfo, archive: Path) -> Member:
    try:
        path = check_path(entry.name.removeprefix("./").partition("/")[2])
    except ValueError:
        raise _refused(archive, f"a member called {entry.name[:80]!r}") from None
    if entry.isreg():
        return Member(path, entry.size, 0o755 if entry.mode & 0o100 else 0o644)
    if not entry.issym():
        raise _refused(archive, f"{path} is neither a file nor a symbolic link")
    if not _stays_inside(path, entry.linkname):
        raise _refused(archive, f"{path} leads out of it, to {entry.linkname[:80]!r}")
    return Member(path, 0, 0o777, entry.linkname)


def _stays_inside(path: str, target: str) -> bool:
    """Whether the link `path` can only lead to what lies in the archive.

    Steps up may only stand first: behind the name of another link, `..` would go up from wherever that one leads.
    """
    steps = target.split("/")
    up = len(list(itertools.takewhile(lambda step: step == "..", steps)))
    return not target.startswith("/") and ".." not in steps[up:] and up <= path.count("/")


def _refused(archive: Path, why: str) -> BundleError:
    return BundleError(
        f"{archive.name}: this archive cannot be unpacked: {why}",
        hint="see where the bundle's profile took it from; a release's own source archive has nothing of the kind",
    )
