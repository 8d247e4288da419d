"""What a site has already, as content: an earlier release's files, its images in the registry, its wheels in the index.

So a release that is still there can be made current again in the way that a new one comes: its kinds load it, and find
all in place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from bundler.bundle.content import Content
from bundler.errors import BundleError, IntegrityError
from bundler.model.items import Item, Object
from bundler.site.folders import regular
from bundler.site.releases import InstalledRelease, Release
from bundler.site.stored import StoredImage, StoredWheel

_CHUNK = 1 << 20
_HINT = "install a bundle that carries it: one that was not built as a difference"


class Images(Protocol):
    """What is asked of a registry."""

    def fetch(self, repository: str, digest: str, *, is_manifest: bool) -> Iterator[bytes]: ...


class Wheels(Protocol):
    """What is asked of an index."""

    def fetch(self, release: Release | None, project: str, obj: Object) -> Iterator[bytes]: ...


class Stores(Protocol):
    """A site's stores; one that runs nowhere is not touched before it is asked."""

    @property
    def registry(self) -> Images: ...

    @property
    def index(self) -> Wheels: ...


class Kept(Content):
    """The objects of `releases`, verified as they are read."""

    def __init__(self, releases: Iterable[InstalledRelease], stores: Stores) -> None:
        self._stores = stores
        self._files: dict[str, Path] = {}
        self._images: dict[str, tuple[str, bool]] = {}
        self._wheels: dict[str, tuple[Release, str]] = {}
        for release in releases:
            for item in release.manifest.items:
                self._add(item, release)

    def has(self, obj: Object) -> bool:
        """Whether some release has these bytes; that they are still right shows when they are read."""
        if obj.sha256 in self._images or obj.sha256 in self._wheels:
            return True
        path = self._files.get(obj.sha256)
        found = regular(path) if path else None
        return found is not None and found.st_size == obj.size

    def stream(self, obj: Object) -> Iterator[bytes]:
        """See `Content.stream`. Raises BundleError when no release has the object."""
        digest = hashlib.sha256()
        held = b""
        left = obj.size
        for chunk in self._chunks(obj):
            left -= len(chunk)
            if left < 0:  # a store need not end at all
                break
            if held:
                yield held
            held = chunk
            digest.update(chunk)
        if left != 0 or digest.hexdigest() != obj.sha256:
            raise IntegrityError(f"{obj.path}: what the site has of it is damaged", hint=_HINT)
        if held:
            yield held

    def _add(self, item: Item, release: InstalledRelease) -> None:
        """Note where the objects of `item` are: the web root has all that no other store has."""
        image, wheel = StoredImage.of(item), StoredWheel.of(item)
        for obj in item.objects:
            if image:
                self._images[obj.sha256] = (image.repository, f"sha256:{obj.sha256}" in image.documents)
            elif wheel:
                self._wheels[obj.sha256] = (release, wheel.project)
            else:
                self._files[obj.sha256] = release.path / obj.path

    def _chunks(self, obj: Object) -> Iterator[bytes]:
        if (path := self._files.get(obj.sha256)) and regular(path):
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        elif found := self._images.get(obj.sha256):
            repository, is_manifest = found
            yield from self._stores.registry.fetch(repository, f"sha256:{obj.sha256}", is_manifest=is_manifest)
        elif wheel := self._wheels.get(obj.sha256):
            yield from self._stores.index.fetch(*wheel, obj)
        else:
            raise BundleError(f"{obj.path} is nowhere on this site", hint=_HINT)
