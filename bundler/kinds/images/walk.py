"""One image's way from its reference to the manifests and blobs that a bundle takes of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn, TypeAlias

from bundler.errors import ResolveError
from bundler.kinds.images.attributes import ManifestEntry, blob_path
from bundler.kinds.images.cosign import check_signed
from bundler.kinds.images.oci import (
    IMAGE_CONFIG_TYPES,
    LICENCES,
    MANIFEST_LIMIT,
    Descriptor,
    ImageConfig,
    ImageIndex,
    ImageManifest,
    digest_of,
    explain,
    parse_manifest,
)
from bundler.kinds.images.platform import Platform
from bundler.kinds.images.reference import Reference
from bundler.limits import Limit, LimitExceeded
from bundler.model.items import Json, Object, RegistryBlob

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream

log = logging.getLogger(__name__)

Wanted: TypeAlias = "frozenset[Platform] | Literal['all']"

# An image for all platforms, with an attestation for each, has some thirty.
_MANIFESTS = Limit("the manifests of one image", 1000, "manifests")
_OBJECTS = Limit("the manifests, configs and layers of one image", 20_000, "objects")
_DEEPEST = 3  # levels of indexes within indexes


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index: the bytes as they came, and what they say."""

    data: bytes
    media_type: str
    digest: str
    parsed: ImageManifest | ImageIndex


@dataclass(frozen=True, slots=True)
class Entry:
    """A manifest that an index names: the index's own words, raw and parsed."""

    raw: Json
    descriptor: Descriptor

    @property
    def platform(self) -> Platform | None:
        """What it runs on; None for what is no image, such as BuildKit's attestations (platform unknown/unknown)."""
        found = self.descriptor.for_platform
        return None if found is None or found.os == "unknown" else found


