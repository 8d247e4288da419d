"""The SBOM of every kind's bundle: valid by CycloneDX's own schema, with package URLs as the purl spec has them."""

from __future__ import annotations

import json
import re

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from bundler.bundle.documents import describe, sbom
from bundler.model.lock import Lock

# https://github.com/package-url/purl-spec/tree/main/types-doc
_DIGEST = r"sha256(:|%3A)[0-9a-f]{64}"
PURLS = {
    "rpms": r"pkg:rpm/rocky/[a-zA-Z0-9._%+-]+@[^@?#]+-[^@?#-]+\?arch=\w+&distro=rocky-8(&epoch=\d+)?",
    "images": rf"pkg:oci/[a-z0-9._-]+@{_DIGEST}\?(arch=\w+&)?repository_url=[a-z0-9./%:-]+(&tag=[\w.-]+)?",
    "wheels": r"pkg:pypi/[a-z0-9-]+@[^@?#]+\?file_name=[^&]+\.whl",
    "files": rf"pkg:generic/[^@?#]+(@[^@?#]+)?\?checksum={_DIGEST}&download_url=https(:|%3A)[^&]+",
    "bootstrap": r"pkg:(generic/bundler@[\d.]+\w*|pypi/[a-z0-9-]+@[^@?#]+\?file_name=[^&]+\.whl)",
}


@pytest.mark.parametrize("kind", PURLS)
def test_the_sbom_is_valid_and_its_purls_are_right(kind: str, locks: dict[str, Lock]) -> None:
    lock = locks[kind]
    document = sbom(describe(lock)[0]).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(document) is None
    components = json.loads(document)["components"]
    assert len(components) == sum(item.purl is not None for item in lock.items) > 0
    for component in components:
        assert re.fullmatch(PURLS[kind], component["purl"]), component["purl"]
        assert PackageURL.from_string(component["purl"]).to_string() == component["purl"], "in canonical form"


def test_every_kind_is_among_them(locks: dict[str, Lock]) -> None:
    assert set(PURLS) == set(locks)


def test_the_schema_is_held_against_something(locks: dict[str, Lock]) -> None:
    document = json.loads(sbom(describe(locks["files"])[0]))
    document["components"][0]["purl"] = 7
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is not None
