"""The web root: one tree per release, and a symbolic link to the current one.

    <web root>/<name>                                → .releases/<name>-<version>-<id>, what nodes see
    <web root>/.releases/<name>-<version>-<id>/      complete trees: rpms, files, keys, nodes, manifest.json
    <web root>/.staging/<name>-<version>-<id>/       a tree being filled; an interrupted load goes on in it
    <web root>/.history/<name>                       folders of its releases, in the order in which they were current
    <web root>/.staging/<name>-<version>-<id>.parts/ files being written; each is renamed into its tree when verified

Publishing a release is two renames: its tree into .releases, then the link over the earlier one.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import itertools
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bundler.bundle.content import Content
from bundler.bundle.manifest import MANIFEST
from bundler.errors import SiteError, SpaceError
from bundler.model.items import Object
from bundler.model.node_files import NodeFiles, NodeTree
from bundler.site.archive import Member, members
from bundler.site.folders import link_target, make_folder, parent_of, regular, sync_folder, tidy
from bundler.site.releases import (
    BEFORE,
    HISTORY,
    RELEASES,
    STAGING,
    InstalledRelease,
    Release,
    forget_before,
    installed,
    leads_to,
    note_before,
    note_current,
)

logger = logging.getLogger(__name__)

NODES = "nodes"
_CHUNK = 1 << 20


class WebRoot:
    """The folder that nginx, or another web server, shows to nodes. Methods may be called from several threads.

    `bytes_written` and `objects_written` count what was really written: a hard link or a file already there is none.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bytes_written = 0
        self.objects_written = 0
        self._counting = threading.Lock()
        self._load: _Load | None = None

    def releases(self) -> list[InstalledRelease]:
        """What is installed. Raises BundleError when a release's manifest was damaged."""
        return list(installed(self.directory))

    def open(self, release: Release) -> None:
        """Begin to load `release`: into its complete tree where there is one, else into its staging tree.

        Raises SiteError when something that is not bundler's stands in the way.
        """
        link = self.directory / release.name
        if link.exists() and not link.is_symlink():
            raise SiteError(
                f"{link} is in the way: it is no link of bundler's",
                hint="move it aside: the release will be served under that name",
            )
        make_folder(self.directory)
        make_folder(self.directory / STAGING, mode=0o700)
        make_folder(self.directory / RELEASES)
        earlier = self.releases()
        for other in earlier:
            if other.folder == release.folder and other.id != release.id:
                raise SiteError(f"{other.path} holds another bundle of that name", hint="uninstall it first")
        self._load = _Load(self.directory, release, earlier)

    def stage(self, obj: Object, content: Content) -> None:
        """Put `obj` at its path in the open release: a file that is right stays, an earlier release's is linked, else
        its bytes are written.

        Raises IntegrityError (from `content`), SpaceError when the file system is full, SiteError when it refuses.
        """
        load = self._opened()
        if not load.add(obj.path):
            return
        with _told(load.tree / obj.path), parent_of(load.tree, obj.path, make=True) as (at, name):
            if load.has(obj, name, at) or load.link(obj, name, at):
                return
            load.write(name, at, _served(obj.mode), lambda to: _pour(content.stream(obj), to))
        self._count(obj.size)

    def commit(self, manifest: bytes, nodes: NodeFiles) -> None:
        """Publish the open release: its tree with `manifest` and `nodes`, and then, in one step, the link to it."""
        load = self._opened()
        for file in nodes.files:
            self._put(load, f"{NODES}/{file.path}", file.content.encode(), file.mode)
        for tree in nodes.trees:
            self._unpack(load, tree)
        self._put(load, MANIFEST, manifest, 0o644)
        with _told(self.directory):
            load.tidy()
            load.publish()
            shutil.rmtree(load.parts, ignore_errors=True)
        self._load = None

    def unlink(self, name: str) -> None:
        """Take what is current under `name` away from the nodes; its trees stay."""
        link = self.directory / name
        if link.is_symlink():
            link.unlink()

    def remove(self, release: Release) -> None:
        """Delete the tree of `release`, complete or staged. It must not be current."""
        forget_before(self.directory, release)
        for tree in (RELEASES, STAGING):
            shutil.rmtree(self.directory / tree / release.folder, ignore_errors=True)

    def remove_all(self) -> None:
        """Delete every release and what was staged, and the folder too when nothing else is in it."""
        for name in {release.name for release in self.releases()}:
            self.unlink(name)
        for tree in (RELEASES, STAGING, HISTORY, BEFORE):
            shutil.rmtree(self.directory / tree, ignore_errors=True)
        with suppress(OSError):
            self.directory.rmdir()

    def staged_bytes(self) -> int:
        """Bytes of the files in the open release's tree."""
        if self._load is None:
            return 0
        return sum(path.lstat().st_size for path in self._load.tree.rglob("*") if path.is_file())

    def _put(self, load: _Load, path: str, data: bytes, mode: int) -> None:
        load.add(path)
        with _told(load.tree / path), parent_of(load.tree, path, make=True) as (at, name):
            if _same(name, at, data, _served(mode)):
                return
            load.write(name, at, _served(mode), lambda to: _pour([data], to))
        self._count(len(data))

    def _unpack(self, load: _Load, tree: NodeTree) -> None:
        for member, content in members(load.tree / tree.archive):
            path = f"{NODES}/{tree.path}/{member.path}"
            if not load.add(path):
                continue
            with _told(load.tree / path), parent_of(load.tree, path, make=True) as (at, name):
                if load.has_member(member, name, at):
                    continue
                if member.target is not None:
                    load.symlink(name, at, member.target)
                else:
                    assert content is not None, "a member without a target is a file"
                    load.write(name, at, member.mode, functools.partial(shutil.copyfileobj, content))
            self._count(member.size)

    def _opened(self) -> _Load:
        if self._load is None:
            raise RuntimeError("no release is open on the web root")
        return self._load

    def _count(self, size: int) -> None:
        with self._counting:
            self.bytes_written += size
            self.objects_written += 1


