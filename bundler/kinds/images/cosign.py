"""Images that somebody has to have signed: cosign's signatures, checked before anything of the image is taken.

cosign pushes a signature beside the image, as an artifact under the tag `sha256-<digest>.sig`: each of its layers is a
document that names the image's digest, and an annotation of the layer is the signature over that document. What signs
without a key of one's own (Fulcio, Rekor) needs the internet's certificates, and is not checked.

Source: https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from bundler.errors import ProfileError, ResolveError, TrustError
from bundler.kinds.images.oci import ImageManifest, explain, parse_manifest
from bundler.kinds.images.reference import Reference
from bundler.limits import Limit, LimitExceeded

if TYPE_CHECKING:
    from bundler.transfer.registry import Registry
    from bundler.transfer.upstream import Upstream

_TYPE = "cosign container image signature"
_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
_SIGNATURE = "dev.cosignproject.cosign/signature"
_SIGNATURES = Limit("the signatures of one image", 100, "signatures")
_KEY_LIMIT, _PAYLOAD_LIMIT = 64 << 10, 64 << 10

Key: TypeAlias = "Callable[[bytes, bytes], None]"  # takes a signature and what it is over; raises InvalidSignature


def check_signed(reference: Reference, digest: str, keys: Iterable[str], upstream: Upstream) -> None:
    """See that the image `digest` of `reference` is signed by each of `keys`: locations of public keys, in PEM.

    Raises TrustError; ProfileError, FetchError for a key that cannot be read.
    """
    registry = upstream.registry(reference.registry)
    signatures: list[tuple[bytes, bytes]] | None = None
    for location in keys:
        key = _read_key(location, upstream)
        if signatures is None:
            signatures = list(_signatures(reference, digest, registry))
        if not any(_vouches(key, signature, payload, digest) for signature, payload in signatures):
            raise TrustError(
                f"images {reference}: none of its {len(signatures)} cosign signatures is by {location} for {digest}",
                hint="ask who publishes it which key signs it; nothing of the image was taken",
            )


def _read_key(location: str, upstream: Upstream) -> Key:
    hint = "name the public key that `cosign generate-key-pair` calls cosign.pub"
    try:
        key = load_pem_public_key(upstream.read(location, limit=_KEY_LIMIT))
    except (ValueError, UnsupportedAlgorithm):
        raise ProfileError(f"images: the key {location} is no public key in PEM", hint=hint) from None
    if isinstance(key, EllipticCurvePublicKey):
        return lambda signature, data: key.verify(signature, data, ECDSA(SHA256()))
    if isinstance(key, RSAPublicKey):
        return lambda signature, data: key.verify(signature, data, PKCS1v15(), SHA256())
    if isinstance(key, Ed25519PublicKey):
        return key.verify
    raise ProfileError(f"images: the key {location} is of a sort that cosign does not sign with", hint=hint)


def _signatures(reference: Reference, digest: str, registry: Registry) -> Iterator[tuple[bytes, bytes]]:
    """The signatures that lie beside the image, each with the document it is over."""
    hint = "have it signed (`cosign sign --key`), or drop `verify` for it"
    try:
        raw = registry.manifest(reference.repository, f"{digest.replace(':', '-')}.sig")
    except ResolveError:
        raise TrustError(f"images {reference}: nobody signed {digest} with cosign", hint=hint) from None
    try:
        manifest, _ = parse_manifest(raw.data, raw.media_type)
        if not isinstance(manifest, ImageManifest):
            raise ValueError("it is an index")
        _SIGNATURES.check(len(manifest.layers))
        for layer in manifest.layers:
            signature = (layer.annotations or {}).get(_SIGNATURE)
            if layer.media_type == _PAYLOAD and signature and layer.size <= _PAYLOAD_LIMIT:
                yield b64decode(signature, validate=True), registry.blob(reference.repository, layer.digest, layer.size)
    except LimitExceeded as error:
        raise error.of(ResolveError, f"images {reference}: the signatures of {digest}") from None
    except (ValueError, binascii.Error) as error:
        raise TrustError(
            f"images {reference}: its cosign signature cannot be read: {explain(error)}", hint=hint
        ) from None


def _vouches(key: Key, signature: bytes, payload: bytes, digest: str) -> bool:
    try:
        key(signature, payload)
        critical = json.loads(payload)["critical"]
        return bool((critical["type"], critical["image"]["docker-manifest-digest"]) == (_TYPE, digest))
    except (InvalidSignature, ValueError, KeyError, TypeError, RecursionError):
        return False
