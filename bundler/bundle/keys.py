"""Keys that sign bundles, and whose signatures count: those that somebody names, and the machine's own.

A folder of keys that cannot be understood never means that nobody has to sign: only one that is not there does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

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
from securesystemslib.signer import CryptoSigner, SSlibKey

from bundler.errors import ConfigError
from bundler.files import create_file, read_small

TRUSTED = Path("/etc/bundler/trusted.d")
_SUFFIX = ".pub"
_LIMIT = 64 << 10  # bytes of a key


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key and the file it came from. Two files with one key have one `id`."""

    file: Path
    key: SSlibKey

    @property
    def id(self) -> str:
        """64 hex digits, a digest of the key."""
        return str(self.key.keyid)


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose signatures count, how many of them it takes, and whether they have to have an end.

    Without `keys` nobody has to sign.
    """

    keys: tuple[PublicKey, ...] = ()
    threshold: int = 1
    require_expiry: bool = False


def new_key(path: Path) -> Path:
    """Make an Ed25519 key: the secret one at `path` (PEM, readable by this user alone), the public one at `path`.pub.

    Raises ConfigError when there is one.
    """
    public = path.with_name(f"{path.name}{_SUFFIX}")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        create_file(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
        try:
            create_file(path, secret, 0o600)
        except BaseException:
            public.unlink()
            raise
    except FileExistsError as error:
        raise ConfigError(
            f"{error.filename} is there already", hint="name another file: a key is not overwritten"
        ) from None
    return public


def trust(paths: Iterable[Path], *, threshold: int = 1, require_expiry: bool = False, required: bool = False) -> Trust:
    """The keys at `paths`, and those that the machine trusts (/etc/bundler/trusted.d); where `required`, one at least.

    Raises ConfigError for a key that is none, and for a demand that these keys could never meet.
    """
    keys = (*map(read_public, paths), *_of_the_machine())
    distinct = len({key.id for key in keys})
    if distinct < threshold and (keys or threshold > 1):
        raise ConfigError(
            f"{threshold} different keys have to sign, and trusted here: {distinct}",
            hint=f"name more keys, lower `threshold` in site.yaml, or put them into {TRUSTED}",
        )
    if (required or require_expiry) and not keys:
        raise ConfigError(
            "bundles have to be signed here, and no key is trusted that could sign",
            hint=f"name one under `trusted_keys` in site.yaml, or put it into {TRUSTED}",
        )
    return Trust(keys, threshold, require_expiry)


def read_public(path: Path) -> PublicKey:
    """A public key in PEM, alone in its file. Raises ConfigError."""
    hint = "name the .pub file that `bundler key new` made"
    data = _read(path, "public")
    if b"PRIVATE KEY" in data:
        raise ConfigError(
            f"{path} is a secret key, not a public one",
            hint="take it away from here, and name the .pub file that belongs to it",
        )
    if data.count(b"-----BEGIN ") > 1:
        raise ConfigError(f"{path} is no public key: it has several", hint="put each key into a file of its own")
    try:
        return PublicKey(path, SSlibKey.from_crypto(load_pem_public_key(data)))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is no public key: {error}", hint=hint) from None


def read_secret(path: Path) -> CryptoSigner:
    """A secret key in PEM. Raises ConfigError."""
    try:
        return CryptoSigner(load_pem_private_key(_read(path, "secret"), None))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{path} is no secret key: {error}", hint="name the file that `bundler key new` made"
        ) from None


def _of_the_machine() -> list[PublicKey]:
    """The keys in /etc/bundler/trusted.d; none where there is no such folder. Raises ConfigError."""
    try:
        names = sorted(os.listdir(TRUSTED))
    except FileNotFoundError:
        if TRUSTED.is_symlink():
            raise ConfigError(
                f"{TRUSTED} is a link to nowhere, so nobody can tell which keys this machine trusts",
                hint="put the folder there, or remove the link",
            ) from None
        return []
    except OSError as error:
        raise ConfigError(
            f"{TRUSTED} cannot be read, so nobody can tell which keys this machine trusts: {error.strerror}",
            hint="make it a folder that everybody can read (chmod 755), or run this as root",
        ) from None
    if not names:
        raise ConfigError(
            f"{TRUSTED} is empty: no key is trusted, and the folder says that one has to be",
            hint="put the .pub files there of those who may sign; remove the folder if nobody has to",
        )
    for name in names:
        if name.startswith(".") or not name.endswith(_SUFFIX):
            raise ConfigError(
                f"{TRUSTED}/{ascii(name)[1:-1]} is not called like a public key, so nobody can tell whether it counts",
                hint=f"name it NAME{_SUFFIX} if it is one; move it elsewhere if not",
            )
    return [read_public(TRUSTED / name) for name in names]


def _read(path: Path, what: str) -> bytes:
    hint = "name the file that `bundler key new` made"
    try:
        return read_small(path, _LIMIT)
    except OSError as error:
        raise ConfigError(f"{path} is no {what} key: {error.strerror}", hint=hint) from None
