"""The documents at the head of a bundle, for people and for other tools: README.txt and the SBOM."""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from datetime import UTC, datetime

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from bundler.bundle.layout import MTIME
from bundler.bundle.manifest import FORMAT, Manifest
from bundler.model.items import Download, Item, Made, Object
from bundler.model.lock import Lock

README = "README.txt"
SBOM = "sbom.cdx.json"
_INSTALL = "bootstrap/install.sh"
_BARE = """
On an admin host that has nothing yet, not even bundler, as root:

  tar xf FOLDER.tar --strip-components=1 FOLDER/bootstrap
  sh bootstrap/install.sh FOLDER.tar --address A
"""


def describe(lock: Lock) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest of the bundle that `lock` makes, and the bytes of its documents by path."""
    documents = {SBOM: sbom(lock), README: readme(lock)}
    objects = tuple(
        Object(path, len(data), hashlib.sha256(data).hexdigest(), Made()) for path, data in documents.items()
    )
    return Manifest(lock.name, lock.version, lock.profile_sha256, lock.sha256, lock.items, objects), documents


def sbom(lock: Lock) -> bytes:
    """CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/): a component for each item that has a package URL."""
    release = Component(
        name=lock.name, version=lock.version, type=ComponentType.APPLICATION, bom_ref=f"{lock.name}-{lock.version}"
    )
    components = [_component(item) for item in lock.items if item.purl]
    leaves = [Dependency(component.bom_ref) for component in components]
    bom = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"bundler:{lock.sha256}"),
        metadata=BomMetaData(timestamp=datetime.fromtimestamp(MTIME, UTC), component=release),
        components=components,
        dependencies=[Dependency(release.bom_ref, leaves), *leaves],
    )
    # The dependencies are complete as they are; looking for more takes the library time by the square of their number.
    bom.validate = lambda: True  # type: ignore[method-assign]
    return JsonV1Dot6(bom).output_as_string(indent=1).encode() + b"\n"


def readme(lock: Lock) -> bytes:
    """What the bundle is and how to use it with plain tools."""
    counts = Counter(item.kind for item in lock.items)
    size = sum(obj.size for obj in lock.objects)
    held = "\n".join(f"  {kind:<8} {count} items" for kind, count in sorted(counts.items()))
    folder = f"{lock.name}-{lock.version}"
    with_bootstrap = any(obj.path == _INSTALL for obj in lock.objects)
    bare = _BARE.replace("FOLDER", folder) if with_bootstrap else ""
    return f"""{folder}: an air-gap bundle (format {FORMAT}), {size} bytes of payload

{held}

With bundler:

  bundler inspect {folder}.tar               what is in it
  bundler verify  {folder}.tar               whether every byte arrived
  bundler install {folder}.tar --address A   serve it on the admin host whose address is A
{bare}
Without bundler, after `tar xf {folder}.tar && cd {folder}`:

  sha256sum -c SHA256SUMS                                         every byte
  dnf --repofrompath=x,file://$PWD/rpms/DISTRO/RELEASE/REPO ...   each REPO is a yum repository
  skopeo copy oci:images:REFERENCE ...                            images/ is an OCI image layout
  pip install --no-index --find-links wheels NAME                 wheels/ is a folder of wheels
  files/HOST/PATH                                                 what lay at https://HOST/PATH

manifest.json names every file, its size, its sha256 and where it came from. sbom.cdx.json is a CycloneDX SBOM.
""".encode()


def _component(item: Item) -> Component:
    objects = item.objects if len(item.objects) == 1 else ()
    return Component(
        name=item.name,
        version=item.version or None,
        type=ComponentType.CONTAINER if item.kind == "images" else ComponentType.LIBRARY,
        bom_ref=f"{item.kind}:{item.name}@{item.version}#{item.objects[0].path if item.objects else ''}",
        purl=PackageURL.from_string(item.purl) if item.purl else None,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=obj.sha256) for obj in objects],
        # Upstreams name licences in words of their own: a name is always valid, an expression only when it is SPDX.
        licenses=[DisjunctiveLicense(name=item.licence)] if item.licence else [],
        external_references=[
            ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(obj.source.url))
            for obj in objects
            if isinstance(obj.source, Download)
        ],
        properties=[Property(name="bundler:kind", value=item.kind)],
    )
