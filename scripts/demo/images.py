"""Container images without a container engine: made from Debian's files as an OCI layout, and pushed byte for byte.

Formats: OCI image spec 1.1 (image-layout.md, manifest.md, config.md); pushing: OCI distribution spec 1.1.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_INDEX = "application/vnd.oci.image.index.v1+json"


def with_libraries(program: Path) -> dict[str, Path]:
    """A dynamic program and the shared libraries it loads, by the absolute paths the loader looks for them at."""
    listing = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
    words = (word for line in listing.splitlines() for word in line.split())
    return {word: Path(word).resolve() for word in words if word.startswith("/")}


def make_layout(
    folder: Path, files: Mapping[str, Path | bytes], *, entrypoint: Sequence[str], cmd: Sequence[str]
) -> None:
    """Write an OCI layout of one linux/amd64 image; its layer holds `files` (absolute path to content), all 0755."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for path, content in sorted(files.items()):
            data = content if isinstance(content, bytes) else content.read_bytes()
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
    tar_bytes = plain.getvalue()
    layer = gzip.compress(tar_bytes, compresslevel=6, mtime=0), hashlib.sha256(tar_bytes).hexdigest()
    make_layout_of_layers(folder, [layer], entrypoint=entrypoint, cmd=cmd)


def make_layout_of_layers(
    folder: Path, layers: Sequence[tuple[bytes, str]], *, entrypoint: Sequence[str] = (), cmd: Sequence[str] = ()
) -> None:
    """Write an OCI layout of one linux/amd64 image of `layers`: each a gzipped tar, and the plain tar's sha256."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [*entrypoint], "Cmd": [*cmd], "Env": ["PATH=/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}" for _, diff_id in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _keep(folder, _CONFIG, _json(config)),
        "layers": [_keep(folder, _LAYER, layer) for layer, _ in layers],
    }
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [_keep(folder, _MANIFEST, _json(manifest))]}
    (folder / "index.json").write_bytes(_json(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def push_layout(folder: Path, registry: str, repository: str, tag: str) -> None:
    """Push the one image (or index) of an OCI layout to `registry` (http://host:port), every byte as it lies there.

    skopeo would rewrite a Docker manifest list that lies in an OCI layout; its digest must stay.
    """
    (top,) = json.loads((folder / "index.json").read_bytes())["manifests"]
    with requests.Session() as session:
        _push_manifest(session, folder, f"{registry}/v2/{repository}", top, tag)


def _push_manifest(
    session: requests.Session, folder: Path, url: str, descriptor: dict[str, Any], reference: str
) -> None:
    data = _blob(folder, descriptor).read_bytes()
    document = json.loads(data)
    # A layout may hold some platforms of an index only; the index then takes no push, so the data must be whole.
    for child in document.get("manifests", []):
        _push_manifest(session, folder, url, child, child["digest"])
    for blob in [document[key] for key in ("config",) if key in document] + document.get("layers", []):
        _push_blob(session, folder, url, blob)
    headers = {"Content-Type": descriptor["mediaType"]}
    session.put(f"{url}/manifests/{reference}", data=data, headers=headers, timeout=60).raise_for_status()


def _push_blob(session: requests.Session, folder: Path, url: str, descriptor: dict[str, Any]) -> None:
    if session.head(f"{url}/blobs/{descriptor['digest']}", timeout=60).ok:
        return
    started = session.post(f"{url}/blobs/uploads/", timeout=60)
    started.raise_for_status()
    place = urljoin(url, started.headers["Location"])
    with _blob(folder, descriptor).open("rb") as content:
        put = session.put(place, params={"digest": descriptor["digest"]}, data=content, timeout=60)
    put.raise_for_status()


def _blob(folder: Path, descriptor: dict[str, Any]) -> Path:
    algorithm, _, value = str(descriptor["digest"]).partition(":")
    return folder / "blobs" / algorithm / value


def _keep(folder: Path, media_type: str, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    place = folder / "blobs" / "sha256" / digest
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True).encode()
