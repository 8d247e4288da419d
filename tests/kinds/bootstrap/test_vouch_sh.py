"""Who vouches for a bundle before anything of it runs: install.sh with real tar, sha256sum and openssl."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from securesystemslib.signer import CryptoSigner

from tests.kinds.bootstrap.hosts import Host, Key, id_of, sign

pytestmark = pytest.mark.parametrize("host", ["9"], indirect=True)

_CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


# Without a word about who vouches


def test_somebody_has_to_vouch(host: Host, bundle: Path) -> None:
    said = host.refuses(bundle, code=2)
    for way in ("--id ID", "--key FILE", "--unverified"):
        assert way in said


def test_unverified_is_said_aloud(host: Host, bundle: Path) -> None:
    assert f"WARNING: nobody vouches for {bundle} (id {id_of(bundle)})" in host.takes(bundle, "--unverified")


def test_unverified_goes_with_nothing_else(host: Host, bundle: Path) -> None:
    assert "--unverified goes with neither" in host.refuses(bundle, "--unverified", "--id", id_of(bundle), code=2)


# By its id


def test_the_approved_id(host: Host, bundle: Path) -> None:
    assert "WARNING" not in host.takes(bundle, "--id", id_of(bundle))


def test_the_approved_id_in_capitals(host: Host, bundle: Path) -> None:
    host.takes(bundle, f"--id={id_of(bundle).upper()}")


def test_another_id_is_refused(host: Host, bundle: Path) -> None:
    approved = id_of(bundle)
    assert f"not {approved}" in host.refuses(host.forges(bundle), "--id", approved)


@pytest.mark.parametrize(
    "change", [lambda found: found[:12], lambda found: found[:-1] + "g", lambda found: found + "0"]
)
def test_what_is_no_id_is_refused(host: Host, bundle: Path, change: Callable[[str], str]) -> None:
    assert "is no id" in host.refuses(bundle, "--id", change(id_of(bundle)), code=2)


def test_a_manifest_that_was_tampered_with_is_refused(host: Host, bundle: Path) -> None:
    approved = id_of(bundle)
    data = bundle.read_bytes()
    bundle.write_bytes(data.replace(b'"path": "a value"', b'"path": "another"', 1))
    assert bundle.read_bytes() != data
    assert "the id of" in host.refuses(bundle, "--id", approved)


# By a key


def test_a_signature_of_bundlers_own(host: Host, bundle: Path, tmp_path: Path) -> None:
    def bundler(*words: str | Path) -> None:
        subprocess.run([sys.executable, "-P", "-m", "bundler", *words], check=True, capture_output=True)

    bundler("key", "new", tmp_path / "theirs")
    bundler("sign", bundle, "--key", tmp_path / "theirs")
    assert "WARNING" not in host.takes(bundle, "--key", str(tmp_path / "theirs.pub"))


def test_a_signature_that_lies_elsewhere(host: Host, bundle: Path, key: Key, tmp_path: Path) -> None:
    sign(bundle, key).rename(tmp_path / "elsewhere.json")
    assert "is not signed: there is no" in host.refuses(bundle, "--key", str(key.public))
    host.takes(bundle, "--key", str(key.public), "--signature", str(tmp_path / "elsewhere.json"))


@pytest.mark.parametrize("curve", _CURVES)
def test_an_ecdsa_key(host: Host, bundle: Path, tmp_path: Path, curve: str) -> None:
    key = Key.at(tmp_path / "ec.pub", CryptoSigner(ec.generate_private_key(_CURVES[curve])))
    sign(bundle, key)
    host.takes(bundle, "--key", str(key.public))


def test_an_rsa_key(host: Host, bundle: Path, tmp_path: Path) -> None:
    key = Key.at(tmp_path / "rsa.pub", CryptoSigner(rsa.generate_private_key(65537, 2048)))
    sign(bundle, key)
    host.takes(bundle, "--key", str(key.public))


def test_an_ecdsa_signature_of_somebody_else_is_refused(host: Host, bundle: Path, tmp_path: Path) -> None:
    made = [Key.at(tmp_path / f"{name}.pub", CryptoSigner(ec.generate_private_key(_CURVES["P-256"]))) for name in "ab"]
    sign(bundle, made[0])
    assert "is not signed by" in host.refuses(bundle, "--key", str(made[1].public))


def test_one_of_two_signatures_is_enough(host: Host, bundle: Path, key: Key, other: Key) -> None:
    sign(bundle, other, key)
    host.takes(bundle, "--key", str(key.public))


def test_somebody_elses_signature_is_refused(host: Host, bundle: Path, key: Key, other: Key) -> None:
    sign(bundle, other)
    assert f"is not signed by {key.public}" in host.refuses(bundle, "--key", str(key.public))


def test_a_signature_of_the_bundle_before_is_refused(host: Host, bundle: Path, key: Key) -> None:
    sign(bundle, key)
    assert "vouches for another bundle" in host.refuses(host.forges(bundle), "--key", str(key.public))


def test_a_signature_without_a_key_is_not_ignored(host: Host, bundle: Path, key: Key) -> None:
    said = host.refuses(bundle, "--id", id_of(bundle), "--signature", str(sign(bundle, key)))
    assert "cannot be checked: no key is trusted here" in said


def test_id_and_key_both_have_to_hold(host: Host, bundle: Path, key: Key, other: Key) -> None:
    sign(bundle, key)
    host.takes(bundle, "--key", str(key.public), "--id", id_of(bundle))
    (host.folder / "calls").unlink()
    host.refuses(bundle, "--key", str(key.public), "--id", "0" * 64)
    host.refuses(bundle, "--key", str(other.public), "--id", id_of(bundle))


def test_what_is_no_public_key_is_refused(host: Host, bundle: Path, key: Key, tmp_path: Path) -> None:
    sign(bundle, key)
    for name, text in {
        "secret": key.signer.private_bytes,
        "nothing": b"",
        "words": b"release key of the site\n",
        "two": key.public.read_bytes() * 2,
    }.items():
        (tmp_path / name).write_bytes(text)
        assert "is no public key" in host.refuses(bundle, "--key", str(tmp_path / name), code=4)
    assert "is no file" in host.refuses(bundle, "--key", str(tmp_path / "nowhere"), code=4)


# What this machine trusts


def test_a_key_of_the_machine_is_enough(host: Host, bundle: Path, key: Key, other: Key) -> None:
    host.trusts(other, key)
    sign(bundle, key)
    said = host.takes(bundle)
    assert "WARNING" not in said
    assert f"--signature {bundle}.sig.json" in host.calls[-1]


@pytest.mark.parametrize("words", ["nothing", "--unverified", "--id", "--key"])
@pytest.mark.parametrize("signed", [True, False])
def test_forged_bundle_is_refused_where_the_machine_trusts_a_key(
    host: Host, bundle: Path, key: Key, other: Key, words: str, signed: bool
) -> None:
    host.trusts(key)
    host.forges(bundle)
    sign(bundle, other)
    if not signed:
        bundle.with_name(f"{bundle.name}.sig.json").unlink()
    said = {"nothing": [], "--id": ["--id", id_of(bundle)], "--key": ["--key", str(other.public)]}
    assert "signed" in host.refuses(bundle, *said.get(words, [words]))


def test_unverified_says_nothing_where_the_machine_trusts_who_signed(host: Host, bundle: Path, key: Key) -> None:
    host.trusts(key)
    sign(bundle, key)
    assert "WARNING" not in host.takes(bundle, "--unverified")


@pytest.mark.parametrize(
    "change", ["empty", "a file", "a link to nowhere", "words", "another name", "hidden", "folder"]
)
def test_trust_that_cannot_be_read_is_an_error(host: Host, bundle: Path, key: Key, change: str) -> None:
    folder = host.trusts()
    sign(bundle, key)
    match change:
        case "a file":
            folder.rmdir()
            folder.write_bytes(key.public.read_bytes())
        case "a link to nowhere":
            folder.rmdir()
            folder.symlink_to("/nowhere")
        case "words":
            (folder / "release.pub").write_text("the release key\n")
        case "another name":
            (folder / "release.pem").write_bytes(key.public.read_bytes())
        case "hidden":
            (folder / ".release.pub").write_bytes(key.public.read_bytes())
        case "folder":
            (folder / "release.pub").mkdir()
    for words in (("--key", str(key.public)), ("--id", id_of(bundle)), ("--unverified",)):
        assert "/etc/bundler/trusted.d" in host.refuses(bundle, *words, code=4)


@pytest.mark.parametrize("change", ["its folder", "a key", "another owner"])
def test_trust_that_others_can_change_is_refused(host: Host, bundle: Path, key: Key, change: str) -> None:
    folder = host.trusts(key)
    sign(bundle, key)
    match change:
        case "its folder":
            folder.chmod(0o777)
        case "a key":
            (folder / key.public.name).chmod(0o666)
        case "another owner":
            os.chown(folder / key.public.name, 65534, 65534)
    assert "others than root can change /etc/bundler/trusted.d" in host.refuses(bundle, code=9)
