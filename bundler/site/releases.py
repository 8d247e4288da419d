"""Releases: what is installed on a site, and which of it is current. The manifests on the web root are the record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bundler.bundle.manifest import MANIFEST, Manifest

# Below a web root. All start with a dot: nginx serves no such name, and no release can be called so.
RELEASES = ".releases"
STAGING = ".staging"
HISTORY = ".history"
BEFORE = ".before"  # by name, a link to the release that was current before: nginx falls back on its packages

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_ID = re.compile(r"[0-9a-f]{64}")


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
        return f"{self.name}-{self.version}-{self.id[:12]}"


@dataclass(frozen=True, slots=True)
class InstalledRelease(Release):
    """A release whose tree is complete; `current` when nodes see it at `<web root>/<name>`."""

    current: bool
    path: Path
    manifest: Manifest = field(repr=False, compare=False)


def installed(web_root: Path) -> Iterator[InstalledRelease]:
    """Every complete release below `web_root`, sorted by folder. Raises BundleError for a manifest that is none."""
    folder = web_root / RELEASES
    trees = sorted(folder.iterdir()) if folder.is_dir() else []
    for tree in trees:
        manifest = Manifest.from_bytes((tree / MANIFEST).read_bytes(), str(tree / MANIFEST))
        current = leads_to(web_root / manifest.name, tree)
        yield InstalledRelease(manifest.name, manifest.version, manifest.id, current, tree, manifest)


def leads_to(link: Path, tree: Path) -> bool:
    """Whether `link` is the symbolic link that makes `tree` current."""
    return link.is_symlink() and link.readlink() == Path(RELEASES, tree.name)


def note_before(web_root: Path, name: str, part: Path) -> None:
    """Note which release of `name` is current, for it will not be any more; `part` is a free path."""
    link = web_root / name
    if link.is_symlink():
        folder = web_root / BEFORE
        folder.mkdir(mode=0o755, exist_ok=True)
        part.symlink_to(Path("..", link.readlink()))
        part.rename(folder / name)


def forget_before(web_root: Path, release: Release) -> None:
    """Take the note away, if it is of `release`."""
    link = web_root / BEFORE / release.name
    if link.is_symlink() and link.readlink().name == release.folder:
        link.unlink()


def note_current(web_root: Path, release: Release) -> None:
    """Note that `release` is current from now on."""
    folder = web_root / HISTORY
    folder.mkdir(mode=0o755, exist_ok=True)
    with (folder / release.name).open("a") as file:
        file.write(f"{release.folder}\n")


def by_currency(web_root: Path, releases: Iterable[InstalledRelease]) -> list[InstalledRelease]:
    """`releases` of one name, the one that is or was current last first; those that never were come at the end."""
    found = list(releases)
    lines: list[str] = []
    if found and (file := web_root / HISTORY / found[0].name).is_file():
        lines = file.read_text().splitlines()
    last = {folder: number for number, folder in enumerate(lines)}
    return sorted(found, key=lambda release: (release.current, last.get(release.folder, -1)), reverse=True)
