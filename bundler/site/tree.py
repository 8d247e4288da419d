"""One release's tree on the web root, being filled.

Files are written beside it and renamed into it when they are whole. Node files are made as a folder of their own: it
takes its place in one step, also in a tree that nodes read from meanwhile.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import logging
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from bundler.model.items import Object
from bundler.site.archive import Content as MemberContent
from bundler.site.archive import Member
from bundler.site.folders import link_target, make_folder, parent_of, regular, sync_folder, tidy
from bundler.site.releases import RELEASES, STAGING, InstalledRelease, Release

logger = logging.getLogger(__name__)

NODES = "nodes"
_CHUNK = 1 << 20
_AT_FDCWD, _EXCHANGE = -100, 2  # renameat2(2)


class Tree:
    """A release on its way to the web root.

    `published` says whether its tree is complete already: nodes may be reading from it.
    """

    def __init__(self, directory: Path, release: Release, earlier: list[InstalledRelease]) -> None:
        self.complete = directory / RELEASES / release.folder
        self._staged = directory / STAGING / release.folder
        self.parts = parts_of(directory, release)
        self.published = self.complete.is_dir()
        self.path = self.complete if self.published else make_folder(self._staged)
        self._paths: set[str] = set()
        self._numbers = itertools.count()
        self._earlier: dict[str, Path] = {}
        for other in earlier:
            for obj in other.manifest.payload:
                self._earlier.setdefault(obj.sha256, other.path / obj.path)
        shutil.rmtree(self.parts, ignore_errors=True)
        self._nodes = make_folder(self.parts) / NODES
        self._changed = False

    def add(self, path: str) -> bool:
        """Note that `path` belongs to the tree; False when it was noted before."""
        if path in self._paths:
            return False
        self._paths.add(path)
        return True

    def has(self, obj: Object, name: str, at: int) -> bool:
        """Whether the tree has `obj` already. A complete tree was verified when it was filled, a staged one is read."""
        found = regular(name, at=at)
        if found is None or found.st_size != obj.size or found.st_mode & 0o777 != served(obj.mode):
            return False
        return self.published or _sha256(name, at) == obj.sha256

    def link(self, obj: Object, name: str, at: int) -> bool:
        """Take `obj` from an earlier release's tree, if one has it."""
        source = self._earlier.get(obj.sha256)
        found = regular(source) if source else None
        if source is None or found is None:
            return False
        if found.st_size != obj.size or found.st_mode & 0o777 != served(obj.mode):
            return False
        part = self.part()
        try:
            os.link(source, part, follow_symlinks=False)
        except OSError as error:  # other file system, too many links, or links to others' files forbidden: write it
            logger.debug("cannot link %s: %s", source, error)
            return False
        os.rename(part, name, dst_dir_fd=at)
        part.unlink(missing_ok=True)  # a rename onto another link of the same file leaves both
        return True

    def write(self, name: str, at: int, mode: int, pour: Callable[[BinaryIO], None]) -> None:
        """Make `name` in the folder `at` with what `pour` writes; it appears whole, or not at all."""
        part = self.part()
        try:
            with part.open("xb") as to:
                os.fchmod(to.fileno(), mode)
                pour(to)
            os.rename(part, name, dst_dir_fd=at)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def put(self, path: str, data: bytes, mode: int) -> bool:
        """Have `data` at `path`, which is no node file; whether it had to be written."""
        self.add(path)
        with parent_of(self.path, path, make=True) as (at, name):
            found = regular(name, at=at)
            if found is not None and (found.st_size, found.st_mode & 0o777) == (len(data), served(mode)):
                with _opened_at(name, at) as file:
                    if file.read() == data:
                        return False
            self.write(name, at, served(mode), lambda to: pour([data], to))
        return True

    def put_node_file(self, path: str, data: bytes, mode: int) -> bool:
        """Have `data` at `path` among the new node files; whether the old ones differ there."""
        if not self.add(f"{NODES}/{path}"):
            return False
        with parent_of(make_folder(self._nodes), path, make=True) as (at, name):
            self.write(name, at, served(mode), lambda to: pour([data], to))
        return self._differs(path)

    def put_member(self, path: str, member: Member, content: MemberContent | None) -> bool:
        """Have `member` of an archive at `path` among the new node files; whether the old ones differ there."""
        if not self.add(f"{NODES}/{path}"):
            return False
        with parent_of(make_folder(self._nodes), path, make=True) as (at, name):
            if member.target is not None:
                os.symlink(member.target, name, dir_fd=at)
            else:
                assert content is not None, "a member without a target is a file"
                self.write(name, at, member.mode, lambda to: shutil.copyfileobj(content, to))
        return self._differs(path)

    def finish(self) -> None:
        """Have all of it on the disk, in place but for `publish`."""
        below = f"{NODES}/"
        nodes = {path.removeprefix(below) for path in self._paths if path.startswith(below)}
        if not self.published:
            shutil.rmtree(self._staged / NODES, ignore_errors=True)
            if nodes:
                self._nodes.rename(self._staged / NODES)
            tidy(self._staged, self._paths)
        elif not self._changed and files_below(self.complete / NODES) == nodes:
            shutil.rmtree(self._nodes, ignore_errors=True)
        else:
            make_folder(self._nodes)
        os.sync()  # the bytes are on the disk before the names that vouch for them

    def publish(self) -> None:
        """Make the tree complete. One that is complete already gets its new node files."""
        if not self.published:
            self._staged.rename(self.complete)
            sync_folder(self.complete.parent)
        elif self._nodes.is_dir():
            exchange(self._nodes, make_folder(self.complete / NODES))
            sync_folder(self.complete)

    def part(self) -> Path:
        """A free path on the same file system."""
        return self.parts / str(next(self._numbers))

    def _differs(self, path: str) -> bool:
        """Whether the new node file at `path` is another than the complete tree's."""
        same = self.published and _alike(self._nodes / path, self.complete / NODES / path)
        self._changed |= not same
        return not same


