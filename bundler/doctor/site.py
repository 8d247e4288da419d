"""What is not well with a site: each thing looked at, and its remedy."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from bundler.errors import BundlerError
from bundler.findings import Finding
from bundler.kinds import KINDS
from bundler.kinds.base import Step
from bundler.model.site import Served, SiteConfig
from bundler.sections import items_by_section
from bundler.site.claims import collisions
from bundler.site.health import examine
from bundler.site.kept import Kept
from bundler.site.looking import Looking
from bundler.site.releases import InstalledRelease
from bundler.site.site import Site
from bundler.sizes import human

logger = logging.getLogger(__name__)

_AT_ONCE = 4
_NAMED = 3  # damaged objects of a release in one finding


def examine_site(config: SiteConfig, *, sample: int | None) -> Iterator[Finding]:
    """The machine, the services, and of each release `sample` objects taken by chance; None takes all."""
    site = Site(config)
    found = list(examine(site))
    yield from found
    releases = [release for release in site.in_order() if release.published]
    if not releases:
        yield Finding("releases", "warning", "none is served", "bundler install BUNDLE")
    elif any(finding.state == "failed" and finding.check.startswith(("service ", "door ")) for finding in found):
        # Each object would be waited for in vain.
        yield Finding("releases", "warning", "not looked at: the services come first", "see above")
    else:
        for release in releases:
            yield _release(release, site, sample)


def _release(release: InstalledRelease, site: Site, sample: int | None) -> Finding:
    """Current: as nodes get it, through the front door. Kept: as a rollback would find it."""
    what = f"{release.name} {release.version}" + ("" if release.current else " (kept)")
    logger.info("looking at %s", what)
    by_section = items_by_section(release.manifest.items, str(release.path))
    # A site by its methods, of which `load` uses the stores' alone.
    front = cast("Site", Looking(Served(site.config, release.name, release.version)))
    steps = [step for kind in KINDS for step in kind.load(by_section[kind.name], front)]
    chosen = steps if sample is None else random.sample(steps, min(sample, len(steps)))
    kept = Kept(site.releases(), site)

    def look(step: Step) -> str | None:
        try:
            if release.current:
                step.put(kept)
            else:
                for _ in kept.stream(step.obj):
                    """Verified as it is read."""
        except BundlerError as error:
            return error.message
        return None

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        damaged = [said for said in pool.map(look, chosen) if said]
    size = human(sum(step.obj.size for step in chosen))
    if not damaged:
        return Finding(what, "ok", f"{len(chosen)} of its {len(steps)} objects are right, {size}")
    more = [f"and {len(damaged) - _NAMED} more"] if len(damaged) > _NAMED else []
    if release.current and (taken := collisions(release.manifest, site.releases())):
        said = f"another release has taken what it serves: {', '.join(map(str, taken[:_NAMED]))}"
        remedy = f"bundler uninstall {taken[0].owner.name}, or install its bundle again with --replace"
        return Finding(what, "failed", "; ".join([said, *damaged[:_NAMED], *more]), remedy)
    remedy = (
        f"delete what is damaged below {site.root}, then install its bundle again: it brings what lacks"
        if release.current
        else f"bundler prune {release.name}: a rollback to it is not safe"
    )
    return Finding(what, "failed", "; ".join([*damaged[:_NAMED], *more]), remedy)
