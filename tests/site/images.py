"""A registry image made from what Debian installs, as a bundle carries it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from bundler.model.items import Item, Json, Made, Object
from bundler.model.target import OCI_ARCHITECTURES

OCI = "application/vnd.oci.image."


def tar_of(members: dict[str, bytes | tuple[bytes, str]], *, mode: int = 0o755) -> bytes:
    """A tar; a member is a file's bytes, or (type, link target)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, what in members.items():
            info = tarfile.TarInfo(name)
            info.mode = mode
            if isinstance(what, bytes):
                info.size = len(what)
                tar.addfile(info, io.BytesIO(what))
            else:
                info.type, info.linkname = what
                tar.addfile(info)
    return out.getvalue()


def program_with_libraries(program: Path) -> dict[str, bytes | tuple[bytes, str]]:
    """What `program` takes to run on its own: itself, its loader and its libraries, /lib64 a link as in Debian."""
    said = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"(/\S+) \(0x", said)
    members: dict[str, bytes | tuple[bytes, str]] = {f"usr{program}".replace("usr/usr", "usr"): program.read_bytes()}
    members["lib64"] = (tarfile.SYMTYPE, "/usr/lib64")
    for library in found:
        place = library.replace("/lib64/", "usr/lib64/").lstrip("/")
        members[place] = Path(library).resolve().read_bytes()
    return members


def image_item(
    name: str, repository: str, layers: list[bytes], *, role: str | None = "registry"
) -> tuple[Item, dict[str, bytes]]:
    """An image of this machine's architecture behind an index that also names another one; and its objects' bytes."""
    files: dict[str, bytes] = {}

    def blob(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        files[f"images/blobs/sha256/{digest}"] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data), **more}

    machine = platform.machine()
    ours = {"os": "linux", "architecture": OCI_ARCHITECTURES.get(machine, machine)}
    config = blob(json.dumps(ours).encode(), f"{OCI}config.v1+json")
    parts = [blob(gzip.compress(layer, 1), f"{OCI}layer.v1.tar+gzip") for layer in layers]
    manifest = {"schemaVersion": 2, "mediaType": f"{OCI}manifest.v1+json", "config": config, "layers": parts}
    entry = blob(json.dumps(manifest).encode(), f"{OCI}manifest.v1+json", platform=ours)
    absent = {**entry, "digest": "sha256:" + "0" * 64, "platform": {"os": "linux", "architecture": "mips"}}
    index = {"schemaVersion": 2, "mediaType": f"{OCI}index.v1+json", "manifests": [absent, entry]}
    top = blob(json.dumps(index).encode(), f"{OCI}index.v1+json")
    objects = tuple(
        Object(path, len(data), hashlib.sha256(data).hexdigest(), Made()) for path, data in sorted(files.items())
    )
    attributes: dict[str, Json] = {"repository": repository, "tags": ["1"], "digest": str(top["digest"]), "role": role}
    return Item("images", name, "1", objects, attributes), files
