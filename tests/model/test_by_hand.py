"""What README.txt says to type, typed: it says OK of what somebody vouches for, and of nothing else."""

from __future__ import annotations

import bz2
import gzip
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.signer import CryptoSigner

from bundler.bundle.documents import readme
from bundler.model import by_hand
from tests.bundle.bundles import lock_of, write_bundle
from tests.kinds.bootstrap.hosts import Key, id_of, sign

_SCRIPT = b"#!/bin/sh\necho 'it runs'\n"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "demo-1.0.tar", {"bootstrap/install.sh": _SCRIPT, "files/a": b"a"})


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return Key.at(tmp_path / "release.pub")


def typed(text: str, bundle: Path, shell: str, approved: str) -> str:
    """What a shell says of the lines of `text`, with the reader's own words filled in."""
    lines = [line for line in text.splitlines() if line.startswith("  ")]
    script = "\n".join(lines).replace("/media/usb/demo-1.0.tar", str(bundle)).replace("'ID ", f"'{approved} ")
    script = script.replace("release.pub", str(bundle.with_name("release.pub")))
    home = bundle.with_name("home")
    home.mkdir(exist_ok=True)
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [shell],
        input=script,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.fixture(params=["dash", "bash"])
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_readme_has_the_lines() -> None:
    text = readme(lock_of({"bootstrap/install.sh": _SCRIPT})).decode()
    assert by_hand.check("demo-1.0") in text
    assert by_hand.set_up("demo-1.0") in text
    assert max(map(len, text.splitlines())) <= 125
    assert by_hand.set_up("demo-1.0") not in readme(lock_of({"files/a": b"a"})).decode()


def test_a_bundle_that_was_approved_and_signed(bundle: Path, key: Key, shell: str) -> None:
    sign(bundle, key, predicate={"expires": "2099-01-31T00:00:00Z"})
    said = typed(by_hand.check("demo-1.0"), bundle, shell, id_of(bundle))
    assert "manifest.json: OK" in said
    assert "Signature Verified Successfully" in said
    assert "\nOK\n" in said
    assert '"expires":"2099-01-31T00:00:00Z"' in said


def test_an_ecdsa_key(bundle: Path, tmp_path: Path, shell: str) -> None:
    sign(bundle, Key.at(tmp_path / "release.pub", CryptoSigner(ec.generate_private_key(ec.SECP256R1()))))
    assert "Verified OK" in typed(by_hand.check("demo-1.0"), bundle, shell, id_of(bundle))


def test_the_second_signer(bundle: Path, key: Key, tmp_path: Path, shell: str) -> None:
    sign(bundle, Key.at(tmp_path / "other.pub"), key)
    assert "Verified Successfully" not in typed(by_hand.check("demo-1.0"), bundle, shell, id_of(bundle))
    second = by_hand.check("demo-1.0").replace("sed -n 1p", "sed -n 2p")
    assert "Verified Successfully" in typed(second, bundle, shell, id_of(bundle))


def test_another_bundle_than_was_approved_and_signed(bundle: Path, key: Key, shell: str) -> None:
    approved = id_of(bundle)
    sign(bundle, key)
    write_bundle(bundle, {"bootstrap/install.sh": _SCRIPT, "files/a": b"b"})
    said = typed(by_hand.check("demo-1.0"), bundle, shell, approved)
    assert "manifest.json: FAILED" in said
    assert "\nOK\n" not in said  # the signature is good, and of another bundle


@pytest.mark.usefixtures("key")
def test_a_signature_of_somebody_else(bundle: Path, tmp_path: Path, shell: str) -> None:
    sign(bundle, Key.at(tmp_path / "other.pub"))
    said = typed(by_hand.check("demo-1.0"), bundle, shell, id_of(bundle))
    assert "Verif" not in said.replace("Verification", "")


def test_install_sh_is_held_to_the_manifest(bundle: Path, shell: str) -> None:
    lines = by_hand.check("demo-1.0").split("\nBy the id")[0] + by_hand.set_up("demo-1.0")
    said = typed(lines, bundle, shell, "")
    assert "install.sh: OK\n" in said
    assert "it runs" in said
    bundle.write_bytes(bundle.read_bytes().replace(b"it runs", b"it robs"))
    assert "install.sh: FAILED" in typed(lines, bundle, shell, "")


@pytest.mark.parametrize("pack", [bz2.compress, gzip.compress])
def test_what_is_compressed_is_not_unpacked(bundle: Path, shell: str, pack: Callable[[bytes], bytes]) -> None:
    approved = id_of(bundle)
    bundle.write_bytes(pack(bundle.read_bytes()))
    said = typed(by_hand.check("demo-1.0"), bundle, shell, approved)
    assert "manifest.json: FAILED" in said
    assert (bundle.with_name("home") / "demo-1.0/manifest.json").stat().st_size == 0