def parts_of(directory: Path, release: Release) -> Path:
    """The folder of what is being written for `release`, below the web root."""
    return directory / STAGING / f"{release.folder}.parts"


def exchange(one: Path, other: Path) -> None:
    """Let two folders swap their names, in one step where the file system can. Raises OSError."""
    renamed = ctypes.CDLL(None, use_errno=True).renameat2(
        _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE
    )
    if renamed != 0:  # NFS, for one, cannot
        aside = one.with_name(f"{one.name}.aside")
        other.rename(aside)
        one.rename(other)
        aside.rename(one)


def served(mode: int) -> int:
    """A file's permission bits on the web root: `mode`, and readable, since the web server runs as another user."""
    return (mode & 0o755) | 0o644


def pour(chunks: Iterable[bytes], to: BinaryIO) -> None:
    """Write all of `chunks`."""
    for chunk in chunks:
        to.write(chunk)


def files_below(folder: Path) -> set[str]:
    """Each file and symbolic link below `folder`, relative to it."""
    found = set()
    for here, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(here, name))]
        found |= {os.path.relpath(os.path.join(here, name), folder) for name in (*files, *links)}
    return found


def _alike(one: Path, other: Path) -> bool:
    """Whether two files have the same bytes and mode, or two links the same target."""
    targets = link_target(one), link_target(other)
    if targets != (None, None):
        return targets[0] == targets[1]
    found = regular(one), regular(other)
    if found[0] is None or found[1] is None:
        return False
    if (found[0].st_size, found[0].st_mode) != (found[1].st_size, found[1].st_mode):
        return False
    with one.open("rb") as first, other.open("rb") as second:
        while chunk := first.read(_CHUNK):
            if second.read(len(chunk)) != chunk:
                return False
    return True


def _sha256(name: str, at: int) -> str:
    digest = hashlib.sha256()
    with _opened_at(name, at) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _opened_at(name: str, at: int) -> BinaryIO:
    return os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at), "rb")
