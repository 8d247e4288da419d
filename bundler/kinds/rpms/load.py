"""From the bundle into the site's web root: repositories and keys are served as they lie in the bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundler.model.items import Item, objects_of

if TYPE_CHECKING:
    from bundler.site.content import Content
    from bundler.site.site import Site


def load(items: tuple[Item, ...], content: Content, site: Site) -> None:
    """Stage every package, metadata file and key. Raises IntegrityError for damaged bytes, SiteError, SpaceError."""
    site.each(lambda obj: site.web.stage(obj, content), objects_of(items))
