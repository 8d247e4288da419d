"""From a bundle to a release: stage everything, verify everything, then switch."""

from __future__ import annotations

import itertools
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundler import inputs
from bundler.bundle.content import Completed, Content
from bundler.bundle.keys import trust
from bundler.bundle.manifest import Manifest
from bundler.bundle.reader import Bundle
from bundler.bundle.receipt import write_receipt
from bundler.bundle.signature import vouched
from bundler.bundle.statement import Vouched
from bundler.errors import BundleError, SiteError, TrustError
from bundler.kinds import KINDS
from bundler.kinds.base import Step
from bundler.model.items import Item
from bundler.model.node_files import NodeFiles
from bundler.model.site import Served, SiteConfig
from bundler.model.versions import is_older
from bundler.progress import Progress
from bundler.recipes import RECIPES
from bundler.sections import items_by_section
from bundler.site.claims import refusals
from bundler.site.kept import Kept
from bundler.site.node_folder import fill
from bundler.site.node_setup import compose
from bundler.site.services.choice import settled
from bundler.site.site import Site

logger = logging.getLogger(__name__)

_JOBS = 4
_NAMED = 10  # missing objects in a message


@dataclass(frozen=True, slots=True)
class Installed:
    """What an install did: `objects` and `size` (bytes) count what it wrote; `switched`: nodes get another release."""

    name: str
    version: str
    id: str
    url: str
    objects: int
    size: int
    switched: bool

    @property
    def changed(self) -> bool:
        return self.switched or self.objects > 0


