"""The bundle's `images/` as an OCI image layout (image-spec 1.1, "Image Layout"), as skopeo, podman and ctr read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bundler.kinds.images.attributes import blob_path
from bundler.kinds.images.oci import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, REF_NAME, digest_of
from bundler.model import json_text
from bundler.model.items import Json, Object

OCI_LAYOUT = "images/oci-layout"
INDEX_JSON = "images/index.json"

_CONTAINERD_NAME = "io.containerd.image.name"  # what `ctr images import` names an image by

Keep = Callable[[str, bytes], Object]  # stores made bytes for a path of the bundle


def describe(name: str, media_type: str, manifest: Object, keep: Keep) -> tuple[list[Json], tuple[Object, ...]]:
    """An image's entries in index.json, and objects that are made for them.

    `name` is the image's full name: what tools take as NAME in `oci:FOLDER:NAME`. Older ones (skopeo 1.9, podman 4.3)
    look only for OCI media types, newer take the first of a name. So an image of Docker's types has a second:
    the same list, called the OCI index that it could as well be, or an index of the one manifest.
    """
    entries: list[Json] = [_descriptor(name, media_type, manifest)]
    if media_type == DOCKER_LIST:
        return [*entries, _descriptor(name, OCI_INDEX, manifest)], ()
    if media_type == DOCKER_MANIFEST:
        named: dict[str, Json] = {"mediaType": media_type, "digest": f"sha256:{manifest.sha256}", "size": manifest.size}
        index = json_text.to_bytes({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [named]})
        made = keep(blob_path(digest_of(index)), index)
        return [*entries, _descriptor(name, OCI_INDEX, made)], (made,)
    return entries, ()


def layout_objects(entries: Iterable[Json], keep: Keep) -> tuple[Object, ...]:
    """The two files that make a folder of blobs a layout."""
    return (
        keep(OCI_LAYOUT, b'{"imageLayoutVersion":"1.0.0"}\n'),
        keep(INDEX_JSON, json_text.to_bytes({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)})),
    )


def _descriptor(name: str, media_type: str, content: Object) -> dict[str, Json]:
    return {
        "mediaType": media_type,
        "digest": f"sha256:{content.sha256}",
        "size": content.size,
        "annotations": {REF_NAME: name, _CONTAINERD_NAME: name},
    }
