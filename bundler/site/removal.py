"""What is being taken away from a site, noted on the disk before the first step, so that the next command can end it.

<root>/.removing    the note; gone when all of it is done
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from bundler.errors import SiteError
from bundler.model.target import StrictModel
from bundler.site.folders import sync_folder, write_whole
from bundler.site.releases import Release

REMOVAL = ".removing"


class Removal(StrictModel):
    """`releases` are taken off; with `purge` their data goes too, or, with `site`, all there is."""

    releases: tuple[Release, ...]
    purge: bool
    site: bool = False

    @classmethod
    def of(cls, going: Iterable[Release], *, purge: bool, site: bool = False) -> Removal:
        releases = tuple(Release(release.name, release.version, release.id) for release in going)
        return cls(releases=releases, purge=purge, site=site)


def note(root: Path, removal: Removal) -> None:
    """Have the disk know what is going. Raises SiteError."""
    try:
        write_whole(root / REMOVAL, removal.model_dump_json(indent=1).encode(), 0o600)
        sync_folder(root)
    except OSError as error:
        raise _unusable(root, str(error.strerror)) from None


def noted(root: Path) -> Removal | None:
    """What was going when bundler was interrupted; None when nothing was. Raises SiteError."""
    try:
        return Removal.model_validate_json((root / REMOVAL).read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(root, str(error.strerror)) from None
    except ValidationError:
        raise _unusable(root, "it is no note of bundler's") from None


def forget(root: Path) -> None:
    """It is done."""
    (root / REMOVAL).unlink(missing_ok=True)


def _unusable(root: Path, why: str) -> SiteError:
    return SiteError(
        f"{root / REMOVAL}: {why}",
        hint="it says what an uninstall that was interrupted takes away: delete it, and uninstall again",
    )
