"""What an item is called, and what it says it is: one that lies is refused wherever its kind reads it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bundler.errors import BundleError
from bundler.kinds.images.attributes import ImageAttributes
from bundler.kinds.rpms.attributes import KeyAttributes, PackageAttributes, RepositoryAttributes
from bundler.model.attributes import Attributes, check_attributes
from bundler.model.items import Item, Json, Made, Object

DIGEST = f"sha256:{'a' * 64}"
IMAGE: dict[str, Json] = {
    "reference": "docker.io/library/nginx:1",
    "registry": "docker.io",
    "repository": "library/nginx",
    "tags": ["1"],
    "digest": DIGEST,
    "media_type": "application/vnd.oci.image.manifest.v1+json",
    "upstream_digest": DIGEST,
    "platforms": ["linux/amd64"],
    "manifests": [{"digest": DIGEST, "media_type": "application/vnd.oci.image.manifest.v1+json"}],
    "blobs": [],
    "role": None,
}
TARGET: dict[str, Json] = {"distro": "rocky", "release": "9", "arch": "x86_64"}


def item(kind: str, name: str, version: str, path: str, attributes: dict[str, Json]) -> Item:
    return Item(kind, name, version, (Object(path, 1, "a" * 64, Made()),), attributes)


HONEST: dict[type[Attributes], Item] = {
    ImageAttributes: item("images", "docker.io/library/nginx", "1", f"images/blobs/sha256/{'a' * 64}", IMAGE),
    PackageAttributes: item(
        *("rpms", "socat", "1-2.el9", "rpms/rocky/9/baseos/Packages/socat.rpm"),
        {
            "type": "package",
            "repo": "baseos",
            "target": "rocky-9-x86_64",
            "nevra": "socat-1-2.el9.x86_64",
            "arch": "x86_64",
            "href": "Packages/socat.rpm",
            "sourcerpm": "",
        },
    ),
    RepositoryAttributes: item(
        *("rpms", "baseos", "7", "rpms/rocky/9/baseos/repodata/repomd.xml"),
        {
            "type": "repository",
            "repo": "baseos",
            "target": TARGET,
            "path": "rpms/rocky/9/baseos",
            "packages": 1,
            "sample": "socat",
            "gpgcheck": False,
            "keys": [],
            "priority": 99,
            "module_hotfixes": False,
            "modules": [],
        },
    ),
    KeyAttributes: item(
        *("rpms", "RPM-GPG-KEY", "b" * 16, "keys/RPM-GPG-KEY"), {"type": "key", "fingerprints": ["a" * 24 + "b" * 16]}
    ),
}


@pytest.mark.parametrize("sort", HONEST)
def test_honest_item_is_read(sort: type[Attributes]) -> None:
    assert sort.of(HONEST[sort]).as_json() == HONEST[sort].attributes


@pytest.mark.parametrize("sort", HONEST)
@pytest.mark.parametrize("change", [{"name": "other"}, {"name": "x\nother"}])
def test_item_under_another_name_is_refused(sort: type[Attributes], change: dict[str, str]) -> None:
    with pytest.raises(BundleError, match="it is not what it claims to be"):
        sort.of(replace(HONEST[sort], **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sort", "lie"),
    [
        (ImageAttributes, {"repository": "kube-apiserver"}),
        (ImageAttributes, {"registry": "quay.io"}),
        (ImageAttributes, {"tags": ["v1.35.4"]}),
        (ImageAttributes, {"tags": ["1", "2"]}),
        (ImageAttributes, {"tags": []}),
        (ImageAttributes, {"reference": "docker.io/library/nginx:2"}),
        (ImageAttributes, {"reference": "nginx:1"}),
        (ImageAttributes, {"reference": "nginx:\nclo.tar: intact, nothing lacks, 9 objects"}),
        (PackageAttributes, {"nevra": "socat-1-1.el9.x86_64"}),
        (PackageAttributes, {"arch": "noarch"}),
        (PackageAttributes, {"href": "Packages/other.rpm"}),
        (PackageAttributes, {"repo": "appstream"}),
        (RepositoryAttributes, {"repo": "appstream"}),
        (RepositoryAttributes, {"path": "rpms/rocky/9/appstream"}),
        (RepositoryAttributes, {"target": {**TARGET, "release": "8"}}),
        (KeyAttributes, {"fingerprints": ["c" * 40]}),
    ],
)
def test_attributes_of_something_else_are_refused(sort: type[Attributes], lie: dict[str, Any]) -> None:
    honest = HONEST[sort]
    with pytest.raises(BundleError) as refused:
        sort.of(replace(honest, attributes={**honest.attributes, **lie}))
    assert refused.value.message.isprintable()


@pytest.mark.parametrize("type_", [None, "", "unheard of", 7, ["package"]])
def test_item_that_does_not_say_what_it_is_is_refused(type_: Json) -> None:
    honest = HONEST[PackageAttributes]
    check_attributes([honest], [PackageAttributes, KeyAttributes])
    with pytest.raises(BundleError, match="it does not say what it is"):
        check_attributes([replace(honest, attributes={**honest.attributes, "type": type_})], [PackageAttributes])


@pytest.mark.parametrize(
    ("sort", "other", "what"),
    [
        (ImageAttributes, {"digest": "sha256:" + "f" * 64}, "library/nginx:1"),
        (RepositoryAttributes, {"path": "rpms/rocky/9/x86_64/baseos"}, "repository baseos for rocky-9-x86_64"),
        (RepositoryAttributes, {"priority": 1}, "repository baseos for rocky-9-x86_64"),
    ],
)
def test_a_name_is_given_once(sort: type[Attributes], other: dict[str, Json], what: str) -> None:
    """Which of the two nodes would get is chance, or the choice of whoever made the bundle."""
    honest = HONEST[sort]
    check_attributes([honest, honest], [sort])
    (obj,) = honest.objects
    path = f"{other.get('path', obj.path.rpartition('/')[0])}/{obj.path.rpartition('/')[2]}"
    rival = replace(honest, objects=(replace(obj, path=path),), attributes={**honest.attributes, **other})
    with pytest.raises(BundleError, match=f"the bundle has {what} twice, and they differ"):
        check_attributes([honest, rival], [sort])


def test_an_image_of_two_registries_is_one_where_it_is_the_same() -> None:
    honest = HONEST[ImageAttributes]
    names: dict[str, Json] = {"reference": "quay.io/library/nginx:1", "registry": "quay.io"}
    other = replace(honest, name="quay.io/library/nginx", objects=(), attributes={**honest.attributes, **names})
    check_attributes([honest, other], [ImageAttributes])
