from __future__ import annotations

from pathlib import Path

import pysequoia
import pytest

from bundler.errors import ProfileError
from bundler.kinds.rpms.keys import Keyring, read_fingerprints

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
