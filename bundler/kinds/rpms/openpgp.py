"""OpenPGP signatures as rpm takes them: one packet over some bytes, by a key that was named.

pysequoia reads the packets and `cryptography` does the arithmetic. Sequoia's own verification is not asked, because it
refuses certificates that bind themselves with SHA-1: EL 7's and many a vendor's do, and whoever named the file in a
profile vouches for them.

Source: RFC 9580, with the version 3 signatures of RFC 4880, which EL 7 still has.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import pysequoia
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa, utils
from pysequoia.packet import Packet, PacketPile, Tag

from bundler.kinds.rpms.packets import packets
from bundler.limits import LimitExceeded

_RSA, _DSA, _ECDSA, _EDDSA, _ED25519 = frozenset({1, 3}), 17, 19, 22, 27
_SHA1 = 2
_HASHES: dict[int, hashes.HashAlgorithm] = {
    _SHA1: hashes.SHA1(),  # noqa: S303 - see Keys
    8: hashes.SHA256(),
    9: hashes.SHA384(),
    10: hashes.SHA512(),
    11: hashes.SHA224(),
}
_CURVES: dict[bytes, ec.EllipticCurve] = {
    bytes.fromhex("2a8648ce3d030107"): ec.SECP256R1(),
    bytes.fromhex("2b81040022"): ec.SECP384R1(),
    bytes.fromhex("2b81040023"): ec.SECP521R1(),
}
_UNREADABLE = (RuntimeError, ValueError, LimitExceeded)
_BINARY = 0  # the type of a signature over bytes as they are


class SignatureError(ValueError):
    """Why a signature does not count, as a clause about it: `is by key …, which …`."""


@dataclass(frozen=True, slots=True)
class _Signature:
    """A signature packet: `trailer` is hashed after the data, `numbers` is what the key made of the digest."""

    key_id: str
    key_algorithm: int
    hash_algorithm: int
    trailer: bytes
    numbers: bytes


class Keys:
    """The public keys of some certificates, subkeys too, by key id.

    `sha1`: take signatures over SHA-1, as EL 8 and before do. Nobody can make a second package for one of them; but who
    gets a package signed could have made two of it.
    """

    def __init__(self, files: Iterable[bytes], *, sha1: bool = False) -> None:
        """`files` hold certificates, armored or not; one that cannot be read vouches for nothing."""
        self._sha1 = sha1
        self._bodies: dict[str, bytes] = {}
        for content in files:
            with suppress(*_UNREADABLE):
                for certificate in pysequoia.Cert.split_bytes(packets(content)):
                    self._add(certificate)

    def _add(self, certificate: pysequoia.Cert) -> None:
        for packet in PacketPile.from_bytes(bytes(certificate)):
            if tag_of(packet) in (Tag.PublicKey, Tag.PublicSubkey) and packet.key_id:
                self._bodies[packet.key_id.lower()] = packet.body

    def verify(self, signature: bytes, data: Iterable[bytes]) -> None:
        """See that one of these keys made `signature`, armored or not, over `data`, which is read once.

        Of several signatures the first that is by one of these keys counts. Raises SignatureError.
        """
        made = _signatures(signature)
        if not made:
            raise SignatureError("is none")
        known = next((each for each in made if each.key_id in self._bodies), None)
        if known is None:
            raise SignatureError(f"is by key {made[0].key_id}, which is not among its repository's keys")
        by = f"is by key {known.key_id}"
        hashed = _HASHES.get(known.hash_algorithm)
        if hashed is None or (known.hash_algorithm == _SHA1 and not self._sha1):
            name = hashed.name if hashed else f"algorithm {known.hash_algorithm}"
            raise SignatureError(f"{by} over a digest that proves nothing here: {name}")
        digest = hashlib.new(hashed.name)
        for chunk in itertools.chain(data, [known.trailer]):
            digest.update(chunk)
        key = self._bodies[known.key_id]
        try:
            if key[0] != 4 or not _same_sort(key[5], known.key_algorithm):
                raise ValueError("the key is of another sort")
            _check(key[5], key[6:], known.numbers, digest.digest(), hashed)
        except InvalidSignature:
            raise SignatureError(f"{by} over other bytes") from None
        except (ValueError, IndexError, UnsupportedAlgorithm) as error:
            raise SignatureError(f"{by} and cannot be checked: {error}") from None


def tag_of(packet: Packet) -> Tag | None:
    """What a packet is; None for a sort that pysequoia does not know."""
    try:
        return packet.tag
    except RuntimeError:
        return None


def _signatures(signature: bytes) -> list[_Signature]:
    try:
        pile = PacketPile.from_bytes(packets(signature))
        return [_parse(packet) for packet in pile if tag_of(packet) == Tag.Signature]
    except SignatureError:
        raise
    except (*_UNREADABLE, IndexError):
        raise SignatureError("is no OpenPGP signature") from None


def _parse(packet: Packet) -> _Signature:
    body = packet.body
    if body[0] == 3 and body[1] == 5 and body[2] == _BINARY:
        return _Signature(body[7:15].hex(), body[15], body[16], body[2:7], body[19:])
    if body[0] == 4 and body[1] == _BINARY:
        hashed = 6 + int.from_bytes(body[4:6], "big")
        unhashed = hashed + 2 + int.from_bytes(body[hashed : hashed + 2], "big")
        trailer = body[:hashed] + b"\x04\xff" + hashed.to_bytes(4, "big")
        key_id = (packet.issuer_key_id or (packet.issuer_fingerprint or "")[-16:]).lower()
        return _Signature(key_id, body[2], body[3], trailer, body[unhashed + 2 :])
    raise SignatureError(f"is of a sort that is not known here: version {body[0]}, type {body[1]}")


def _same_sort(key: int, signature: int) -> bool:
    return key == signature or {key, signature} <= _RSA


def _check(algorithm: int, key: bytes, signature: bytes, digest: bytes, hashed: hashes.HashAlgorithm) -> None:
    """Raises InvalidSignature; ValueError and IndexError for numbers that are none."""
    if algorithm in _RSA:
        modulus, exponent = _numbers(key, 2)
        (number,) = _numbers(signature, 1)
        length = (modulus.bit_length() + 7) // 8
        public = rsa.RSAPublicNumbers(exponent, modulus).public_key()
        try:
            made = number.to_bytes(length, "big")
        except OverflowError:
            raise InvalidSignature from None
        public.verify(made, digest, padding.PKCS1v15(), utils.Prehashed(hashed))
    elif algorithm == _DSA:
        p, q, g, y = _numbers(key, 4)
        numbers = dsa.DSAPublicNumbers(y, dsa.DSAParameterNumbers(p, q, g))
        made = utils.encode_dss_signature(*_numbers(signature, 2))
        numbers.public_key().verify(made, digest, utils.Prehashed(hashed))
    elif algorithm == _ECDSA:
        curve, (point,) = _CURVES.get(_curve(key)), _integers(key[1 + key[0] :], 1)
        if curve is None:
            raise ValueError("its curve is not known")
        made = utils.encode_dss_signature(*_numbers(signature, 2))
        known = ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
        known.verify(made, digest, ec.ECDSA(utils.Prehashed(hashed)))
    elif algorithm == _EDDSA:
        (point,) = _integers(key[1 + key[0] :], 1)
        made = b"".join(each.rjust(32, b"\0") for each in _integers(signature, 2))
        ed25519.Ed25519PublicKey.from_public_bytes(point.removeprefix(b"\x40")).verify(made, digest)
    elif algorithm == _ED25519:
        ed25519.Ed25519PublicKey.from_public_bytes(key[:32]).verify(signature[:64], digest)
    else:
        raise ValueError(f"its algorithm, {algorithm}, is not known")


def _curve(key: bytes) -> bytes:
    return key[1 : 1 + key[0]]


def _numbers(data: bytes, count: int) -> list[int]:
    return [int.from_bytes(each, "big") for each in _integers(data, count)]


def _integers(data: bytes, count: int) -> list[bytes]:
    """The first `count` multiprecision integers of `data`: a length in bits, and the bytes."""
    found = []
    for _ in range(count):
        length = (int.from_bytes(data[:2], "big") + 7) // 8
        if len(data) < 2 + length:
            raise ValueError("it is cut off")
        found.append(data[2 : 2 + length])
        data = data[2 + length :]
    return found
