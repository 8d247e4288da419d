"""The registry's image among those of a release: the one that the profile gave that role.

The bundle's images are an OCI image layout (image-spec 1.1, image-layout.md). Whatever it says was written elsewhere:
it is read with limits, held to its form, and every blob has to be an object of the release.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from bundler.bundle.content import Content
from bundler.errors import BundleError
from bundler.model.items import Item, Object
from bundler.model.target import OCI_ARCHITECTURES

REGISTRY = "registry"  # the role
_BLOBS = "images/blobs/sha256"
_DOCUMENT = 4 << 20  # bytes; what registries must at least accept (OCI distribution-spec, "Pushing manifests")
_DOCUMENTS = 64  # read to find the image: an index may name indexes
_LAYERS = 128  # what overlay file systems take
_SIZE = 1 << 30  # bytes of all layers, as they are carried

_Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
_MediaType = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.+_-]+/[A-Za-z0-9.+_-]+$", max_length=127)]


class _Document(BaseModel):
    """Written by a machine, elsewhere: keys that are not here are no error."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Platform(_Document):
    os: str = ""
    architecture: str = ""

    @property
    def is_ours(self) -> bool:
        machine = platform.machine()
        return (self.os, self.architecture) == ("linux", OCI_ARCHITECTURES.get(machine, machine))


class _Descriptor(_Document):
    digest: _Digest
    size: int = Field(ge=0)
    platform: _Platform | None = None


class _Image(_Document):
    """A manifest or an index: `manifests` tells."""

    media_type: _MediaType = Field(default="application/vnd.oci.image.manifest.v1+json", alias="mediaType")
    config: _Descriptor | None = None
    layers: list[_Descriptor] = Field(default=[], max_length=_LAYERS)
    manifests: list[_Descriptor] | None = None


class _Command(_Document):
    entrypoint: list[str] | None = Field(default=None, alias="Entrypoint")
    arguments: list[str] | None = Field(default=None, alias="Cmd")


class _Configuration(_Platform):
    config: _Command | None = None


_AnyDocument = TypeVar("_AnyDocument", bound=_Document)


@dataclass(frozen=True, slots=True)
class RegistryImage:
    """One platform's image: its manifest's digest in hex, the objects of both documents, its layers bottom first.

    `command` is what the image runs by itself.
    """

    name: str
    id: str
    media_type: str
    manifest: Object
    config: Object
    layers: tuple[Object, ...]
    command: tuple[str, ...]


def registry_image(items: Sequence[Item], content: Content) -> RegistryImage | None:
    """The image of `items` with the role, for this machine; None when there is none.

    Raises BundleError when there are two, or one that does not hold together; IntegrityError for damaged bytes.
    """
    found = [
        image
        for item in items
        if item.kind == "images" and item.attributes.get("role") == REGISTRY
        if (image := _Search(item, content).run())
    ]
    if len(found) > 1:
        raise BundleError(
            f"images {found[0].name} and {found[1].name} both have the role {REGISTRY} on this machine",
            hint="the bundle was not made by bundler; ask where it comes from",
        )
    return found[0] if found else None


class _Search:
    """For this machine's image in `item`."""

    def __init__(self, item: Item, content: Content) -> None:
        self._item = item
        self._content = content
        self._objects: Mapping[str, Object] = {obj.path: obj for obj in item.objects}
        self._seen: set[str] = set()

    def run(self) -> RegistryImage | None:
        top = str(self._item.attributes.get("digest", "")).removeprefix("sha256:")
        obj = self._objects.get(f"{_BLOBS}/{top}")
        if obj is None:
            raise self._bad(f"sha256:{top} is not among its objects")
        return self._look(obj)

    def _look(self, obj: Object) -> RegistryImage | None:
        """The image that a manifest or index leads to."""
        if obj.path in self._seen:
            return None
        self._seen.add(obj.path)
        if len(self._seen) > _DOCUMENTS:
            raise self._bad(f"it has more than {_DOCUMENTS} manifests")
        document = self._read(obj, _Image)
        if document.manifests is None:
            return self._image(obj, document)
        for entry in document.manifests:
            # An index may name what the bundle does not carry: other platforms'.
            if entry.platform and entry.platform.is_ours and self._carried(entry) is not None:
                return self._look(self._object(entry))
        return None

    def _image(self, obj: Object, document: _Image) -> RegistryImage | None:
        if document.config is None:
            raise self._bad(f"{obj.path} has no config")
        config = self._object(document.config)
        configuration = self._read(config, _Configuration)
        if not configuration.is_ours:
            return None
        layers = tuple(self._object(layer) for layer in document.layers)
        if sum(layer.size for layer in layers) > _SIZE:
            raise self._bad(f"its layers have more than {_SIZE >> 20} MiB")
        does = configuration.config or _Command()
        command = (*(does.entrypoint or ()), *(does.arguments or ()))
        return RegistryImage(self._item.name, obj.sha256, document.media_type, obj, config, layers, command)

    def _object(self, descriptor: _Descriptor) -> Object:
        obj = self._carried(descriptor)
        if obj is None:
            raise self._bad(f"{descriptor.digest} is not among its objects")
        if obj.size != descriptor.size:
            raise self._bad(f"{descriptor.digest} has {obj.size} bytes, and the image says {descriptor.size}")
        return obj

    def _carried(self, descriptor: _Descriptor) -> Object | None:
        return self._objects.get(f"{_BLOBS}/{descriptor.digest.removeprefix('sha256:')}")

    def _read(self, obj: Object, model: type[_AnyDocument]) -> _AnyDocument:
        try:
            return model.model_validate_json(self._content.read(obj, limit=_DOCUMENT))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise self._bad(f"{obj.path}: {place or 'it'}: {first['msg']}") from None

    def _bad(self, why: str) -> BundleError:
        return BundleError(
            f"images {self._item.name} {self._item.version}, the registry's image: {why}",
            hint="the bundle was not made by bundler; ask where it comes from",
        )
