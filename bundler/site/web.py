"""The web root: one tree per release, and a symbolic link to the current one.

    <web root>/<name>                                → .releases/<name>-<version>-<id>, what nodes see
    <web root>/.releases/<name>-<version>-<id>/      complete trees: rpms, files, keys, nodes, manifest.json
    <web root>/.published/<name>@<version>           → ../.releases/…, each release that nodes may read
    <web root>/.staging/<name>-<version>-<id>/       a tree being filled; an interrupted load goes on in it
    <web root>/.history/<name>                       folders of its releases, in the order in which they were current
    <web root>/.staging/<name>-<version>-<id>.parts/ files being written; each is renamed into its tree when verified

Publishing a release is a few renames: its tree into .releases, then the links to it, the one over the earlier release's
last.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bundler.bundle.content import Content
from bundler.bundle.manifest import MANIFEST
from bundler.errors import SiteError, SpaceError
from bundler.model.items import Object
from bundler.model.node_files import NodeFiles
from bundler.site.archive import members
from bundler.site.folders import make_folder, parent_of
from bundler.site.releases import (
    BEFORE,
    HISTORY,
    PUBLISHED,
    RELEASES,
    STAGING,
    InstalledRelease,
    Release,
    forget_before,
    installed,
    leads_to,
    links_of,
    note_before,
    note_current,
    publish,
    set_link,
    unpublish,
)
from bundler.site.tree import NODES, Tree, exchange, parts_of, pour, served

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WebState:
    """What nodes see of one name on the web root, as far as publishing a release changes it.

    `links` has each symbolic link to releases of the name with its target; `nodes` is the inode of the release's folder
    of node files, None while its tree is not complete.
    """

    links: Mapping[str, str]
    nodes: int | None


class WebRoot:
    """The folder that nginx, or another web server, shows to nodes. Methods may be called from several threads.

    `bytes_written` and `objects_written` count what was really written: a hard link or a file already there is none.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bytes_written = 0
        self.objects_written = 0
        self._counting = threading.Lock()
        self._load: tuple[Release, Tree] | None = None

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
        self._load = release, Tree(self.directory, release, earlier)

    def stage(self, obj: Object, content: Content) -> None:
        """Put `obj` at its path in the open release: a file that is right stays, an earlier release's is linked, else
        its bytes are written.

        Raises IntegrityError (from `content`), SpaceError when the file system is full, SiteError when it refuses.
        """
        _, tree = self._opened()
        if not tree.add(obj.path):
            return
        with _told(tree.path / obj.path), parent_of(tree.path, obj.path, make=True) as (at, name):
            if tree.has(obj, name, at) or tree.link(obj, name, at):
                return
            tree.write(name, at, served(obj.mode), lambda to: pour(content.stream(obj), to))
        self._count(obj.size)

    def finish(self, manifest: bytes, nodes: NodeFiles) -> None:
        """Have all of the open release in place but its names: `manifest`, and `nodes` with what their archives hold.

        What can be refused is refused here, and nodes see nothing of it. Raises BundleError for an archive that cannot
        be unpacked, SpaceError, SiteError.
        """
        _, tree = self._opened()
        for file in nodes.files:
            data = file.content.encode()
            with _told(tree.path / NODES / file.path):
                if tree.put_node_file(file.path, data, file.mode):
                    self._count(len(data))
        for each in nodes.trees:
            for member, content in members(tree.path / each.archive):
                path = f"{each.path}/{member.path}"
                with _told(tree.path / NODES / path):
                    if tree.put_member(path, member, content):
                        self._count(member.size)
        with _told(tree.path):
            if tree.put(MANIFEST, manifest, 0o644):
                self._count(len(manifest))
            tree.finish()

    def state(self, release: Release) -> WebState:
        """What nodes see of the releases that are called as `release` is: what `restore` brings back."""
        nodes = self.directory / RELEASES / release.folder / NODES
        return WebState(links_of(self.directory, release.name), _inode(nodes.parent) and (_inode(nodes) or 0))

    def commit(self) -> None:
        """Publish the open release, which is finished: the link to it comes last."""
        release, tree = self._opened()
        link = self.directory / release.name
        with _told(self.directory):
            tree.publish()
            publish(self.directory, release, tree.part())
            if not leads_to(link, tree.complete):
                note_before(self.directory, release.name, tree.part())
                set_link(self.directory, release.name, Path(RELEASES, release.folder), tree.part())
            note_current(self.directory, release)
            shutil.rmtree(tree.parts, ignore_errors=True)
        self._load = None

    def is_switched(self, release: Release, before: WebState) -> bool:
        """Whether publishing `release` has come to its end since `before`: its name led elsewhere, and leads to it."""
        target = str(Path(RELEASES, release.folder))
        return links_of(self.directory, release.name).get(release.name) == target != before.links.get(release.name)

    def restore(self, release: Release, before: WebState) -> None:
        """Undo what publishing `release` has changed since `before`. What was loaded stays, for the next try."""
        parts, complete = make_folder(parts_of(self.directory, release)), self.directory / RELEASES / release.folder
        part = parts / "link"
        with _told(self.directory):
            part.unlink(missing_ok=True)
            now = links_of(self.directory, release.name)
            for link, target in before.links.items():
                if now.get(link) != target:
                    set_link(self.directory, link, target, part)
            for link in now.keys() - before.links.keys():
                (self.directory / link).unlink()
            nodes = parts / NODES
            if before.nodes is None and complete.is_dir():
                complete.rename(self.directory / STAGING / release.folder)
            elif before.nodes and _inode(nodes) == before.nodes:
                exchange(nodes, complete / NODES)
        self._load = None

    def unlink(self, name: str) -> None:
        """Take every release called `name` away from the nodes, current or kept; their trees stay."""
        for link in links_of(self.directory, name):
            (self.directory / link).unlink()

    def unpublish(self, release: Release) -> None:
        """Take a release, current or earlier, away from the nodes; its tree stays."""
        link = self.directory / release.name
        if leads_to(link, self.directory / RELEASES / release.folder):
            link.unlink()
        forget_before(self.directory, release)
        unpublish(self.directory, release)

    def remove(self, release: Release) -> None:
        """Delete the tree of `release`, complete or staged. It must not be published."""
        complete, staged = (self.directory / tree / release.folder for tree in (RELEASES, STAGING))
        shutil.rmtree(staged, ignore_errors=True)
        if complete.is_dir():  # at once: half a tree would be no release
            make_folder(staged.parent, mode=0o700)
            complete.rename(staged)
            shutil.rmtree(staged, ignore_errors=True)

    def remove_all(self) -> None:
        """Delete every release and what was staged, and the folder too when nothing else is in it."""
        for release in self.releases():
            self.unlink(release.name)
            self.remove(release)
        for tree in (RELEASES, STAGING, HISTORY, BEFORE, PUBLISHED):
            shutil.rmtree(self.directory / tree, ignore_errors=True)
        with suppress(OSError):
            self.directory.rmdir()

    def staged_bytes(self) -> int:
        """Bytes of the files in the open release's tree."""
        if self._load is None:
            return 0
        return sum(path.lstat().st_size for path in self._load[1].path.rglob("*") if path.is_file())

    def _opened(self) -> tuple[Release, Tree]:
        if self._load is None:
            raise RuntimeError("no release is open on the web root")
        return self._load

    def _count(self, size: int) -> None:
        with self._counting:
            self.bytes_written += size
            self.objects_written += 1


def _inode(path: Path) -> int | None:
    try:
        return os.stat(path, follow_symlinks=False).st_ino
    except FileNotFoundError:
        return None


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
