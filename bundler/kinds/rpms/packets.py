"""OpenPGP data of others, before it is parsed: packets by their headers alone, none of which holds others.

A compressed packet may hold another one, and a kilobyte so becomes gigabytes in whoever parses it. Keys and signatures
have no use for one, nor for anything else but a few sorts of packets, each of which says its length.

Source: RFC 9580, 4.2 (headers), 5 (sorts) and 6.2 (armor).
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode

from bundler.limits import Limit

_LARGEST = Limit("OpenPGP keys or signatures", 1 << 20)
_PACKETS = Limit("OpenPGP keys or signatures", 10_000, "packets")
# Signatures; keys and subkeys, secret ones too; markers, trust, user ids and attributes, padding.
_SORTS = frozenset({2, 5, 6, 7, 10, 12, 13, 14, 17, 21})
_BEGIN = b"-----BEGIN PGP "
_BLOCK = re.compile(
    rb"^-----BEGIN PGP [A-Z ]+-----[ \t]*\r?\n"
    rb"(?P<headers>(?:[^\r\n:]+: [^\r\n]*\r?\n)*)[ \t]*\r?\n"
    rb"(?P<text>[A-Za-z0-9+/=\s]*)^-----END PGP ",
    re.MULTILINE,
)


def packets(data: bytes) -> bytes:
    """The packets of keys or signatures, armored (every block of them) or not, which may be parsed without harm.

    Raises ValueError for what is no such thing, or has a packet of another sort; LimitExceeded for too much of it.
    """
    _LARGEST.check(len(data))
    if _BEGIN in data:
        data = b"".join(_decoded(found["text"]) for found in _BLOCK.finditer(data))
    place = count = 0
    while place < len(data):
        count += 1
        _PACKETS.check(count)
        place = _end(data, place)
    return data


def _decoded(text: bytes) -> bytes:
    """A block without its checksum, which nobody need have (RFC 9580, 6.1)."""
    body = re.sub(rb"\s", b"", re.sub(rb"^=[A-Za-z0-9+/]{4}\s*\Z", b"", text, flags=re.MULTILINE))
    try:
        return b64decode(body, validate=True)
    except binascii.Error:
        raise ValueError("its armor is damaged") from None


def _end(data: bytes, place: int) -> int:
    """Where the packet at `place` ends. Raises ValueError."""
    first = data[place]
    if not first & 0x80:
        raise ValueError("it is no OpenPGP data")
    sort, place = (first & 0x3F, place + 1) if first & 0x40 else (first >> 2 & 0x0F, place + 1)
    if sort not in _SORTS:
        raise ValueError(f"it has a packet of the sort {sort}, which is none of keys or signatures")
    octet = data[place] if place < len(data) else 0
    if not first & 0x40:
        if first & 3 == 3:
            raise ValueError("it has a packet without a length")
        width = 1 << (first & 3)
    elif octet < 192:
        width = 1
    elif octet < 224:
        return _within(data, place + 2 + ((octet - 192) << 8) + (data[place + 1] if place + 1 < len(data) else 0) + 192)
    elif octet == 255:
        place, width = place + 1, 4
    else:
        raise ValueError("it has a packet in parts")
    return _within(data, place + width + int.from_bytes(data[place : place + width], "big"))


def _within(data: bytes, end: int) -> int:
    if end > len(data):
        raise ValueError("it is cut off")
    return end
