"""The documents at the head of a bundle, for people and for other tools: the SBOM and README.txt.

They are a closed set, for nobody can vouch for a file that is not shown. The SBOM is a function of the manifest: its
form belongs to the format's number, and a reader takes no other bytes. The README's wording is not, so it is shown.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any
from urllib.parse import quote

from bundler.bundle.layout import MTIME
from bundler.bundle.manifest import FORMAT, MANIFEST, Manifest
from bundler.errors import BundleError
from bundler.model import by_hand, json_text
from bundler.model.contents import sorted_items
from bundler.model.items import Download, Item, Made, Object
from bundler.model.lock import Lock

README = "README.txt"
SBOM = "sbom.cdx.json"
README_LIMIT = 64 << 10  # bytes
_HINT = "it was not made by this version of bundler: ask where it comes from"
_URL_CHARACTERS = "%/:=&?~#+!$,;'@()*[]"  # what stands for itself in a URL that is quoted already
_INSTALL = "bootstrap/install.sh"
_BARE = """
An admin host that has nothing yet, not even bundler, is set up from there, as root. The manifest has the digest of
every file: install.sh is held to it by hand, and holds the others to it before it uses them.

"""


def describe(lock: Lock) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest of the bundle that `lock` makes, and the bytes of its documents by path."""
    bare = Manifest(lock.name, lock.version, lock.profile_sha256, lock.sha256, lock.items, (), lock.targets)
    documents = {SBOM: sbom(bare), README: readme(lock)}
    return replace(bare, documents=tuple(_object(path, data) for path, data in documents.items())), documents


def check_set(manifest: Manifest, what: str) -> None:
    """Raise BundleError unless the documents of `manifest`, which is `what`'s, are the SBOM and a README, as they are
    written.
    """
    paths = [obj.path for obj in manifest.documents]
    if others := [path for path in paths if path not in (SBOM, README)]:
        raise BundleError(f"{what}: {others[0]!r} belongs to no item, and is no document of a bundle", hint=_HINT)
    if missing := [path for path in (SBOM, README) if path not in paths]:
        raise BundleError(f"{what}: {' and '.join(missing)} missing: every bundle has both", hint=_HINT)
    if paths != [SBOM, README]:
        raise BundleError(f"{what}: {README} comes before {SBOM}", hint=_HINT)
    for obj in manifest.documents:
        if obj != replace(obj, source=Made(), mode=0o644):
            raise BundleError(f"{what}: {obj.path} has a source or a mode that documents never have", hint=_HINT)
        if obj.path == README and obj.size > README_LIMIT:
            raise BundleError(f"{what}: {README} has {obj.size} bytes; {README_LIMIT} is the most", hint=_HINT)


def check_sbom(manifest: Manifest, what: str) -> None:
    """Raise BundleError unless the SBOM that `manifest` names has the bytes that follow from `manifest`."""
    if _object(SBOM, sbom(manifest)) not in manifest.documents:
        raise BundleError(f"{what}: {SBOM} is not the SBOM of what {MANIFEST} lists", hint=_HINT)


def readme_text(data: bytes, what: str) -> str:
    """README.txt as people may be shown it: printable ASCII on lines. Raises BundleError for anything else."""
    text = data.decode("ascii", "replace")
    if not text.isascii() or not all(line.isprintable() for line in text.split("\n")):
        raise BundleError(f"{what}: {README} has more in it than printable ASCII on lines", hint=_HINT)
    return text


def _object(path: str, data: bytes) -> Object:
    return Object(path, len(data), hashlib.sha256(data).hexdigest(), Made())


def sbom(manifest: Manifest) -> bytes:
    """CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/): a component for each item that has a package URL.

    What `manifest` says of documents has no say.
    """
    components = [item for item in sorted_items(manifest.items) if item.purl]
    references = sorted(map(_reference, components))
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, f"bundler:{manifest.lock_sha256}").urn,
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(MTIME, UTC).isoformat(),
            "component": {
                "type": "application",
                "bom-ref": manifest.folder,
                "name": manifest.name,
                "version": manifest.version,
            },
        },
        "components": map(_component, components),
        "dependencies": chain(
            [{"ref": manifest.folder, "dependsOn": references}], ({"ref": each} for each in references)
        ),
    }
    return json_text.to_bytes(document)


def readme(lock: Lock) -> bytes:
    """What the bundle is and how to use it with plain tools."""
    counts = Counter(item.kind for item in lock.items)
    size = sum(obj.size for obj in lock.objects)
    held = "\n".join(f"  {kind:<8} {count} items" for kind, count in sorted(counts.items()))
    folder = f"{lock.name}-{lock.version}"
    with_bootstrap = any(obj.path == _INSTALL for obj in lock.objects)
    bare = f"{_BARE}{by_hand.set_up(folder)}" if with_bootstrap else ""
    return f"""{folder}: an air-gap bundle (format {FORMAT}), {size} bytes of payload

{held}

With bundler:

  bundler inspect {folder}.tar               what is in it
  bundler verify  {folder}.tar               whether every byte arrived
  bundler install {folder}.tar --address A   serve it on the admin host whose address is A

Without bundler, see that somebody vouches for the bundle before anything of it runs. A forged one can have another text
here: bundler's documentation has the same lines.

{by_hand.check(folder)}{bare}
Without bundler, after `tar xf {folder}.tar && cd {folder}`:

  sha256sum -c SHA256SUMS                                         whether every byte arrived; nobody signs this list
  dnf --repofrompath=x,file://$PWD/rpms/DISTRO/RELEASE/REPO ...   each REPO is a yum repository
  skopeo copy oci:images:REFERENCE ...                            images/ is an OCI image layout
  pip install --no-index --find-links wheels NAME                 wheels/ is a folder of wheels
  files/HOST/PATH                                                 what lay at https://HOST/PATH

manifest.json names every file, its size, its sha256 and where it came from. sbom.cdx.json is a CycloneDX SBOM.
""".encode()


def _reference(item: Item) -> str:
    first = item.objects[0].path if item.objects else ""
    return f"{item.kind}:{item.name}@{item.version}#{first}"


def _component(item: Item) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "container" if item.kind == "images" else "library",
        "bom-ref": _reference(item),
        "name": item.name,
        **({"version": item.version} if item.version else {}),
        # Upstreams name licences in words of their own: a name is always valid, an expression only when it is SPDX.
        **({"licenses": [{"license": {"name": item.licence}}]} if item.licence else {}),
        "purl": item.purl,
        "properties": [{"name": "bundler:kind", "value": item.kind}],
    }
    if len(item.objects) == 1:
        (obj,) = item.objects
        component["hashes"] = [{"alg": "SHA-256", "content": obj.sha256}]
        if isinstance(obj.source, Download):
            url = quote(obj.source.url, safe=_URL_CHARACTERS)
            component["externalReferences"] = [{"type": "distribution", "url": url}]
    return component