class _Load:
    """One release on its way to the web root."""

    def __init__(self, directory: Path, release: Release, earlier: list[InstalledRelease]) -> None:
        self._directory = directory
        self._release = release
        self._complete = directory / RELEASES / release.folder
        self._staged = directory / STAGING / release.folder
        self.parts = directory / STAGING / f"{release.folder}.parts"
        self.published = self._complete.is_dir()
        self.tree = self._complete if self.published else make_folder(self._staged)
        self.paths: set[str] = set()
        self._numbers = itertools.count()
        self._earlier: dict[str, Path] = {}
        for other in earlier:
            for obj in other.manifest.payload:
                self._earlier.setdefault(obj.sha256, other.path / obj.path)
        shutil.rmtree(self.parts, ignore_errors=True)
        make_folder(self.parts)

    def add(self, path: str) -> bool:
        """Note that `path` belongs to the tree; False when it was noted before."""
        if path in self.paths:
            return False
        self.paths.add(path)
        return True

    def has(self, obj: Object, name: str, at: int) -> bool:
        """Whether the tree has `obj` already. A complete tree was verified when it was filled, a staged one is read."""
        found = regular(name, at=at)
        if found is None or found.st_size != obj.size or found.st_mode & 0o777 != _served(obj.mode):
            return False
        return self.published or _sha256(name, at) == obj.sha256

    def has_member(self, member: Member, name: str, at: int) -> bool:
        """Whether a complete tree has `member` already; what a staged one has of it is made again."""
        if member.target is not None:
            return link_target(name, at=at) == member.target
        found = regular(name, at=at)
        return (
            self.published
            and found is not None
            and (found.st_size, found.st_mode & 0o777) == (member.size, member.mode)
        )

    def link(self, obj: Object, name: str, at: int) -> bool:
        """Take `obj` from an earlier release's tree, if one has it."""
        source = self._earlier.get(obj.sha256)
        found = regular(source) if source else None
        if source is None or found is None:
            return False
        if found.st_size != obj.size or found.st_mode & 0o777 != _served(obj.mode):
            return False
        part = self._part()
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
        part = self._part()
        try:
            with part.open("xb") as to:
                os.fchmod(to.fileno(), mode)
                pour(to)
            os.rename(part, name, dst_dir_fd=at)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def symlink(self, name: str, at: int, target: str) -> None:
        """Make `name` in the folder `at` a symbolic link to `target`."""
        part = self._part()
        part.symlink_to(target)
        os.rename(part, name, dst_dir_fd=at)

    def tidy(self) -> None:
        """Remove what does not belong: in a staged tree anything unknown, in a complete one earlier node files."""
        below = f"{NODES}/" if self.published else ""
        tidy(self.tree / below, {path.removeprefix(below) for path in self.paths if path.startswith(below)})

    def publish(self) -> None:
        """Make the tree complete, and current."""
        if not self.published:
            os.sync()  # the bytes are on the disk before the names that vouch for them
            self._staged.rename(self._complete)
            sync_folder(self._complete.parent)  # and the tree before the link that leads to it
        link = self._directory / self._release.name
        if not leads_to(link, self._complete):
            note_before(self._directory, self._release.name, self._part())
            new = self._part()
            new.symlink_to(Path(RELEASES, self._complete.name))
            new.rename(link)
            sync_folder(self._directory)
            note_current(self._directory, self._release)

    def _part(self) -> Path:
        return self.parts / str(next(self._numbers))


def _served(mode: int) -> int:
    """A file's permission bits on the web root: `mode`, and readable, since the web server runs as another user."""
    return (mode & 0o755) | 0o644


def _pour(chunks: Iterable[bytes], to: BinaryIO) -> None:
    for chunk in chunks:
        to.write(chunk)


def _sha256(name: str, at: int) -> str:
    digest = hashlib.sha256()
    with _opened_at(name, at) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _same(name: str, at: int, data: bytes, mode: int) -> bool:
    found = regular(name, at=at)
    if found is None or found.st_size != len(data) or found.st_mode & 0o777 != mode:
        return False
    with _opened_at(name, at) as file:
        return file.read() == data


def _opened_at(name: str, at: int) -> BinaryIO:
    return os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at), "rb")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say what the file system refused, and where."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SpaceError(
                f"{path}: no space left",
                hint="make room and run it again: what has arrived is kept",
            ) from None
        raise SiteError(
            f"{path}: {error.strerror}",
            hint="see who owns the folder, and whether its file system is writable; then run it again",
        ) from None
