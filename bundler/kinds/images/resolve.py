"""From references to items: each reference's manifests are read, the platforms chosen, and every blob named."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from packageurl import PackageURL

from bundler.errors import FetchError, ProfileError, ResolveError
from bundler.kinds.images.attributes import ImageAttributes, Role
from bundler.kinds.images.layout import describe, layout_objects
from bundler.kinds.images.platform import Platform
from bundler.kinds.images.reference import Reference
from bundler.kinds.images.spec import Spec
from bundler.kinds.images.walk import Walk, Wanted
from bundler.model.contents import one_line
from bundler.model.items import Item, Object
from bundler.model.target import Target

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream

log = logging.getLogger(__name__)

# How registries answer for a repository that is not there, or not for us: some tell the difference only after a log-in.
_HIDDEN = (401, 403)


def resolve(spec: Spec, targets: tuple[Target, ...], upstream: Upstream) -> tuple[Item, ...]:
    """One item per reference, in the order of their names; each also has the layout's `oci-layout` and `index.json`.

    Raises ResolveError for an image that upstream has not, or not for a wanted platform, or that the site could not
    serve, and for two images that would have one name at the site; FetchError when an upstream does not answer;
    TrustError for an image that is not signed as the profile demands; ProfileError for two images with one role on one
    platform.
    """
    images = _resolve_all(_wanted(spec, targets), _keys(spec), _anonymous(spec), upstream)
    roles = {image.ref: image.role for image in spec.root if image.role}
    _refuse_collisions(images)
    _refuse_rivals(images, roles)
    if not images:
        return ()
    described = [
        describe(str(image.reference), image.top.media_type, image.objects[image.top.digest], upstream.keep)
        for image in images
    ]
    shared = layout_objects((entry for entries, _ in described for entry in entries), upstream.keep)
    return tuple(
        _item(image, (*made, *shared), roles.get(image.reference))
        for image, (_, made) in zip(images, described, strict=True)
    )


def _wanted(spec: Spec, targets: tuple[Target, ...]) -> dict[Reference, Wanted]:
    """The platforms to take of each reference; entries that name one reference twice are joined."""
    of_targets = frozenset(Platform.parse(target.platform) for target in targets)
    wanted: dict[Reference, Wanted] = {}
    for image in spec.root:
        platforms = of_targets if image.platforms is None else image.platforms
        before = wanted.get(image.ref, frozenset())
        if platforms == "all" or before == "all":
            wanted[image.ref] = "all"
        else:
            wanted[image.ref] = before.union(platforms)
    return wanted


def _keys(spec: Spec) -> dict[Reference, dict[str, None]]:
    """The public keys that have to have signed each reference; entries that name one reference twice are joined."""
    keys: dict[Reference, dict[str, None]] = {}
    for image in spec.root:
        keys.setdefault(image.ref, {}).update({image.verify.key: None} if image.verify else {})
    return keys


def _anonymous(spec: Spec) -> frozenset[Reference]:
    """The references that no entry would have asked for with a log-in."""
    named = {image.ref for image in spec.root if not image.anonymous}
    return frozenset(image.ref for image in spec.root) - named


def _resolve_all(
    wanted: Mapping[Reference, Wanted],
    keys: Mapping[Reference, Iterable[str]],
    public: Container[Reference],
    upstream: Upstream,
) -> list[Walk]:
    """Resolve several at once: most of the time is spent waiting for registries."""
    walks = [Walk(one, upstream, tuple(keys[one]), anonymous=one in public) for one in sorted(wanted, key=str)]
    with ThreadPoolExecutor(max_workers=upstream.config.jobs, thread_name_prefix="images") as pool:
        running = [pool.submit(walk.run, wanted[walk.reference]) for walk in walks]
        try:
            refusals = [refusal for walk, done in zip(walks, running, strict=True) if (refusal := _refusal(walk, done))]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    _raise_all(refusals)
    return walks


def _refusal(walk: Walk, done: Future[None]) -> ResolveError | FetchError | None:
    """Why upstream does not let us have an image, or None when it does. Any other error is raised."""
    try:
        done.result()
    except ResolveError as error:
        return error
    except FetchError as error:
        if error.status not in _HIDDEN:
            raise
        return error
    log.info("%s: %d manifests, %d blobs", walk.reference, len(walk.manifests), len(walk.blobs))
    return None


def _raise_all(refusals: Sequence[ResolveError | FetchError]) -> None:
    """Raise what was refused, all at once: whoever mends the profile wants the whole list."""
    if len(refusals) == 1:
        raise refusals[0]
    if refusals:
        lines = [f"images: {len(refusals)} are not to be had:", *(f"  {error.message}" for error in refusals)]
        hints = dict.fromkeys(error.hint for error in refusals)
        raise ResolveError(*lines, hint="; or ".join(hints))


def _refuse_collisions(images: list[Walk]) -> None:
    """The site knows an image by repository and tag; two different ones cannot share them."""
    at_site: dict[tuple[str, str], Walk] = {}
    for image in images:
        if image.reference.tag is None:
            continue
        other = at_site.setdefault((image.reference.repository, image.reference.tag), image)
        if other.top.digest != image.top.digest:
            raise ResolveError(
                f"images {other.reference} and {image.reference} are two images that would both be "
                f"{image.reference.repository}:{image.reference.tag} at the site, which drops the source registry",
                hint="take one of them by its digest alone (name@sha256:…), or put them into two bundles for two sites",
            )


def _refuse_rivals(images: Iterable[Walk], roles: Mapping[Reference, Role]) -> None:
    """A machine runs one image in each role."""
    chosen: dict[tuple[Role, Platform], Reference] = {}
    for image in images:
        if (role := roles.get(image.reference)) is None:
            continue
        if not image.platforms:
            raise ProfileError(
                f"images: {image.reference} has the role {role}, and is an artifact that no machine runs",
                hint=f"give `role: {role}` to an image, such as docker.io/library/registry:3",
            )
        for platform in sorted(image.platforms):
            other = chosen.setdefault((role, platform), image.reference)
            if other != image.reference:
                raise ProfileError(
                    f"images: {other} and {image.reference} both have the role {role} on {platform}",
                    hint=f"leave `role: {role}` at one of them",
                )


def _item(image: Walk, of_layout: tuple[Object, ...], role: Role | None) -> Item:
    reference = image.reference
    attributes = ImageAttributes(
        reference=str(reference),
        registry=reference.registry,
        repository=reference.repository,
        tags=(reference.tag,) if reference.tag else (),
        digest=image.top.digest,
        media_type=image.top.media_type,
        upstream_digest=image.upstream_digest,
        platforms=tuple(str(platform) for platform in sorted(image.platforms)),
        manifests=tuple(image.manifests),
        blobs=image.blobs,
        role=role,
    )
    return Item(
        kind="images",
        name=reference.name,
        version=reference.version,
        objects=(*image.objects.values(), *of_layout),
        attributes=attributes.as_json(),
        purl=_purl(image),
        licence=one_line(image.licence),
    )


def _purl(image: Walk) -> str:
    """Package URL of type oci: the last part of the name, the digest as version, the rest as qualifiers."""
    qualifiers = {"repository_url": image.reference.name, "tag": image.reference.tag or ""}
    if len(image.platforms) == 1:
        (platform,) = image.platforms
        qualifiers["arch"] = platform.architecture
    name = image.reference.repository.rpartition("/")[2]
    return PackageURL(type="oci", name=name, version=image.top.digest, qualifiers=qualifiers).to_string()
