"""Keys, and signatures by them, for tests: bundler's own, and envelopes of every other sort."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from securesystemslib.dsse import Envelope

from bundler.bundle import signature
from bundler.bundle.keys import Trust, new_key, read_secret, trust
from bundler.bundle.reader import Bundle
from bundler.bundle.statement import PAYLOAD_TYPE, Vouched


def make_key(folder: Path, name: str = "release.key") -> Path:
    """A new secret key; the public one lies beside it."""
    new_key(folder / name)
    return folder / name


def public(key: Path) -> Path:
    return key.with_name(f"{key.name}.pub")


def trusting(*keys: Path, threshold: int = 1, require_expiry: bool = False) -> Trust:
    return trust([public(key) for key in keys], threshold=threshold, require_expiry=require_expiry)


def sign(bundle: Path, key: Path, signer: str | None = None, expires: datetime | None = None) -> Path:
    with Bundle(bundle) as opened:
        return signature.sign(bundle, opened.manifest, key, signer, expires).file


def sign_payload(target: Path, payload: bytes, *keys: Path, payload_type: str = PAYLOAD_TYPE) -> Path:
    """A genuine envelope with genuine signatures, of whatever `payload` is."""
    envelope = Envelope(payload=payload, payload_type=payload_type, signatures={})
    for key in keys:
        envelope.sign(read_secret(key))
    target.write_text(json.dumps(envelope.to_dict()))
    return target


def envelope_of(payload: bytes, signatures: Iterable[tuple[str, bytes]]) -> dict[str, object]:
    """An envelope as JSON has it, with these key ids and signatures."""
    return {
        "payload": b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": keyid, "sig": b64encode(made).decode()} for keyid, made in signatures],
    }


def check(bundle: Path, trusted: Trust) -> Vouched | None:
    """Open and verify the bundle as `verify --trust` does."""
    found = signature.vouched(bundle, trusted)
    with Bundle(bundle, vouched=found) as opened:
        opened.verify(jobs=1)
    return found
