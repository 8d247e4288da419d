"""Images that have to be signed: real signatures of cosign's, and ones made here with keys of every sort."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bundler.errors import ProfileError, ResolveError, TrustError
from bundler.transfer.upstream import Upstream
from tests.kinds.images.registries import OCI_CONFIG, OCI_MANIFEST, RunningRegistry
from tests.kinds.images.test_resolve import MULTI_AMD64, MULTI_INDEX, one, resolved

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"


def pem(key: Any) -> bytes:
    found: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return found


@pytest.fixture(scope="module")
def publisher(shared: Path) -> bytes:
    """The key that signed the images of the test data, as cosign logged it with its signatures."""
    layout = next((shared / "oci/signatures").iterdir())
    (manifest,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    document = json.loads((layout / "blobs/sha256" / manifest["digest"].removeprefix("sha256:")).read_bytes())
    logged = json.loads(document["layers"][0]["annotations"]["dev.sigstore.cosign/bundle"])
    return b64decode(json.loads(b64decode(logged["Payload"]["body"]))["spec"]["signature"]["publicKey"]["content"])


def entry(name: str, key: str) -> dict[str, object]:
    return {"ref": name, "verify": {"key": key}}


@pytest.mark.usefixtures("library")
def test_what_cosign_signed(upstream: Upstream, publisher: bytes, tmp_path: Path) -> None:
    (tmp_path / "cosign.pub").write_bytes(publisher)
    (tmp_path / "other.pub").write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    _, image = one(entry("docker.io/team/multi:1", "cosign.pub"), upstream)
    assert (image.digest, image.upstream_digest) == (MULTI_AMD64, MULTI_INDEX)  # the index is signed, and names it
    one(entry(f"docker.io/team/multi@{MULTI_AMD64}", "cosign.pub"), upstream)
    with pytest.raises(TrustError, match=f"none of its 1 cosign signatures is by other.pub for {MULTI_INDEX}"):
        one(entry("docker.io/team/multi:1", "other.pub"), upstream)
    both = [entry("docker.io/team/multi:1", "cosign.pub"), entry("docker.io/team/multi:1", "other.pub")]
    with pytest.raises(TrustError, match=r"is by other\.pub"):
        resolved(both, upstream)


@pytest.mark.usefixtures("library")
def test_what_nobody_signed(upstream: Upstream, publisher: bytes, tmp_path: Path) -> None:
    (tmp_path / "cosign.pub").write_bytes(publisher)
    with pytest.raises(TrustError, match=r"images docker.io/library/hello:1: nobody signed sha256:\w+ with cosign"):
        one(entry("docker.io/library/hello:1", "cosign.pub"), upstream)


def push_signature(
    registry: RunningRegistry, repository: str, digest: str, signature: bytes, payload: bytes, **change: object
) -> None:
    layer = registry.push_blob(repository, payload, PAYLOAD)
    layer |= {"annotations": {"dev.cosignproject.cosign/signature": b64encode(signature).decode()}, **change}
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": registry.push_blob(repository, b"{}", OCI_CONFIG),
        "layers": [layer],
    }
    registry.push_manifest(repository, document, f"{digest.replace(':', '-')}.sig")


def payload_of(digest: str, type_: str = "cosign container image signature") -> bytes:
    return json.dumps({"critical": {"type": type_, "image": {"docker-manifest-digest": digest}}}).encode()


def test_each_sort_of_key(internet: RunningRegistry, upstream: Upstream, tmp_path: Path) -> None:
    p384, p256 = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP256R1())
    signer, edwards = rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()
    digest = str(internet.push_image("team/signed", "1")["digest"])
    payload = payload_of(digest)
    for key, signature in (
        (p256, p256.sign(payload, ec.ECDSA(SHA256()))),
        (p384, p384.sign(payload, ec.ECDSA(SHA256()))),
        (signer, signer.sign(payload, padding.PKCS1v15(), SHA256())),
        (edwards, edwards.sign(payload)),
    ):
        (tmp_path / "key.pub").write_bytes(pem(key))
        push_signature(internet, "team/signed", digest, signature, payload)
        one(entry("docker.io/team/signed:1", "key.pub"), upstream)
        push_signature(internet, "team/signed", digest, signature, payload + b" ")
        with pytest.raises(TrustError, match="none of its 1 cosign signatures"):
            one(entry("docker.io/team/signed:1", "key.pub"), upstream)


def test_a_signature_for_something_else(internet: RunningRegistry, upstream: Upstream, tmp_path: Path) -> None:
    """A good signature that was copied from another image, over another statement, or over none."""
    key = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "key.pub").write_bytes(pem(key))
    digest = str(internet.push_image("team/other", "1")["digest"])
    elsewhere = f"sha256:{'0' * 64}"
    for payload in (payload_of(elsewhere), payload_of(digest, "atomic container signature"), b"[]", b"{}", b"\xff"):
        push_signature(internet, "team/other", digest, key.sign(payload), payload)
        with pytest.raises(TrustError, match="none of its 1 cosign signatures"):
            one(entry("docker.io/team/other:1", "key.pub"), upstream)
    push_signature(internet, "team/other", digest, b"", payload_of(digest), annotations={})
    with pytest.raises(TrustError, match="none of its 0 cosign signatures"):
        one(entry("docker.io/team/other:1", "key.pub"), upstream)
    broken = {"dev.cosignproject.cosign/signature": "no base64!"}
    push_signature(internet, "team/other", digest, b"", payload_of(digest), annotations=broken)
    with pytest.raises(TrustError, match="its cosign signature cannot be read"):
        one(entry("docker.io/team/other:1", "key.pub"), upstream)


@pytest.mark.parametrize(
    "content", [b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"\x00" * 99]
)
def test_what_is_no_key(internet: RunningRegistry, upstream: Upstream, tmp_path: Path, content: bytes) -> None:
    internet.push_image("team/unsigned", "1")
    (tmp_path / "key.pub").write_bytes(content)
    with pytest.raises(ProfileError, match=r"key\.pub is no public key in PEM"):
        one(entry("docker.io/team/unsigned:1", "key.pub"), upstream)


def test_signatures_without_end_are_not_fetched(internet: RunningRegistry, upstream: Upstream, tmp_path: Path) -> None:
    (tmp_path / "cosign.pub").write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    repository = "library/signed-often"
    digest = str(internet.push_image(repository, "1")["digest"])
    layer = internet.push_blob(repository, b"{}", PAYLOAD)
    layer |= {"annotations": {"dev.cosignproject.cosign/signature": "AA=="}}
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": internet.push_blob(repository, b"{}", OCI_CONFIG),
        "layers": [layer] * 101,
    }
    internet.push_manifest(repository, document, f"{digest.replace(':', '-')}.sig")
    with pytest.raises(ResolveError, match="limit of 100 signatures"):
        one(entry("signed-often:1", "cosign.pub"), upstream)
