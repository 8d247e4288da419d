"""The OpenPGP certificates that sign packages: read, checked to be such, and carried as files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pysequoia
from pysequoia.packet import PacketPile, Tag

from bundler.errors import ProfileError
from bundler.kinds.rpms.attributes import KeyAttributes
from bundler.kinds.rpms.openpgp import tag_of
from bundler.kinds.rpms.packets import packets
from bundler.limits import LimitExceeded
from bundler.model.items import Item, Object
from bundler.model.target import Target

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream

_KEY_LIMIT = 1024 * 1024
_HINT = "name the file that the distribution publishes as its RPM-GPG-KEY"


class Keyring:
    """The keys that a profile names: each location is read once, and each content carried once."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._read: dict[str, bytes] = {}
        self._by_location: dict[str, Object] = {}
        self._items: dict[str, Item] = {}

    def content(self, location: str) -> bytes:
        """The certificates at `location`, a path or URL.

        Raises ProfileError when it is no OpenPGP certificate, or holds a secret key; FetchError, ProfileError when it
        cannot be read.
        """
        if location not in self._read:
            found = self._upstream.read(location, limit=_KEY_LIMIT)
            read_fingerprints(found, location)
            self._read[location] = found
        return self._read[location]

    def add(self, location: str) -> Object:
        """Carry the key at `location`; returns its object under keys/. Raises what `content` raises."""
        if location not in self._by_location:
            self._by_location[location] = self._carry(location, self.content(location))
        return self._by_location[location]

    @property
    def items(self) -> tuple[Item, ...]:
        return tuple(self._items.values())

    def _carry(self, location: str, content: bytes) -> Object:
        fingerprints = read_fingerprints(content, location)
        name = _file_name(location)
        kept = self._upstream.keep(f"keys/{name}", content)
        known = self._items.get(kept.path)
        if known is not None and known.objects[0].sha256 != kept.sha256:
            name = f"{name}-{fingerprints[0][-16:]}"
            kept = self._upstream.keep(f"keys/{name}", content)
        self._items[kept.path] = Item(
            kind="rpms",
            name=name,
            version=fingerprints[0][-16:],
            objects=(kept,),
            attributes=KeyAttributes(fingerprints=fingerprints).as_json(),
        )
        return kept


def read_fingerprints(content: bytes, what: str) -> tuple[str, ...]:
    """The fingerprints (lower-case hex) of the certificates in `content`, armored or not.

    Raises ProfileError when there is none, or a secret key among them: that one must not travel.
    """
    try:
        read = packets(content)
        certificates = pysequoia.Cert.split_bytes(read)
        secret = _holds_secret(read)
    except LimitExceeded as error:
        raise error.of(ProfileError, f"gpgkey {what}") from None
    except (RuntimeError, ValueError) as error:
        raise ProfileError(f"gpgkey {what} is no OpenPGP key: {str(error).splitlines()[0]}", hint=_HINT) from None
    if not certificates:
        raise ProfileError(f"gpgkey {what} is no OpenPGP key: it holds no certificate", hint=_HINT)
    if secret:
        raise ProfileError(
            f"gpgkey {what} holds a secret key: a bundle shows it to everybody", hint="export the public key alone"
        )
    return tuple(certificate.fingerprint for certificate in certificates)


def takes_sha1(target: Target) -> bool:
    """Whether the target's rpm takes signatures over SHA-1: Enterprise Linux does not from 9 on."""
    major = target.release.split(".")[0]
    return major.isdecimal() and int(major) < 9


def _holds_secret(content: bytes) -> bool:
    return any(tag_of(packet) in (Tag.SecretKey, Tag.SecretSubkey) for packet in PacketPile.from_bytes(content))


def _file_name(location: str) -> str:
    """The last part of `location`, with nothing in it that would need quoting in a URL or a .repo file."""
    path = unquote(urlsplit(location).path) if "://" in location else location
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.rstrip("/").rpartition("/")[2]).strip(".-")
    return name or "key"
