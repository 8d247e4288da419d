"""What releases have under names that other releases could give as well: tags, manifests and wheels.

Repositories of the registry and the index's pages are one for all releases of a site; on the web root each has a folder
of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from bundler.bundle.manifest import Manifest
from bundler.errors import SiteError
from bundler.site.releases import InstalledRelease, Release
from bundler.site.rival_wheels import rivals
from bundler.site.stored import StoredImage, StoredWheel

_NAMED = 10  # collisions in a message

K = TypeVar("K")

Tag = tuple[str, str]  # repository and tag


@dataclass(frozen=True, slots=True)
class Claims:
    """Of one release: the digest that each tag leads to, each manifest by repository and digest, each wheel's sha256.

    `manifests` has those that an index names too: the registry may delete one that another release's index needs.
    """

    tags: dict[Tag, str] = field(default_factory=dict)
    manifests: set[tuple[str, str]] = field(default_factory=set)
    wheels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Collision:
    """`thing`, as people call it, which `owner` serves with different content."""

    thing: str
    owner: InstalledRelease

    def __str__(self) -> str:
        return f"{self.thing} of {self.owner.name} {self.owner.version}"


def claims_of(manifest: Manifest) -> Claims:
    """What the release with `manifest` claims."""
    claims = Claims()
    for item in manifest.items:
        if image := StoredImage.of(item):
            # What it does not bring is not its own, whatever it says of itself.
            brought = image.documents & {f"sha256:{obj.sha256}" for obj in item.objects}
            claims.manifests.update((image.repository, each) for each in brought)
            if image.digest in brought:
                claims.tags.update({(image.repository, tag): image.digest for tag in image.tags})
        elif StoredWheel.of(item):
            claims.wheels.update({obj.path.rpartition("/")[2]: obj.sha256 for obj in item.objects})
    return claims


def collisions(manifest: Manifest, releases: Iterable[InstalledRelease]) -> list[Collision]:
    """What `manifest` has under a name that the current release of another name serves with different content."""
    mine = claims_of(manifest)
    found = []
    for other in releases:
        if other.current and other.name != manifest.name:
            theirs = claims_of(other.manifest)
            tags = [f"{tag[0]}:{tag[1]}" for tag in sorted(_differing(mine.tags, theirs.tags))]
            found += [Collision(thing, other) for thing in (*tags, *sorted(rivals(mine.wheels, theirs.wheels)))]
    return found


def require_no_collision(manifest: Manifest, releases: Iterable[InstalledRelease]) -> None:
    """Raise SiteError when nodes would get what `manifest` brings in place of what another current release serves."""
    if found := collisions(manifest, releases):
        more = f", and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise SiteError(
            f"{manifest.name} {manifest.version} brings different content for what is served already: "
            f"{', '.join(map(str, found[:_NAMED]))}{more}",
            hint="give it other tags or versions; with --replace nodes get its content, until it is uninstalled",
        )


def namesake(release: Release, releases: Iterable[InstalledRelease]) -> InstalledRelease | None:
    """The release of the same name and version with different content, the one that nodes find there first; or None."""
    found = [
        other
        for other in releases
        if (other.name, other.version) == (release.name, release.version) and other.id != release.id
    ]
    return max(found, key=lambda other: (other.current, other.published == other.address), default=None)


def require_no_namesake(release: Release, releases: Iterable[InstalledRelease]) -> None:
    """Raise SiteError when the site has another bundle of the same name and version."""
    if (other := namesake(release, releases)) is not None:
        raise SiteError(
            f"{release.name} {release.version} is on this site with different content: its id is {other.id}, and this "
            f"bundle's {release.id}",
            hint="build it with another version; or install it with --replace: the other one is kept, by its id",
        )


def refusals(manifest: Manifest, releases: Sequence[InstalledRelease]) -> Iterator[str]:
    """What `require_no_collision` and `require_no_namesake` would say."""
    checks: tuple[Callable[[], None], ...] = (
        lambda: require_no_collision(manifest, releases),
        lambda: require_no_namesake(Release(manifest.name, manifest.version, manifest.id), releases),
    )
    for check in checks:
        try:
            check()
        except SiteError as error:
            yield error.message


def _differing(mine: dict[K, str], theirs: dict[K, str]) -> list[K]:
    return [key for key in mine.keys() & theirs.keys() if mine[key] != theirs[key]]
