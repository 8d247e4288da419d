"""Bundles of one name and version in a folder: whole or a difference, and each as volumes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bundler.bundle.manifest import Manifest
from bundler.bundle.reader import Bundle
from bundler.bundle.signature import SUFFIX
from bundler.bundle.storage import INDEX_SUFFIX, read_index
from bundler.errors import BundleError, IntegrityError


@dataclass(frozen=True, slots=True)
class Standing:
    """A bundle at `path`, a tar or an index of volumes, whose id is `id`."""

    path: Path
    id: str

    def give_way(self, to: Path) -> None:
        """Delete it with its volumes and signature; at `to` another bundle will take its place in one step."""
        if self.path.name.endswith(INDEX_SUFFIX):
            for volume in read_index(self.path).volumes:
                (self.path.parent / volume.file).unlink(missing_ok=True)
        (self.path.parent / f"{self.path.name.removesuffix(INDEX_SUFFIX)}{SUFFIX}").unlink(missing_ok=True)
        if self.path != to:
            self.path.unlink(missing_ok=True)


def with_other_content(folder: Path, manifest: Manifest) -> list[Standing]:
    """The bundles in `folder` that are called as `manifest` says, and are not its.

    One that cannot be read, for it is damaged or a volume is away, has no id, and is none of them.
    """
    return [found for found in _standing(folder, manifest) if found.id != manifest.id]


def _standing(folder: Path, manifest: Manifest) -> Iterator[Standing]:
    for bundle in (f"{manifest.folder}.tar", f"{manifest.folder}.delta.tar"):
        for path in (folder / bundle, folder / f"{bundle}{INDEX_SUFFIX}"):
            try:
                if path.is_file():
                    with Bundle(path, known=manifest) as opened:
                        yield Standing(path, opened.manifest.id)
            except (BundleError, IntegrityError):
                continue
