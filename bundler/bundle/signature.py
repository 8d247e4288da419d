"""Who vouches for a bundle: a signature over its manifest's digest, in a file beside it.

`<bundle>.tar.sig.json` is a DSSE envelope (https://github.com/secure-systems-lab/dsse) around an in-toto statement with
SLSA provenance (https://in-toto.io/Statement/v1, https://slsa.dev/provenance/v1). The manifest names every byte of the
bundle by digest, so whoever trusts the signature trusts them all. Several people may sign one bundle.
"""

from __future__ import annotations

import binascii
import json
import os
import shlex
import subprocess
from base64 import b64decode
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error as SignatureError
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey

from bundler.bundle.manifest import Manifest
from bundler.bundle.storage import STDIN, find_index, read_index
from bundler.errors import ConfigError, TrustError

SUFFIX = ".sig.json"
TRUSTED = Path("/etc/bundler/trusted.d")
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PROVENANCE = "https://slsa.dev/provenance/v1"
_BUILD_TYPE = "https://bundler.invalid/build/v1"
_LIMIT = 1 << 20


def new_key(path: Path) -> Path:
    """Make an Ed25519 key: the secret one at `path` (PEM, readable by this user alone), the public one at `path`.pub.

    Raises ConfigError when there is one.
    """
    public = path.with_name(f"{path.name}.pub")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret)
    except FileExistsError:
        raise ConfigError(f"{path} is there already", hint="name another file: a key is not overwritten") from None
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return public


def sign(bundle: Path, manifest: Manifest, key: Path, signer: str | None = None) -> Path:
    """Sign the bundle at `bundle` whose manifest is `manifest`; gives the signature's file.

    `key` is a secret key, or the public one of an external `signer`: a command that gets the bytes to sign on its
    standard input and answers with the signature, in base64. Signatures that are there already stay.

    Raises ConfigError.
    """
    target = signature_file(bundle)
    payload = _statement(manifest)
    envelope = _read(target) if target.exists() else None
    if envelope is None or envelope.payload != payload:
        envelope = Envelope(payload=payload, payload_type=_PAYLOAD_TYPE, signatures={})
    if signer is None:
        envelope.sign(_secret(key))
    else:
        public = read_public(key)
        made = _ask(signer, envelope.pae())
        envelope.signatures[public.keyid] = Signature(public.keyid, made.hex())
        try:
            envelope.verify([public], 1)
        except SignatureError:
            raise ConfigError(f"what {signer!r} answered is no signature of {key}", hint="see the signer") from None
    new = target.with_name(f"{target.name}.part")
    new.write_text(json.dumps(envelope.to_dict(), indent=1) + "\n")
    new.replace(target)
    return target


def vouched(bundle: Path, trusted: Sequence[SSlibKey], signature: Path | None = None) -> str | None:
    """The manifest's digest that one of `trusted` signed for the bundle at `bundle`; None where nobody is trusted.

    The signature lies beside the bundle, or at `signature`. Raises TrustError.
    """
    if not trusted and signature is None:
        return None
    path = signature or signature_file(bundle)
    hint = f"have it signed by someone trusted here, and carry {path.name} beside it"
    if not trusted:
        raise TrustError(
            f"{path} cannot be checked: no key is trusted here",
            hint="name one: --trust, or `trusted_keys` in site.yaml",
        )
    if not path.is_file():
        raise TrustError(f"{bundle} is not signed, and this site takes signed bundles only", hint=hint)
    envelope = _read(path)
    try:
        envelope.verify(list(trusted), 1)
    except (SignatureError, ValueError) as error:
        raise TrustError(f"{path}: it is signed by nobody who is trusted here: {error}", hint=hint) from None
    try:
        statement = json.loads(envelope.payload)
        if envelope.payload_type != _PAYLOAD_TYPE or statement["_type"] != _STATEMENT:
            raise ValueError("another statement")
        ((digest,),) = [[subject["digest"]["sha256"]] for subject in statement["subject"]]
        return str(digest)
    except (ValueError, KeyError, TypeError):
        raise TrustError(f"{path}: it vouches for something else than a bundle", hint=hint) from None


def trusted_keys(paths: Iterable[Path]) -> list[SSlibKey]:
    """The public keys at `paths`, and those that the machine trusts (/etc/bundler/trusted.d). Raises ConfigError."""
    own = sorted(TRUSTED.glob("*.pub")) if TRUSTED.is_dir() else []
    return [read_public(path) for path in (*paths, *own)]


def read_public(path: Path) -> SSlibKey:
    """A public key in PEM. Raises ConfigError."""
    hint = "name the .pub file that `bundler key new` made"
    try:
        return SSlibKey.from_crypto(load_pem_public_key(path.read_bytes()))
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is no public key: {error}", hint=hint) from None


def signature_file(bundle: Path) -> Path:
    """Where the signature of the bundle at `bundle`, a file or volumes, lies. Raises TrustError for a pipe."""
    if bundle == STDIN:
        raise TrustError(
            "a bundle in a pipe has no signature beside it",
            hint="send the signature before it, and name it: --signature",
        )
    index = find_index(bundle)
    if index is not None and index.exists():
        return index.with_name(f"{read_index(index).bundle}{SUFFIX}")
    return bundle.with_name(f"{bundle.name}{SUFFIX}")


def _statement(manifest: Manifest) -> bytes:
    document = {
        "_type": _STATEMENT,
        "subject": [{"name": manifest.folder, "digest": {"sha256": manifest.id}}],
        "predicateType": _PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {
                    "name": manifest.name,
                    "version": manifest.version,
                    "profile_sha256": manifest.profile_sha256,
                },
                "internalParameters": {"lock_sha256": manifest.lock_sha256},
            },
            "runDetails": {"builder": {"id": "bundler"}},
        },
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _read(path: Path) -> Envelope:
    hint = "carry it again, or sign the bundle anew"
    try:
        if path.stat().st_size > _LIMIT:
            raise ValueError("it is too large")
        found: Any = json.loads(path.read_bytes())
        return Envelope.from_dict(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise TrustError(f"{path} is no signature: {error}", hint=hint) from None


def _secret(path: Path) -> CryptoSigner:
    hint = "name the file that `bundler key new` made"
    try:
        key = load_pem_private_key(path.read_bytes(), None)
        return CryptoSigner(key)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is no secret key: {error}", hint=hint) from None


def _ask(signer: str, data: bytes) -> bytes:
    """The external signer's answer."""
    try:
        done = subprocess.run(shlex.split(signer), input=data, capture_output=True, check=False)
        if done.returncode == 0:
            return b64decode(done.stdout.strip(), validate=True)
        said = done.stderr.decode(errors="replace").strip()[-500:]
    except (OSError, ValueError) as error:
        said = str(error)
    raise ConfigError(f"the signer {signer!r} failed: {said}", hint="see the signer; it answers in base64")
