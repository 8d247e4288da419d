from __future__ import annotations

import base64
import resource
import struct
import zlib
from pathlib import Path

import pysequoia
import pytest

from bundler.errors import ProfileError
from bundler.kinds.rpms.keys import Keyring, read_fingerprints
from bundler.kinds.rpms.openpgp import Keys, SignatureError
from bundler.kinds.rpms.packets import packets
from bundler.limits import LimitExceeded

from .conftest import Bench

EPEL = "91e97d7c4a5e96f17f3e888f6a2faea2352c64e5"
CENTOS = "6341ab2753d78a78a7c27bb124c6a8a7f4a80eb5"


@pytest.fixture
def epel(shared: Path) -> bytes:
    return (shared / "rpm/keys/RPM-GPG-KEY-EPEL-7").read_bytes()


def test_fingerprints_of_armored_and_binary_and_joined_keys(shared: Path, epel: bytes) -> None:
    centos = (shared / "rpm/keys/RPM-GPG-KEY-CentOS-7").read_bytes()
    assert read_fingerprints(epel, "epel") == (EPEL,)
    assert read_fingerprints(bytes(pysequoia.Cert.from_bytes(epel)), "epel") == (EPEL,)
    assert read_fingerprints(epel + centos, "both") == (EPEL, CENTOS)


@pytest.mark.parametrize("content", [b"", b"RPM-GPG-KEY-rockyofficial", b"<html>", b"\x00" * 100])
def test_what_is_no_key_is_refused(content: bytes) -> None:
    with pytest.raises(ProfileError, match="gpgkey x is no OpenPGP key"):
        read_fingerprints(content, "x")


def test_a_secret_key_does_not_travel() -> None:
    secret = pysequoia.Tsk.generate("Somebody <somebody@example.org>")
    for content in (str(secret).encode(), bytes(secret)):
        with pytest.raises(ProfileError, match="secret key"):
            read_fingerprints(content, "x")


def test_each_key_is_carried_once_and_names_do_not_meet(shared: Path, bench: Bench, epel: bytes) -> None:
    centos = (shared / "rpm/keys/RPM-GPG-KEY-CentOS-7").read_bytes()
    for folder, content in (("a", epel), ("b", centos), ("c", epel)):
        (bench.folder / folder).mkdir()
        (bench.folder / folder / "RPM GPG KEY;").write_bytes(content)
    keyring = Keyring(bench.upstream)
    paths = [keyring.add(f"{folder}/RPM GPG KEY;").path for folder in ("a", "b", "c", "a")]
    assert paths == ["keys/RPM-GPG-KEY", f"keys/RPM-GPG-KEY-{CENTOS[-16:]}", "keys/RPM-GPG-KEY", "keys/RPM-GPG-KEY"]
    assert [item.attributes["fingerprints"] for item in keyring.items] == [[EPEL], [CENTOS]]


def test_a_key_that_is_not_there(bench: Bench) -> None:
    with pytest.raises(ProfileError, match="no such file"):
        Keyring(bench.upstream).add("keys/missing")


def packet(sort: int, body: bytes) -> bytes:
    return bytes([0xC0 | sort, 0xFF]) + struct.pack(">I", len(body)) + body


def compressed(*parts: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packet(8, b"\x01" + b"".join(map(deflate.compress, parts)) + deflate.flush())


@pytest.mark.parametrize("armored", [False, True])
def test_a_bomb_is_never_unpacked(armored: bool) -> None:
    """A kilobyte that would be 300 MB in whoever parses it, as a signature and as a key."""
    literal = b"\xcb\xff" + struct.pack(">I", 6 + (300 << 20)) + b"b\0\0\0\0\0"
    bomb = compressed(compressed(literal, *[bytes(1 << 20)] * 300))
    if armored:
        bomb = b"-----BEGIN PGP SIGNATURE-----\n\n" + base64.b64encode(bomb) + b"\n-----END PGP SIGNATURE-----\n"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SignatureError, match="is no OpenPGP signature"):
        Keys([bomb]).verify(bomb, [b"x"])
    with pytest.raises(ProfileError, match="gpgkey x is no OpenPGP key"):
        read_fingerprints(bomb, "x")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


@pytest.mark.parametrize(
    "data",
    [
        packet(8, b"\0"),
        packet(18, b"\1"),
        packet(11, b"b\0\0\0\0\0"),
        b"\xa3\x01",  # compressed, of no length
        b"\xa0\x01\x00",  # compressed, in the old format
        b"\x8b\x04",  # a signature without a length
        b"\xc2\xe0\x04",  # in parts
        b"\xc2\xff\xff\xff\xff\xff",  # of four gigabytes
        b"\xc2\xff",
        b"\xc2",
        b"\xc2\xc0",
        b"text",
    ],
)
def test_what_neither_keys_nor_signatures_have_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="it "):
        packets(data)


def test_packets_are_counted() -> None:
    with pytest.raises(LimitExceeded, match="10000 packets"):
        packets(b"\xca\x00" * 10_001)
    with pytest.raises(LimitExceeded, match=r"1\.0 MiB"):
        packets(bytes((1 << 20) + 1))
