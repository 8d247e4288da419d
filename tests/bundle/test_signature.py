"""Who vouches for a bundle; where somebody has to, nothing of an unsigned one is read."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import pytest

from bundler.bundle import signature
from bundler.bundle.reader import Bundle
from bundler.bundle.volumes import split
from bundler.errors import ConfigError, TrustError
from bundler.progress import Silent
from tests.bundle.bundles import write_bundle


@pytest.fixture
def key(tmp_path: Path) -> Path:
    signature.new_key(tmp_path / "release.key")
    return tmp_path / "release.key"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "demo-1.0.tar", {"files/a": b"a" * (3 << 20)})


def public(key: Path) -> Path:
    return key.with_name(f"{key.name}.pub")


def sign(bundle: Path, key: Path, signer: str | None = None) -> Path:
    with Bundle(bundle) as opened:
        return signature.sign(bundle, opened.manifest, key, signer)


def check(bundle: Path, *keys: Path) -> None:
    found = signature.vouched(bundle, [signature.read_public(public(key)) for key in keys])
    with Bundle(bundle, vouched=found) as opened:
        opened.verify(jobs=1)


def test_a_secret_key_is_for_one_user(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert b"PRIVATE" not in public(key).read_bytes()
    with pytest.raises(ConfigError, match="is there already"):
        signature.new_key(key)


def test_who_is_trusted_is_believed_and_nobody_else(bundle: Path, key: Path, tmp_path: Path) -> None:
    other, third = tmp_path / "other.key", tmp_path / "third.key"
    signature.new_key(other)
    signature.new_key(third)
    with pytest.raises(TrustError, match="is not signed"):
        check(bundle, key)
    sign(bundle, key)
    check(bundle, key)
    check(bundle, other, key)
    with pytest.raises(TrustError, match="signed by nobody who is trusted"):
        check(bundle, other)
    sign(bundle, other)  # a second person
    check(bundle, other)
    check(bundle, key)
    with pytest.raises(TrustError):
        check(bundle, third)


def test_it_says_what_was_built_from_what(bundle: Path, key: Path) -> None:
    envelope = json.loads(sign(bundle, key).read_text())
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    statement = json.loads(b64decode(envelope["payload"]))
    with Bundle(bundle) as opened:
        assert statement["subject"] == [{"name": "demo-1.0", "digest": {"sha256": opened.manifest.id}}]
    assert statement["predicate"]["buildDefinition"]["externalParameters"]["version"] == "1.0"


def test_another_bundles_signature_is_refused_before_the_manifest_is_read(
    bundle: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_bundle(tmp_path / "other.tar", {"files/b": b"b"})
    shutil.copyfile(sign(bundle, key), signature.signature_file(other))
    monkeypatch.setattr("bundler.bundle.manifest.Manifest.from_bytes", lambda *_: pytest.fail("it was parsed"))
    found = signature.vouched(other, [signature.read_public(public(key))])
    with pytest.raises(TrustError, match="what was signed is another bundle"):
        Bundle(other, vouched=found)


@pytest.mark.parametrize("change", ["payload", "sig", "keyid", "type", "nothing", "list", "empty"])
def test_a_signature_that_was_tampered_with(bundle: Path, key: Path, change: str) -> None:
    path = sign(bundle, key)
    document = json.loads(path.read_text())
    match change:
        case "payload":
            document["payload"] = document["payload"][:-8] + "AAAA" + document["payload"][-4:]
        case "sig":
            document["signatures"][0]["sig"] = "A" * 86 + "=="
        case "keyid":
            document["signatures"][0]["keyid"] = "0" * 64
        case "type":
            document["payloadType"] = "text/plain"
        case "nothing":
            document["signatures"] = []
        case "list":
            document = []
        case "empty":
            document = {}
    path.write_text(json.dumps(document))
    with pytest.raises(TrustError):
        check(bundle, key)


def test_volumes_have_the_signature_of_their_bundle(bundle: Path, key: Path, tmp_path: Path) -> None:
    index = split(bundle, tmp_path / "volumes", 1 << 20, progress=Silent())
    made = sign(index.with_name("demo-1.0.tar.002"), key)
    assert made == index.with_name("demo-1.0.tar.sig.json")
    for path in (index, index.parent, index.with_name("demo-1.0.tar.001")):
        check(path, key)


def test_an_external_signer_is_asked_and_held_to_its_key(bundle: Path, key: Path, tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    script = tmp_path / "signer"
    script.write_text(
        f"#!/bin/sh\ncat >{tmp_path}/data\nopenssl pkeyutl -sign -rawin -inkey {key} -in {tmp_path}/data | base64 -w0\n"
    )
    script.chmod(0o755)
    sign(bundle, public(key), str(script))
    check(bundle, key)
    signature.new_key(tmp_path / "other.key")
    with pytest.raises(ConfigError, match="is no signature of"):
        sign(bundle, tmp_path / "other.key.pub", str(script))
    for command in ("false", "no-such-signer", "echo !"):
        with pytest.raises(ConfigError, match="failed"):
            sign(bundle, public(key), command)


def test_keys_that_are_none(bundle: Path, key: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no key")
    for wrong in (tmp_path / "text", tmp_path / "absent", public(key)):
        with pytest.raises(ConfigError, match="is no secret key"):
            sign(bundle, wrong)
    with pytest.raises(ConfigError, match="is no public key"):
        signature.read_public(tmp_path / "text")


def test_the_machines_trusted_keys_count(key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signature, "TRUSTED", tmp_path / "trusted.d")
    assert signature.trusted_keys([]) == []
    (tmp_path / "trusted.d").mkdir()
    shutil.copyfile(public(key), tmp_path / "trusted.d" / "release.pub")
    (found,) = signature.trusted_keys([])
    assert found == signature.read_public(public(key))


def test_plain_tools_verify_it(bundle: Path, key: Path, tmp_path: Path) -> None:
    """The envelope is a standard one: openssl alone can check it."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    envelope = json.loads(sign(bundle, key).read_text())
    payload = b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    # DSSE's pre-authentication encoding
    (tmp_path / "pae").write_bytes(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
    (tmp_path / "sig").write_bytes(b64decode(envelope["signatures"][0]["sig"]))
    argv = ["openssl", "pkeyutl", "-verify", "-pubin", "-rawin", "-inkey", str(public(key))]
    argv += ["-in", str(tmp_path / "pae"), "-sigfile", str(tmp_path / "sig")]
    subprocess.run(argv, check=True, capture_output=True)


def test_a_signature_for_a_pipe_is_named(bundle: Path, key: Path, tmp_path: Path) -> None:
    made = sign(bundle, key).rename(tmp_path / "elsewhere.json")

    def verify(*options: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bundler", "verify", "-", *map(str, options)]
        with bundle.open("rb") as pipe:
            return subprocess.run(command, stdin=pipe, capture_output=True, text=True, check=False)

    assert verify("--trust", public(key), "--signature", made).returncode == 0
    refused = verify("--trust", public(key))
    assert (refused.returncode, "name it: --signature" in refused.stderr) == (TrustError.exit_code, True)
    alone = verify("--signature", made)
    assert (alone.returncode, "no key is trusted here" in alone.stderr) == (TrustError.exit_code, True)
    signature.new_key(tmp_path / "other.key")
    assert verify("--trust", public(tmp_path / "other.key"), "--signature", made).returncode == TrustError.exit_code
