"""From references to items, against a real registry."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any, cast

import pytest
from packageurl import PackageURL

from bundler.errors import ProfileError, ResolveError
from bundler.kinds.images.attributes import ImageAttributes, blob_path, object_of
from bundler.kinds.images.resolve import resolve
from bundler.kinds.images.spec import Spec
from bundler.limits import Limit
from bundler.model.items import Item, Made, RegistryBlob, objects_of
from bundler.model.target import Target
from bundler.transfer.store import Store
from bundler.transfer.upstream import Upstream
from tests.kinds.images.registries import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, RunningRegistry

AMD64 = Target(distro="rocky", release="9")
ARM64 = Target(distro="rocky", release="9", arch="aarch64")
S390X = Target(distro="rocky", release="9", arch="s390x")

MULTI_INDEX = "sha256:0de0e983a4980f32b1aad2d7f7f387cea2d4e9517b47f336cef27f63735911fa"
MULTI_AMD64 = "sha256:e033aa62f84267cf44de611acac2e76bfa4d2f0b6b2b61f1c4fecbefefde7159"
MULTI_ARM64 = "sha256:02f29c270f30416a266571383098d7b98a49488723087fd917128045bcd1ca75"
HELLO_LIST = "sha256:d0c9de6b9869c144aca831898c562d01169b740e50a73b8893cdd05ab94c64b7"


def resolved(entries: Iterable[object], upstream: Upstream, *targets: Target) -> tuple[Item, ...]:
    return resolve(Spec.model_validate(list(entries)), targets or (AMD64,), upstream)


def one(entry: object, upstream: Upstream, *targets: Target) -> tuple[Item, ImageAttributes]:
    (item,) = resolved([entry], upstream, *targets)
    return item, ImageAttributes.of(item)


@pytest.mark.usefixtures("library")
def test_of_an_index_one_platform_is_taken(upstream: Upstream) -> None:
    item, image = one("docker.io/team/multi:1", upstream)
    assert (item.kind, item.name, item.version) == ("images", "docker.io/team/multi", "1")
    assert (image.digest, image.upstream_digest) == (MULTI_AMD64, MULTI_INDEX)
    assert image.platforms == ("linux/amd64",)
    assert [manifest.digest for manifest in image.manifests] == [MULTI_AMD64]
    assert len(image.blobs) == 2
    manifest = object_of(item, MULTI_AMD64)
    assert manifest.source == RegistryBlob("docker.io", "team/multi", MULTI_AMD64, "manifests")
    assert manifest.size == 503
    layer = object_of(item, "sha256:e8170da5e917b5a8fd29726001e996f567f248541fde0f7bf42a4c7a5cca9ed0")
    assert layer.size == 1141361
    assert layer.source == RegistryBlob("docker.io", "team/multi", f"sha256:{layer.sha256}", "blobs")
    assert item.purl
    purl = PackageURL.from_string(item.purl)
    assert (purl.type, purl.name, purl.version) == ("oci", "multi", MULTI_AMD64)
    assert purl.qualifiers == {"arch": "amd64", "repository_url": "docker.io/team/multi", "tag": "1"}


def test_several_platforms_get_an_index_of_their_own(
    library: RunningRegistry, upstream: Upstream, store: Store
) -> None:
    item, image = one("docker.io/team/multi:1", upstream, AMD64, ARM64)
    assert image.platforms == ("linux/amd64", "linux/arm64")
    assert [manifest.digest for manifest in image.manifests] == [MULTI_AMD64, MULTI_ARM64, image.digest]
    assert image.upstream_digest == MULTI_INDEX
    made = object_of(item, image.digest)
    assert made.source == Made()
    document = json.loads(store.path(made.sha256).read_bytes())
    original = library.get(f"team/multi/manifests/{MULTI_INDEX}").json()
    assert document["mediaType"] == OCI_INDEX
    assert document["manifests"] == original["manifests"][:2]
    again, _ = one("docker.io/team/multi:1", upstream, ARM64, AMD64)
    assert again == item


@pytest.mark.usefixtures("library")
def test_all_platforms_keep_the_index_and_its_digest(upstream: Upstream) -> None:
    _, whole = one({"ref": "docker.io/team/multi:1", "platforms": "all"}, upstream)
    assert whole.digest == whole.upstream_digest == MULTI_INDEX
    assert whole.platforms == ("linux/amd64", "linux/arm64", "linux/ppc64le", "linux/s390x")
    assert len(whole.manifests) == 5
    assert whole.manifests[-1].digest == MULTI_INDEX
    # Asking for each of them by name is the same.
    _, named = one("docker.io/library/hello:1", upstream, AMD64, S390X)
    assert named.digest == HELLO_LIST


@pytest.mark.usefixtures("library")
def test_a_pinned_index_is_taken_whole(upstream: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        item, image = one(f"docker.io/team/multi@{MULTI_INDEX}", upstream)
    assert image.digest == MULTI_INDEX
    assert (image.tags, item.version) == ((), MULTI_INDEX)
    assert len(image.platforms) == 4
    assert "needs it whole" in caplog.text


@pytest.mark.usefixtures("library")
def test_a_pinned_manifest_is_taken_alone(upstream: Upstream) -> None:
    item, image = one(f"docker.io/team/multi:1@{MULTI_AMD64}", upstream)
    assert (image.digest, image.tags, image.platforms) == (MULTI_AMD64, ("1",), ("linux/amd64",))
    assert item.version == f"1@{MULTI_AMD64}"


@pytest.mark.usefixtures("library")
def test_a_platform_that_is_missing_is_named_with_those_there_are(upstream: Upstream) -> None:
    with pytest.raises(ResolveError, match=r"docker\.io/library/hello:1.*linux/arm64.*linux/amd64, linux/s390x"):
        one("hello:1", upstream, AMD64, ARM64)
    _, image = one({"ref": "hello:1", "platforms": ["linux/s390x"]}, upstream, AMD64, ARM64)
    assert image.platforms == ("linux/s390x",)


@pytest.mark.usefixtures("library")
def test_a_single_image_of_another_architecture_is_refused(upstream: Upstream) -> None:
    _, image = one("alpine:3.11", upstream)
    assert image.platforms == ("linux/amd64",)
    assert image.digest == image.upstream_digest
    with pytest.raises(ResolveError, match=r"alpine:3\.11: there is none for linux/arm64, only for linux/amd64"):
        one("alpine:3.11", upstream, ARM64)


@pytest.mark.usefixtures("library")
def test_signatures_are_for_no_platform(upstream: Upstream) -> None:
    _, image = one(f"docker.io/team/multi:{MULTI_AMD64.replace(':', '-')}.sig", upstream, ARM64)
    assert image.platforms == ()
    assert len(image.blobs) == 2


def test_an_artifact_with_a_subject_is_kept(internet: RunningRegistry, upstream: Upstream) -> None:
    subject = internet.push_image("library/subject", "1")
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example.sbom",
        "config": internet.push_blob("library/subject", b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [internet.push_blob("library/subject", b"an sbom", "text/spdx+json")],
        "subject": {key: subject[key] for key in ("mediaType", "digest", "size")},
        "annotations": {"org.opencontainers.image.licenses": "CC0-1.0"},
    }
    pushed = internet.push_manifest("library/subject", document, "sbom")
    item, image = one("subject:sbom", upstream)
    assert (image.digest, image.platforms, item.licence) == (pushed["digest"], (), "CC0-1.0")


def test_the_licence_of_an_image_is_its_label(internet: RunningRegistry, upstream: Upstream) -> None:
    internet.push_image("library/labelled", "1", config={"Labels": {"org.opencontainers.image.licenses": "MIT"}})
    item, _ = one("labelled:1", upstream)
    assert item.licence == "MIT"


def test_attestations_go_with_the_whole_alone(internet: RunningRegistry, upstream: Upstream) -> None:
    name = "library/attested"
    amd64, arm64 = (internet.push_image(name, arch=arch) for arch in ("amd64", "arm64"))
    attestation = {
        **internet.push_image(name, arch="unknown"),
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
    }
    index = internet.push_index(name, "1", [amd64, arm64, attestation])
    _, both = one("attested:1", upstream, AMD64, ARM64)
    assert [manifest.digest for manifest in both.manifests[:-1]] == [amd64["digest"], arm64["digest"]]
    assert both.digest != index["digest"]
    _, whole = one({"ref": "attested:1", "platforms": "all"}, upstream)
    assert (whole.digest, len(whole.manifests)) == (index["digest"], 4)
    assert whole.platforms == ("linux/amd64", "linux/arm64")


def test_variants_are_matched(internet: RunningRegistry, upstream: Upstream) -> None:
    name = "library/variants"
    arm64 = internet.push_image(name, arch="arm64", variant="v8")
    v6 = internet.push_image(name, arch="arm", variant="v6")
    internet.push_index(name, "1", [arm64, v6])
    assert one("variants:1", upstream, ARM64)[1].digest == arm64["digest"]
    assert one({"ref": "variants:1", "platforms": ["linux/arm/v7"]}, upstream)[1].digest == v6["digest"]


def test_an_index_in_an_index_is_opened(internet: RunningRegistry, upstream: Upstream) -> None:
    name = "library/nested"
    amd64, arm64, s390x = (internet.push_image(name, arch=arch) for arch in ("amd64", "arm64", "s390x"))
    inner = internet.push_index(name, "inner", [amd64, arm64])
    outer = internet.push_index(name, "1", [inner, s390x])
    assert one("nested:1", upstream, ARM64)[1].digest == arm64["digest"]
    _, whole = one("nested:1", upstream, AMD64, ARM64, S390X)
    digests = [manifest.digest for manifest in whole.manifests]
    assert digests == [one["digest"] for one in (amd64, arm64, inner, s390x, outer)]


def test_an_index_of_thousands_is_not_read_to_its_end(
    internet: RunningRegistry, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bundler.kinds.images.walk._MANIFESTS", Limit("the manifests of one image", 4, "manifests"))
    name = "library/wide"
    images = [internet.push_image(name, arch="amd64", variant=str(number)) for number in range(4)]
    internet.push_index(name, "3", images[:3])
    internet.push_index(name, "4", images)
    one({"ref": "wide:3", "platforms": "all"}, upstream)
    with pytest.raises(ResolveError, match=r"images .*wide:4: it exceeds the limit of 4 manifests"):
        one({"ref": "wide:4", "platforms": "all"}, upstream)


def test_a_manifest_of_thousands_of_layers_is_refused(
    internet: RunningRegistry, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bundler.kinds.images.walk._OBJECTS", Limit("an image", 2, "objects"))
    internet.push_image("library/layers", "1")
    with pytest.raises(ResolveError, match="limit of 2 objects for an image"):
        one("layers:1", upstream)


def test_indexes_nest_only_so_deep(internet: RunningRegistry, upstream: Upstream) -> None:
    name = "library/deep"
    entry = internet.push_image(name)
    for level in range(6):
        entry = internet.push_index(name, str(level), [entry])
        entry.pop("platform", None)
    with pytest.raises(ResolveError, match="nested"):
        one("deep:5", upstream)


def test_an_index_of_artifacts_is_taken_whole(internet: RunningRegistry, upstream: Upstream) -> None:
    name = "library/artifacts"
    entry = internet.push_image(name)
    entry.pop("platform")
    index = internet.push_index(name, "1", [entry])
    _, image = one("artifacts:1", upstream, ARM64)
    assert (image.digest, image.platforms) == (index["digest"], ())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"config": {"mediaType": OCI_CONFIG, "digest": "sha512:" + "0" * 128, "size": 1}}, "config.digest"),
        ({"layers": "none"}, "layers"),
        ({"manifests": []}, "index and a manifest at once"),
        ({"mediaType": "application/vnd.oci.artifact.manifest.v1+json"}, "not supported"),
        (
            {
                "layers": [
                    {
                        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                        "digest": "sha256:" + "0" * 64,
                        "size": 1,
                        "urls": ["https://example.org/layer"],
                    }
                ]
            },
            "not in the registry",
        ),
    ],
)
def test_what_cannot_be_served_is_refused(
    internet: RunningRegistry,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, object],
    expected: str,
) -> None:
    """Documents that a well-behaved registry does not take itself, so its answer is changed on the way."""
    internet.push_image("library/odd", "1")
    registry = upstream.registry("docker.io")
    fetch = registry.manifest

    def changed(repository: str, reference: str) -> Any:
        raw = fetch(repository, reference)
        document = {**json.loads(raw.data), **change}
        return type(raw)(json.dumps(document).encode(), raw.media_type, raw.digest)

    monkeypatch.setattr(registry, "manifest", changed)
    with pytest.raises(ResolveError, match=expected) as refused:
        one("odd:1", upstream)
    assert "docker.io/library/odd:1" in refused.value.message


def test_an_index_that_lies_about_a_size_is_refused(internet: RunningRegistry, upstream: Upstream) -> None:
    entry = internet.push_image("library/liar")
    internet.push_index("library/liar", "1", [{**entry, "size": cast("int", entry["size"]) + 1}])
    with pytest.raises(ResolveError, match="bytes, but it has"):
        one("liar:1", upstream)


def test_a_layer_of_two_sizes_is_refused(internet: RunningRegistry, upstream: Upstream) -> None:
    name = "library/twosizes"
    layer = internet.push_blob(name, b"layer")
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": internet.push_blob(name, b'{"os":"linux","architecture":"amd64"}', OCI_CONFIG),
        "layers": [layer, {**layer, "size": 6, "mediaType": OCI_LAYER}],
    }
    internet.push_manifest(name, document, "1")
    with pytest.raises(ResolveError, match="two sizes"):
        one("twosizes:1", upstream)


@pytest.mark.usefixtures("internet")
def test_an_image_that_is_not_there_is_named(upstream: Upstream) -> None:
    with pytest.raises(ResolveError, match="library/missing"):
        one("missing:1", upstream)


def test_all_that_are_not_there_are_named_at_once(internet: RunningRegistry, upstream: Upstream) -> None:
    internet.push_image("library/there", "1")
    with pytest.raises(ResolveError) as caught:
        resolved(["absent:1", "there:1", "quay.io/library/absent:2"], upstream)
    assert "docker.io/library/absent:1" in caught.value.message
    assert "quay.io/library/absent:2" in caught.value.message
    assert "there:1" not in caught.value.message


def test_two_images_of_one_name_at_the_site_are_refused(internet: RunningRegistry, upstream: Upstream) -> None:
    # Both hosts lead to one registry: one name there is one image, so these two do not collide …
    internet.push_image("team/tool", "1")
    first, second = resolved(["quay.io/team/tool:1", "docker.io/team/tool:1"], upstream)
    assert first.attributes["digest"] == second.attributes["digest"]
    # … but a tag of another digest does.
    other = internet.push_image("team/tool", "2", arch="amd64", author="someone else")
    with pytest.raises(ResolveError, match=r"docker\.io/team/tool:1@sha256.*quay\.io/team/tool:1 are two images"):
        resolved(["quay.io/team/tool:1", f"docker.io/team/tool:1@{other['digest']}"], upstream)


@pytest.mark.usefixtures("library")
def test_entries_of_one_name_are_joined(upstream: Upstream) -> None:
    entries = ["docker.io/team/multi:1", {"ref": "docker.io/team/multi:1", "platforms": ["linux/arm64"]}]
    (item,) = resolved(entries, upstream)
    assert ImageAttributes.of(item).platforms == ("linux/amd64", "linux/arm64")


@pytest.mark.usefixtures("library")
def test_the_answer_does_not_depend_on_the_order(upstream: Upstream) -> None:
    names = ["docker.io/team/multi:1", "alpine:3.11", "hello:1", f"docker.io/team/multi@{MULTI_INDEX}"]
    items = resolved(names, upstream)
    assert items == resolved(reversed(names), upstream)
    assert [item.name for item in items] == sorted(item.name for item in items)
    paths = [obj.path for obj in objects_of(items)]
    assert "images/oci-layout" in paths
    assert "images/index.json" in paths
    assert all(path.startswith("images/") for path in paths)
    assert blob_path(MULTI_INDEX) in paths


def test_no_images_are_no_items(upstream: Upstream) -> None:
    assert resolved([], upstream) == ()


@pytest.mark.usefixtures("library")
def test_a_role_stands_in_the_manifest_and_a_name_gives_none(upstream: Upstream) -> None:
    entry = {"ref": "docker.io/team/multi:1", "role": "registry"}
    assert one(entry, upstream)[1].role == "registry"
    assert one("docker.io/team/multi:1", upstream)[1].role is None
    joined = resolved(["docker.io/team/multi:1", entry], upstream)
    assert [ImageAttributes.of(item).role for item in joined] == ["registry"]


@pytest.mark.usefixtures("library")
def test_two_images_with_one_role_on_one_platform_are_refused(upstream: Upstream) -> None:
    digest = {"ref": f"docker.io/team/multi@{MULTI_INDEX}", "role": "registry"}
    with pytest.raises(ProfileError, match="both have the role registry on linux/amd64"):
        resolved([{"ref": "docker.io/team/multi:1", "role": "registry"}, digest], upstream)