class Walk:
    """Reads what a reference stands for; after `run` the other attributes say what to take.

    `manifests` is in an order they can be pushed in: children first, that of `digest` last. `objects` is by digest and
    holds manifests and blobs.
    """

    def __init__(
        self, reference: Reference, upstream: Upstream, keys: Sequence[str] = (), *, anonymous: bool = False
    ) -> None:
        """`keys` are the public keys, paths or URLs, that have to have signed it. An `anonymous` one is public."""
        self.reference = reference
        self.upstream_digest = ""
        self.manifests: list[ManifestEntry] = []
        self.objects: dict[str, Object] = {}
        self.platforms: frozenset[Platform] = frozenset()
        self.licence: str | None = None
        self._registry = upstream.registry(reference.registry, anonymous=anonymous)
        self._upstream = upstream
        self._keys = keys
        self._manifests_read = 0

    @property
    def top(self) -> ManifestEntry:
        """What the reference stands for in the bundle."""
        return self.manifests[-1]

    @property
    def blobs(self) -> tuple[str, ...]:
        """Digests of configs and layers."""
        manifests = {manifest.digest for manifest in self.manifests}
        return tuple(digest for digest in self.objects if digest not in manifests)

    def run(self, wanted: Wanted) -> None:
        """Read the manifests and choose; raises ResolveError, FetchError, IntegrityError, TrustError."""
        top = self._read(self.reference.wanted)
        self.upstream_digest = top.digest
        check_signed(self.reference, top.digest, self._keys, self._upstream)
        if isinstance(top.parsed, ImageIndex):
            self._take_index(top, wanted)
        else:
            self.platforms = self._platform_of(top.parsed)
            if self.platforms:
                self._choose(self.platforms, wanted)
            self._take(top)

    def _take_index(self, top: Manifest, wanted: Wanted) -> None:
        """Take an index whole, or of it what is wanted.

        A registry refuses an index that names manifests it has not. So a part of an index is served as the one manifest
        that was chosen, or as a new index of the chosen ones, and the original's digest is not known at the site. Where
        the profile asks for that digest, it has to stay, and the whole index with it.
        """
        entries = list(self._entries(top))
        offered = frozenset(entry.platform for entry in entries if entry.platform)
        chosen_platforms = self._choose(offered, wanted)
        chosen = [entry for entry in entries if entry.platform in chosen_platforms]
        if not offered or wanted == "all" or len(chosen) == len(entries):
            self._take(top)
            self.platforms = offered
        elif self.reference.digest:
            log.info("%s is an index, whose digest needs it whole: %s are taken", self.reference, _listed(offered))
            self._take(top)
            self.platforms = offered
        else:
            self._take_part(top, chosen)
            self.platforms = chosen_platforms

    def _take_part(self, top: Manifest, chosen: Sequence[Entry]) -> None:
        for entry in chosen:
            self._take(self._read_entry(entry.descriptor))
        if len(chosen) > 1:
            index: dict[str, Json] = {
                "schemaVersion": 2,
                "mediaType": top.media_type,
                "manifests": [entry.raw for entry in chosen],
            }
            data = json.dumps(index, separators=(",", ":")).encode()
            digest = digest_of(data)
            self.objects[digest] = self._upstream.keep(blob_path(digest), data)
            self.manifests.append(ManifestEntry(digest=digest, media_type=top.media_type))

    def _choose(self, offered: frozenset[Platform], wanted: Wanted) -> frozenset[Platform]:
        """Those of `offered` that suit the wanted ones; ResolveError when one of these goes without."""
        if wanted == "all" or not offered:
            return offered
        chosen = set()
        for platform in sorted(wanted):
            best = platform.best(offered)
            if best is None:
                self._refuse(
                    f"there is none for {platform}, only for {_listed(offered)}",
                    hint=f"give it platforms of its own: `{{ref: {self.reference}, platforms: [{min(offered)}]}}`",
                )
            chosen.add(best)
        return frozenset(chosen)

    def _entries(self, index: Manifest, depth: int = 0) -> Iterator[Entry]:
        """The manifests that an index names, each digest once; those of an index within it stand in its place."""
        assert isinstance(index.parsed, ImageIndex)
        raw = json.loads(index.data)["manifests"]
        seen: set[str] = set()
        for words, descriptor in zip(raw, index.parsed.manifests, strict=True):
            if descriptor.digest in seen:
                continue
            seen.add(descriptor.digest)
            if descriptor.is_index and descriptor.for_platform is None:
                self._check_depth(depth)
                yield from self._entries(self._read_entry(descriptor), depth + 1)
            else:
                yield Entry(words, descriptor)

    def _take(self, manifest: Manifest, depth: int = 0) -> None:
        """Add a manifest's objects, then the manifest itself."""
        if manifest.digest in self.objects:
            return
        if isinstance(manifest.parsed, ImageIndex):
            self._check_depth(depth)
            for entry in manifest.parsed.manifests:
                self._take(self._read_entry(entry), depth + 1)
        else:
            for blob in (manifest.parsed.config, *manifest.parsed.layers):
                self._add(blob.digest, blob.size, "blobs", foreign=blob.is_foreign)
        self.licence = self.licence or (manifest.parsed.annotations or {}).get(LICENCES) or None
        self._add(manifest.digest, len(manifest.data), "manifests")
        self.manifests.append(ManifestEntry(digest=manifest.digest, media_type=manifest.media_type))

    def _add(self, digest: str, size: int, what: Literal["blobs", "manifests"], *, foreign: bool = False) -> None:
        if foreign:
            self._refuse(
                f"the layer {digest} is not in the registry but on some web server, where no node can get it",
                hint="choose platforms without such layers (old Windows images have them), or push a copy of the image "
                "with its layers to a registry of yours",
            )
        obj = self.objects.get(digest)
        self._within(_OBJECTS, len(self.objects) + 1)
        if obj is not None and obj.size != size:
            self._refuse(f"its manifests give {digest} two sizes, {obj.size} and {size}", hint="report it upstream")
        source = RegistryBlob(self.reference.registry, self.reference.repository, digest, what)
        self.objects[digest] = Object(blob_path(digest), size, digest.removeprefix("sha256:"), source)

    def _read(self, wanted: str, descriptor: Descriptor | None = None) -> Manifest:
        """Fetch a manifest by tag or digest, and hold it against the descriptor that named it."""
        self._manifests_read += 1
        self._within(_MANIFESTS, self._manifests_read)
        raw = self._registry.manifest(self.reference.repository, wanted)
        if descriptor and descriptor.size != len(raw.data):
            self._refuse(
                f"its index gives {wanted} {descriptor.size} bytes, but it has {len(raw.data)}",
                hint="the index is damaged: report it upstream, or choose another tag",
            )
        try:
            parsed, media_type = parse_manifest(raw.data, raw.media_type)
        except ValueError as error:
            self._refuse(f"cannot use its manifest {raw.digest}: {explain(error)}", hint="choose another tag or image")
        return Manifest(raw.data, media_type, raw.digest, parsed)

    def _read_entry(self, descriptor: Descriptor) -> Manifest:
        return self._read(descriptor.digest, descriptor)

    def _platform_of(self, manifest: ImageManifest) -> frozenset[Platform]:
        """The platform that the config of a lone manifest says; none for an artifact, which is for no platform."""
        if manifest.artifact_type or manifest.config.media_type not in IMAGE_CONFIG_TYPES:
            return frozenset()
        try:
            config = ImageConfig.model_validate_json(self._read_config(manifest.config))
        except ValueError as error:
            self._refuse(f"cannot read its config: {explain(error)}", hint="choose another tag or image")
        self.licence = config.licence
        return frozenset([config.for_platform] if config.for_platform else [])

    def _read_config(self, descriptor: Descriptor) -> bytes:
        self._within(Limit(f"an image's config, {descriptor.digest}", MANIFEST_LIMIT), descriptor.size)
        return self._registry.blob(self.reference.repository, descriptor.digest, descriptor.size)

    def _check_depth(self, depth: int) -> None:
        if depth >= _DEEPEST:
            self._refuse(f"its indexes are nested more than {_DEEPEST} deep", hint="choose another tag or image")

    def _within(self, limit: Limit, found: int) -> None:
        try:
            limit.check(found)
        except LimitExceeded as error:
            raise error.of(ResolveError, f"images {self.reference}") from None

    def _refuse(self, why: str, *, hint: str) -> NoReturn:
        raise ResolveError(f"images {self.reference}: {why}", hint=hint)


def _listed(platforms: Iterable[Platform]) -> str:
    return ", ".join(str(platform) for platform in sorted(platforms))
