"""Releases: what is installed on a site, and which of it is current. The manifests on the web root are the record."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bundler.bundle.manifest import MANIFEST, Manifest
from bundler.site.folders import make_folder, parent_of, sync_folder

# Below a web root. All start with a dot: nginx serves no such name, and no release can be called so.
RELEASES = ".releases"
STAGING = ".staging"
HISTORY = ".history"
BEFORE = ".before"  # by name, a link to the release that was current before: nginx falls back on its packages
PUBLISHED = ".published"  # by address, a link to each release that nodes may read: the current ones and those kept

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_ID = re.compile(r"[0-9a-f]{64}")
_SHORT = 12  # digits of an id that tell bundles apart


@dataclass(frozen=True, slots=True)
class Release:
    """One bundle as a site knows it: `id` is the bundle's, the sha256 of its manifest."""

    name: str
    version: str
    id: str

    def __post_init__(self) -> None:
        if not (_WORD.fullmatch(self.name) and _WORD.fullmatch(self.version) and _ID.fullmatch(self.id)):
            raise ValueError(f"no release: {self.name!r} {self.version!r} {self.id!r}")

    @property
    def folder(self) -> str:
        """Its folder's name on the web root."""
        return f"{self.name}-{self.version}-{self.short_id}"

    @property
    def short_id(self) -> str:
        """As many digits of its id as tell bundles apart."""
        return self.id[:_SHORT]

    def is_called(self, word: str) -> bool:
        """Whether `word` may mean it: its version, or its id in full or as the first 12 digits or more of it.

        With an `@` before it, which no version has, a word is an id.
        """
        is_id = len(word.removeprefix("@")) >= _SHORT and self.id.startswith(word.removeprefix("@"))
        return is_id or word == self.version

    @property
    def address(self) -> str:
        """Where nodes find it, current or not: below the web root's URL. No name or version has an `@`."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class InstalledRelease(Release):
    """A release whose tree is complete; `current` when nodes see it at `<web root>/<name>`.

    `published` is its address, with the id behind the version when a later bundle of the same version took the plain
    one; None when nodes cannot read it: it was taken off, or its first publication did not end.
    """

    current: bool
    published: str | None
    path: Path
    manifest: Manifest = field(repr=False, compare=False)


def installed(web_root: Path) -> Iterator[InstalledRelease]:
    """Every complete release below `web_root`, sorted by folder. Raises BundleError for a manifest that is none."""
    folder = web_root / RELEASES
    trees = sorted(folder.iterdir()) if folder.is_dir() else []
    addresses = {target.rpartition("/")[2]: name for name, target in _links(web_root / PUBLISHED).items()}
    for tree in trees:
        manifest = Manifest.from_bytes((tree / MANIFEST).read_bytes(), str(tree / MANIFEST))
        current, published = leads_to(web_root / manifest.name, tree), addresses.get(tree.name)
        yield InstalledRelease(manifest.name, manifest.version, manifest.id, current, published, tree, manifest)


def leads_to(link: Path, tree: Path) -> bool:
    """Whether `link` is the symbolic link that makes `tree` current."""
    return link.is_symlink() and link.readlink() == Path(RELEASES, tree.name)


def links_of(web_root: Path, name: str) -> dict[str, str]:
    """All that leads nodes to releases called `name`: each symbolic link below `web_root`, and its target."""
    found = {f"{PUBLISHED}/{link}": target for link, target in _links(web_root / PUBLISHED).items()}
    found = {link: target for link, target in found.items() if link.startswith(f"{PUBLISHED}/{name}@")}
    for link in (name, f"{BEFORE}/{name}"):
        if (web_root / link).is_symlink():
            found[link] = os.readlink(web_root / link)
    return found


def set_link(web_root: Path, link: str, target: str | Path, part: Path) -> None:
    """Have `link` below `web_root` lead to `target`, in one step and for good; `part` is a free path."""
    place = web_root / link
    make_folder(place.parent)
    part.symlink_to(target)
    part.rename(place)
    sync_folder(place.parent)


def publish(web_root: Path, release: Release, part: Path) -> None:
    """Let nodes find `release` at its address. Another of that version moves aside: its id stands behind it then."""
    link = web_root / PUBLISHED / release.address
    there = link.readlink().name if link.is_symlink() else None
    if there == release.folder:
        return
    if there is not None:
        set_link(web_root, f"{PUBLISHED}/{release.address}@{there[-_SHORT:]}", Path("..", RELEASES, there), part)
    set_link(web_root, f"{PUBLISHED}/{release.address}", Path("..", RELEASES, release.folder), part)
    (web_root / PUBLISHED / f"{release.address}@{release.short_id}").unlink(missing_ok=True)


def unpublish(web_root: Path, release: Release) -> None:
    """Take `release` away from its address, if it has one."""
    for link, target in _links(web_root / PUBLISHED).items():
        if target.rpartition("/")[2] == release.folder:
            (web_root / PUBLISHED / link).unlink()


def note_before(web_root: Path, name: str, part: Path) -> None:
    """Note which release of `name` is current, for it will not be any more; `part` is a free path."""
    link = web_root / name
    if link.is_symlink():
        set_link(web_root, f"{BEFORE}/{name}", Path("..", link.readlink()), part)


def forget_before(web_root: Path, release: Release) -> None:
    """Take the note away, if it is of `release`."""
    link = web_root / BEFORE / release.name
    if link.is_symlink() and link.readlink().name == release.folder:
        link.unlink()


def note_current(web_root: Path, release: Release) -> None:
    """Note that `release` is current from now on."""
    with parent_of(web_root, f"{HISTORY}/{release.name}", make=True) as (at, name):
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(name, flags, 0o644, dir_fd=at), "r+b", buffering=0) as note:
            os.fchmod(note.fileno(), 0o644)
            lines = note.read()
            line = f"{release.folder}\n".encode()
            if not lines.endswith(line):
                ended = not lines or lines.endswith(b"\n")  # else a full disk cut it off
                note.write(line if ended else b"\n" + line)


def _links(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        return {}
    return {link.name: os.readlink(link) for link in sorted(folder.iterdir()) if link.is_symlink()}


def by_currency(web_root: Path, releases: Iterable[InstalledRelease]) -> list[InstalledRelease]:
    """`releases` of one name, the one that is or was current last first; those that never were come at the end."""
    found = list(releases)
    lines: list[str] = []
    if found and (file := web_root / HISTORY / found[0].name).is_file():
        lines = file.read_text().splitlines()
    last = {folder: number for number, folder in enumerate(lines)}
    return sorted(found, key=lambda release: (release.current, last.get(release.folder, -1)), reverse=True)