@dataclass(frozen=True, slots=True)
class Outlook:
    """What an install would meet: bytes `needed` at most and `available`, and whether the release is there already.

    `refusals` are the errors that it would end with, unless it is told to replace what is there.
    """

    name: str
    version: str
    id: str
    url: str
    needed: int
    available: int
    installed: bool
    refusals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a bundle is taken.

    Its `signature` lies beside it if it is not named. With an `id` it is no other bundle than that. `allow_older` takes
    one that is older than what the site serves, where site.yaml refuses that. With `replace` nodes get its content also
    where another release serves something else under the same name, and in place of another bundle of its version.
    """

    signature: Path | None = None
    id: str | None = None
    allow_older: bool = False
    replace: bool = False


def install(path: Path, config: SiteConfig, *, progress: Progress, terms: Terms = Terms()) -> Installed:
    """Serve the bundle at `path` on the site, if it meets the `terms`.

    One pass: each object goes from the tar straight to where it is served from. Nothing is published before all of it
    arrived and verified; until the switch at the end the running release is as it was, and running it again goes on.
    """
    config = settled(config)
    with Bundle(path, progress, _vouched(path, config, terms.signature)) as bundle:
        _check_id(bundle, terms.id)
        by_section = items_by_section(bundle.manifest.items, str(path))
        progress.start("installing", bundle.unchecked())
        bundle.check_documents()
        targets = ", ".join(map(str, bundle.manifest.targets)) or "no target in particular"
        logger.info("%s %s is for %s", bundle.manifest.name, bundle.manifest.version, targets)
        site = Site(config)
        _check_age(bundle.manifest, site, allow_older=terms.allow_older)
        content = _completed(bundle, site) if bundle.delta else bundle

        def load(steps: Sequence[Sequence[Step]]) -> None:
            if bundle.once:
                _in_its_order(bundle, content, itertools.chain(*steps))
            else:
                _at_once(site, content, steps)
            # What no step had to read, for it was there already or is for people only, is checked all the same.
            bundle.verify(jobs=_JOBS)
            progress.finish()

        with site.opened(bundle.manifest, content, in_a_pipe=bundle.once, replace=terms.replace):
            return _publish(bundle.manifest, by_section, site, load)


def _at_once(site: Site, content: Content, steps: Sequence[Sequence[Step]]) -> None:
    """Do the `steps` of each kind on a few threads, the largest objects first, so that none is left to the end.

    The kinds take turns, so that each service has something to do all the while: none is left to the end either.
    """
    ordered = []
    for each in steps:
        largest_first = sorted(each, key=lambda step: (-step.obj.size, step.obj.path))
        ordered += [((place + 1) / len(each), step.obj.path, step) for place, step in enumerate(largest_first)]
    site.each(lambda step: step.put(content), [step for *_, step in sorted(ordered, key=lambda entry: entry[:2])])


def _in_its_order(bundle: Bundle, content: Content, steps: Iterable[Step]) -> None:
    """Do `steps` as the objects come out of the pipe; those for what the bundle leaves out, before."""
    by_path: dict[str, list[Step]] = defaultdict(list)
    for step in steps:
        by_path[step.obj.path].append(step)
    for obj in (*bundle.layout.left_out, *bundle.carried):
        for step in by_path[obj.path]:
            step.put(content)
        if obj.path in bundle.layout.members:
            bundle.check(obj)


def _vouched(path: Path, config: SiteConfig, signature: Path | None) -> Vouched | None:
    """What those who are trusted here have signed; None where nobody has to. Raises TrustError, ConfigError."""
    policy = config.trusted_keys
    if policy is None:
        return vouched(path, trust(()), signature)
    keys = map(Path, policy.keys)
    trusted = trust(keys, threshold=policy.threshold, require_expiry=policy.require_expiry, required=True)
    return vouched(path, trusted, signature)


def _check_age(manifest: Manifest, site: Site, *, allow_older: bool) -> None:
    """Raise TrustError where the site refuses what is older than a release of its name that it has; warn elsewhere.

    A signature of long ago is as good as one of today. To go back on purpose there is `rollback`.
    """
    releases = [release for release in site.releases() if release.name == manifest.name]
    newer = [release.version for release in releases if is_older(manifest.version, release.version)]
    if not newer or any(release.current and release.id == manifest.id for release in releases):
        return
    found = f"{manifest.name} {manifest.version} is older than {', '.join(newer)}, which is installed"
    policy = site.config.trusted_keys
    if policy is not None and policy.refuse_older and not allow_older:
        raise TrustError(
            found, hint="carry a newer one; go back with `bundler rollback`, or with install --allow-older"
        )
    logger.warning("%s", found)


def _check_id(bundle: Bundle, expected: str | None) -> None:
    if expected not in (None, bundle.manifest.id):
        raise TrustError(
            f"the id of {bundle.path} is {bundle.manifest.id}, not {expected}",
            hint="carry it again, or ask who approved it which one it was",
        )


def _completed(bundle: Bundle, site: Site) -> Content:
    """The bundle with what it leaves out from the site. Raises SiteError, naming it, for what the site has not."""
    kept = Kept(site.releases(), site)
    missing = [obj.path for obj in bundle.layout.left_out if not kept.has(obj)]
    if missing:
        more = f", and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise SiteError(
            f"{bundle.path} leaves out what is missing on this site: {', '.join(missing[:_NAMED])}{more}",
            hint="install the releases that the receipt was written after, or a bundle built without --since",
        )
    site.services.start()
    return Completed(bundle, frozenset(obj.path for obj in bundle.layout.left_out), kept)


def receipt(config: SiteConfig) -> bytes:
    """What the site has, for `bundler build --since`."""
    site = Site(config)
    releases = site.releases()
    kept = Kept(releases, site)
    objects = {obj for release in releases for obj in release.manifest.payload if kept.has(obj)}
    known = [(release.name, release.version, release.id, release.current) for release in releases]
    return write_receipt(known, (obj.sha256 for obj in objects))


def rollback(name: str, version: str | None, config: SiteConfig, *, replace: bool = False) -> Installed:
    """Make an earlier release current again: `version`, or the one that was before; from what the site has of it.

    It comes as a new one does, and finds all in place: until the switch at the end the running release is as it was.
    Raises SiteError when there is no such release, and, without `replace`, when another one serves different content
    under its names.
    """
    site = Site(config)
    site.recover()
    site.services.start()
    release = site.earlier(name, version)
    by_section = items_by_section(release.manifest.items, str(release.path))
    content = Kept(site.releases(), site)
    with site.opened(release.manifest, content, replace=replace, again=True):
        return _publish(release.manifest, by_section, site, lambda steps: _at_once(site, content, steps))


def _publish(
    manifest: Manifest,
    by_section: Mapping[str, tuple[Item, ...]],
    site: Site,
    load: Callable[[Sequence[Sequence[Step]]], None],
) -> Installed:
    """Have `load` do what it takes for `manifest` to be in the stores of `site`, which is open, and switch to it."""
    inputs.keep_site(site.config)
    # Before anything is loaded: it takes the items alone, and finds fault with those of another make.
    served = Served(site.config, manifest.name, manifest.version, site.trusted())
    nodes = emit(manifest.items, served)
    logger.info("loading %s %s", manifest.name, manifest.version)
    load([tuple(kind.load(by_section[kind.name], site)) for kind in KINDS])
    switched = not any(release.current and release.id == manifest.id for release in site.releases())
    site.commit(nodes)
    written = site.written
    return Installed(manifest.name, manifest.version, manifest.id, served.url, written.objects, written.size, switched)


def outlook(path: Path, config: SiteConfig, terms: Terms = Terms()) -> Outlook:
    """What installing the bundle at `path` would do. Changes nothing."""
    with Bundle(path, vouched=_vouched(path, config, terms.signature)) as bundle:
        _check_id(bundle, terms.id)
        manifest = bundle.manifest
        items_by_section(manifest.items, str(path))
        needed = sum(obj.size for obj in bundle.layout.payload)
    site = Site(config)
    releases = site.releases()
    _check_age(manifest, site, allow_older=terms.allow_older)
    there = any(release.id == manifest.id and release.current for release in releases)
    url = Served(config, manifest.name, manifest.version).url
    return Outlook(
        *(manifest.name, manifest.version, manifest.id, url),
        needed=0 if there else needed,
        available=site.available_space(),
        installed=there,
        refusals=tuple(refusals(manifest, releases)),
    )


def emit_into(folder: Path, config: SiteConfig, name: str | None) -> list[Path]:
    """Write the node files of the current release `name`, or of the only one, into `folder`; returns their paths.

    Raises SiteError when there is no such release, or several and no name.
    """
    site = Site(config)
    current = {release.name: release for release in site.releases() if release.current}
    names = ", ".join(current) or "none"
    if name is None and len(current) != 1:
        raise SiteError(f"{len(current)} releases are installed: {names}", hint="say which with --name NAME")
    if name is not None and name not in current:
        raise SiteError(f"no release {name!r} is installed; there is {names}", hint="see `bundler status`")
    release = current[name] if name is not None else next(iter(current.values()))
    nodes = emit(release.manifest.items, Served(config, release.name, release.version, site.trusted()))
    return fill(folder, nodes, release.path)


def emit(items: Sequence[Item], served: Served) -> NodeFiles:
    """The node files of a release. Raises BundleError for items that none can be made of."""
    try:
        parts = [kind.emit(tuple(item for item in items if item.kind == kind.name), served) for kind in KINDS]
        for recipe in RECIPES:
            parts += [recipe.emit(item, tuple(items), served) for item in items if item.kind == recipe.name]
        return compose(served, parts)
    except ValueError as error:  # what bundler wrote has a place; what somebody else wrote need not
        raise BundleError(
            f"{served.name} {served.version}: its node files cannot be made: {error}",
            hint="the bundle was not made by bundler; ask where it comes from",
        ) from error
