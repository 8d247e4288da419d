"""The bundle's `images/` as an OCI image layout (image-spec 1.1, "Image Layout"), as skopeo, podman and ctr read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from bundler.kinds.images.oci import OCI_INDEX, REF_NAME
from bundler.model.items import Json, Object

OCI_LAYOUT = "images/oci-layout"
INDEX_JSON = "images/index.json"

_CONTAINERD_NAME = "io.containerd.image.name"  # what `ctr images import` names an image by


def descriptor(name: str, media_type: str, digest: str, size: int) -> dict[str, Json]:
    """An image's entry in index.json. `name` is its full name: what tools take as NAME in `oci:FOLDER:NAME`."""
    return {
        "mediaType": media_type,
        "digest": digest,
        "size": size,
        "annotations": {REF_NAME: name, _CONTAINERD_NAME: name},
    }


def layout_objects(descriptors: Iterable[dict[str, Json]], keep: Callable[[str, bytes], Object]) -> tuple[Object, ...]:
    """The two files that make a folder of blobs a layout; `keep` stores bytes for a path of the bundle."""
    index: dict[str, Json] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(descriptors)}
    return (
        keep(OCI_LAYOUT, b'{"imageLayoutVersion":"1.0.0"}\n'),
        keep(INDEX_JSON, json.dumps(index, indent=1).encode() + b"\n"),
    )
