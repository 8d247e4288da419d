"""Publishing as one act: what nodes see is noted on the disk before the first switch, and put back when one fails.

    <root>/.publishing                         the note; gone when all is switched, or put back
    <web root>/.published/.index/<index>       a file for each index whose pages nodes may read
    <web root>/.published/.catalog.json        the registry's repositories, as `GET /v2/_catalog` answers

nginx shows of the registry and of devpi what these files name: a release that is being loaded has none yet.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from bundler.bundle.manifest import Manifest
from bundler.errors import BundlerError, SiteError
from bundler.model.site import SiteConfig
from bundler.model.target import StrictModel
from bundler.site.claims import Claims, Tag, claims_of
from bundler.site.folders import make_folder, sync_folder, write_whole
from bundler.site.index import PROD, WheelIndex, index_name
from bundler.site.registry import RegistryState, RegistryStore
from bundler.site.releases import PUBLISHED, InstalledRelease, Release, note_current
from bundler.site.web import WebRoot, WebState

logger = logging.getLogger(__name__)

NOTE = ".publishing"
INDEXES, CATALOG = f"{PUBLISHED}/.index", f"{PUBLISHED}/.catalog.json"


class Before(StrictModel):
    """What nodes see before the release `name` `version` `id` is published; None of a store that is not on the site."""

    name: str
    version: str
    id: str
    web: WebState
    registry: RegistryState | None
    index: bool
    bases: tuple[str, ...] | None

    @property
    def release(self) -> Release:
        return Release(self.name, self.version, self.id)


class Publication:
    """The stores of a site as nodes see them; `registry` and `index` are None where the site has none.

    Whoever calls its methods has the site to himself.
    """

    def __init__(self, root: Path, web: WebRoot, registry: RegistryStore | None, index: WheelIndex | None) -> None:
        self._root = root
        self._web, self._registry, self._index = web, registry, index

    def publish(self, manifest: Manifest, there: Sequence[InstalledRelease]) -> None:
        """Switch every store to the release that is open in it, beside the releases that are `there`; or none of them.

        Raises SiteError, SpaceError.
        """
        release = Release(manifest.name, manifest.version, manifest.id)
        given_back = _given_back(manifest, there)
        before = Before(
            name=release.name,
            version=release.version,
            id=release.id,
            web=self._web.state(release),
            registry=self._registry.state(given_back) if self._registry else None,
            index=self._index is not None,
            bases=self._index.bases() if self._index else None,
        )
        _note(self._root, before)
        try:
            published: list[tuple[Release, Manifest]] = [(each, each.manifest) for each in there if each.published]
            _let_read(self._web.directory, [*published, (release, manifest)])
            if self._registry:
                self._registry.commit()
                for tag, digests in sorted(given_back.items()):
                    self._registry.lead(*tag, digests)
            if self._index:
                self._index.commit()
            self._web.commit()
        except BaseException:
            try:
                self._put_back(before)
            except BundlerError as error:
                logger.warning(
                    "nodes may see a part of %s %s, until it is installed again or `bundler doctor --fix` has run: %s",
                    *(release.name, release.version, error.message),
                )
            raise
        _forget(self._root)

    def recover(self) -> None:
        """End what an interrupted publication has begun: finish it, or put back what nodes saw. Raises SiteError."""
        before = _noted(self._root)
        if self._web.is_switched(before.release, before.web):
            note_current(self._web.directory, before.release)
            self.let_read(self._web.releases())
            _forget(self._root)
        else:
            logger.warning("publishing %s %s was interrupted: it is undone", before.name, before.version)
            self._put_back(before)

    def take_away(self, going: Sequence[InstalledRelease], staying: Sequence[InstalledRelease], *, purge: bool) -> None:
        """Take the releases `going`, which are not published any more, from the registry and the index.

        What one of `staying` uses stays; what had been taken from it leads to its content again. Raises SiteError.
        """
        self.let_read(staying)
        if self._index:
            for release in going:
                self._index.remove(release, purge=purge)
        if self._registry is None:
            return
        used = [claims_of(each.manifest) for each in sorted(staying, key=lambda each: not each.current)]
        gone = [claims_of(each.manifest) for each in going]
        for tag in sorted({tag for claims in gone for tag in claims.tags}):
            if digests := [claims.tags[tag] for claims in used if tag in claims.tags]:
                self._registry.lead(*tag, digests)
            elif self._registry.leads_to(*tag) in [claims.tags.get(tag) for claims in gone]:
                self._registry.remove_tag(*tag)
        for manifest in sorted(_manifests(gone) - _manifests(used)):
            self._registry.remove_manifest(*manifest)

    def let_read(self, releases: Iterable[InstalledRelease]) -> None:
        """Have nginx show what the published ones of `releases` have, and nothing else. Raises SiteError."""
        _let_read(self._web.directory, [(each, each.manifest) for each in releases if each.published])

    def _put_back(self, before: Before) -> None:
        """Let nodes see what they saw `before`. Every store is tried; the note stays until all of them are right."""
        failed: list[BundlerError] = []
        for restore in (self._restore_web, self._restore_index, self._restore_registry):
            try:
                restore(before)
            except BundlerError as error:
                failed.append(error)
        if failed:
            raise failed[0]
        _forget(self._root)

    def _restore_web(self, before: Before) -> None:
        self._web.restore(before.release, before.web)
        self.let_read(self._web.releases())

    def _restore_index(self, before: Before) -> None:
        if self._index and before.index:
            self._index.restore(before.bases)

    def _restore_registry(self, before: Before) -> None:
        if self._registry and before.registry:
            published = [claims_of(each.manifest) for each in self._web.releases() if each.published]
            self._registry.restore(before.registry, keep=_manifests(published))


def kept_at(release: InstalledRelease, config: SiteConfig) -> str | None:
    """Root URL of `release` on the web root, current or kept: it has the version. None when nodes cannot read it."""
    if release.published is None:
        return None
    # What else serves a web root knows the folder, and not how nginx is told to hide it.
    return "/".join([config.web_url, *([PUBLISHED] if config.web else []), release.published])


def wheels_kept_at(release: InstalledRelease, config: SiteConfig) -> str | None:
    """The simple API (PEP 503) of the wheels of `release` alone; None without any, or where all share an index."""
    if release.published is None or config.index is not None or not claims_of(release.manifest).wheels:
        return None
    return f"{config.index_url}/root/{index_name(release)}/+simple/"


def is_interrupted(root: Path) -> bool:
    """Whether a publication on the site at `root` did not come to its end."""
    return (root / NOTE).exists()


def _note(root: Path, before: Before) -> None:
    write_whole(root / NOTE, before.model_dump_json(indent=1).encode(), 0o600)
    with _told(root):
        sync_folder(root)


def _noted(root: Path) -> Before:
    try:
        return Before.model_validate_json((root / NOTE).read_bytes())
    except (OSError, ValidationError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no note of bundler's"
        raise SiteError(
            f"{root / NOTE} cannot be read: {why}",
            hint="it says what nodes saw before an install that was interrupted: delete it, and install again what is "
            "to be served",
        ) from None


def _forget(root: Path) -> None:
    with _told(root):
        (root / NOTE).unlink(missing_ok=True)
        sync_folder(root)


def _let_read(web_root: Path, published: Iterable[tuple[Release, Manifest]]) -> None:
    make_folder(web_root / PUBLISHED)
    folder = make_folder(web_root / INDEXES)
    wanted = {PROD, *(index_name(release) for release, _ in published)}
    repositories = sorted({repository for _, each in published for repository, _ in claims_of(each).manifests})
    with _told(folder):
        there = {path.name for path in folder.iterdir()}
        for name in wanted - there:
            write_whole(folder / name, b"", 0o644)
        for name in there - wanted:
            (folder / name).unlink()
        sync_folder(folder)
    catalog = json.dumps({"repositories": repositories}, separators=(",", ":")) + "\n"
    write_whole(web_root / CATALOG, catalog.encode(), 0o644)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SiteError(f"{path}: {error.strerror}", hint="see who owns it, and whether there is room") from None


def _given_back(manifest: Manifest, there: Iterable[InstalledRelease]) -> dict[Tag, list[str]]:
    """The tags that the current release of the name had taken from those of others, and `manifest` does not bring."""
    current = [each for each in there if each.current]
    earlier = [claims_of(each.manifest) for each in current if each.name == manifest.name]
    others = [claims_of(each.manifest) for each in current if each.name != manifest.name]
    left = {tag for claims in earlier for tag in claims.tags} - claims_of(manifest).tags.keys()
    found = {tag: [claims.tags[tag] for claims in others if tag in claims.tags] for tag in left}
    return {tag: digests for tag, digests in found.items() if digests}


def _manifests(claims: Iterable[Claims]) -> set[tuple[str, str]]:
    return {manifest for each in claims for manifest in each.manifests}
