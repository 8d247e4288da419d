"""Who vouches for a bundle; where somebody has to, nothing of an unsigned one is read."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bundler.bundle import keys, signature
from bundler.bundle.keys import Trust, read_public
from bundler.bundle.reader import Bundle
from bundler.bundle.statement import Statement
from bundler.bundle.volumes import join, split
from bundler.errors import ConfigError, TrustError
from bundler.progress import Silent
from tests.bundle.bundles import write_bundle
from tests.bundle.signing import check, envelope_of, make_key, public, sign, sign_payload, trusting

LATER = datetime(2099, 1, 31, 23, 59, 59, tzinfo=UTC)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return make_key(tmp_path)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return make_key(tmp_path, "other.key")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "demo-1.0.tar", {"files/a": b"a" * (3 << 20)})


def statement_of(bundle: Path, expires: datetime | None = None) -> Statement:
    with Bundle(bundle) as opened:
        return Statement.of(opened.manifest, expires)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bundler", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# Who is believed


def test_who_is_trusted_is_believed_and_nobody_else(bundle: Path, key: Path, other: Path, tmp_path: Path) -> None:
    third = make_key(tmp_path, "third.key")
    with pytest.raises(TrustError, match="is not signed"):
        check(bundle, trusting(key))
    sign(bundle, key)
    check(bundle, trusting(key))
    check(bundle, trusting(other, key))
    with pytest.raises(TrustError, match="signed by nobody who is trusted"):
        check(bundle, trusting(other))
    sign(bundle, other)  # a second person
    check(bundle, trusting(other))
    check(bundle, trusting(key))
    with pytest.raises(TrustError):
        check(bundle, trusting(third))


def test_it_is_told_who_signed(bundle: Path, key: Path, other: Path) -> None:
    sign(bundle, key)
    sign(bundle, other)
    found = check(bundle, trusting(other, key))
    assert found is not None
    assert {(signer.key, signer.keyid) for signer in found.signers} == {
        (public(each), read_public(public(each)).id) for each in (key, other)
    }
    assert check(bundle, Trust()) is None


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
    found = signature.vouched(other, trusting(key))
    with pytest.raises(TrustError, match="what was signed is another bundle"):
        Bundle(other, vouched=found)


def test_a_name_that_is_not_the_manifests_is_refused(bundle: Path, key: Path) -> None:
    """A statement in the right form, by a trusted key, with the manifest's digest, about a release of another name."""
    honest = statement_of(bundle)
    lying = Statement("other", "9", honest.id, honest.profile_sha256, honest.lock_sha256)
    sign_payload(signature.signature_file(bundle), lying.data, key)
    with pytest.raises(TrustError, match="what was signed is other 9"):
        check(bundle, trusting(key))


@pytest.mark.parametrize(
    ("payload_type", "word", "instead"),
    [
        ("application/vnd.in-toto+json", "https://slsa.dev/provenance/v1", "https://in-toto.io/attestation/vulns/v0.2"),
        ("application/vnd.in-toto+json", "https://bundler.invalid/build/v1", "https://example.org/REJECTED"),
        ("application/vnd.in-toto+json", '"name":"demo-1.0"', '"name":"other-1.0"'),
        ("application/vnd.in-toto+json", '"runDetails"', '"verdict":"REJECTED","runDetails"'),
        ("text/plain", "demo", "demo"),
    ],
)
def test_another_statement_of_a_trusted_key_vouches_for_nothing(
    bundle: Path, key: Path, payload_type: str, word: str, instead: str
) -> None:
    payload = statement_of(bundle).data.decode()
    assert word in payload
    target = signature.signature_file(bundle)
    sign_payload(target, payload.replace(word, instead).encode(), key, payload_type=payload_type)
    with pytest.raises(TrustError, match="it vouches for something else than a bundle"):
        check(bundle, trusting(key))


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
        check(bundle, trusting(key))


# Files that are no signatures


def strange(bundle: Path) -> dict[str, bytes]:
    payload = statement_of(bundle).data
    good = envelope_of(payload, [("0" * 64, b"x")])

    def changed(**words: object) -> bytes:
        return json.dumps({**good, **words}).encode()

    def signed(*entries: object) -> bytes:
        return changed(signatures=list(entries))

    text = json.dumps(good).encode()
    entry = {"keyid": "0" * 64, "sig": "eA=="}
    return {
        "nothing": b"",
        "null": b"null",
        "text": b"signature",
        "not UTF-8": b"\xff\xfe",
        "deep list": b"[" * 300_000,
        "deep objects": b'{"payload":' * 90_000,
        "deep payload": b'{"payload":' + b"[" * 300_000 + b"]" * 300_000 + b"}",
        "long number": b"1" * 900_000,
        "huge": b" " * (2 << 20),
        "without payload": json.dumps({k: v for k, v in good.items() if k != "payload"}).encode(),
        "payload is a number": changed(payload=7),
        "payload is a list": changed(payload=["eA=="]),
        "payload is no base64": changed(payload="!!!!"),
        "payload is half base64": changed(payload="abcde"),
        "type is a list": changed(payloadType=["x"]),
        "surprise": changed(surprise=1),
        "signatures is null": changed(signatures=None),
        "signatures is an object": changed(signatures=entry),
        "signature is a text": signed("x"),
        "signature is null": signed(None),
        "sig is a number": signed({**entry, "sig": 7}),
        "sig is no base64": signed({**entry, "sig": "\u202e"}),
        "sig is missing": signed({"keyid": "0" * 64}),
        "keyid is null": signed({**entry, "keyid": None}),
        "keyid is hostile": signed({**entry, "keyid": "\x1b[2J</script>"}),
        "a key twice": signed(entry, entry),
        "10,000 signatures": signed(*({**entry, "keyid": f"{n:064x}"} for n in range(10_000))),
        "65 signatures": signed(*({**entry, "keyid": f"{n:064x}"} for n in range(65))),
        "two payloads": text.replace(b'"payload":', b'"payload": "eA==", "payload":'),
        "two lists of signatures": text.replace(b'"signatures":', b'"signatures": [], "signatures":'),
        "two sigs": text.replace(b'"sig":', b'"sig": "eA==", "sig":'),
    }


@pytest.mark.parametrize("number", range(31))
def test_a_file_that_is_no_signature_is_refused(bundle: Path, key: Path, number: int) -> None:
    """By whoever reads it: verify, sign and inspect end soon, with a message."""
    cases = strange(bundle)
    assert len(cases) == 31
    name, data = list(cases.items())[number]
    path = signature.signature_file(bundle)
    path.write_bytes(data)
    with pytest.raises(TrustError, match="is no signature") as refused:
        check(bundle, trusting(key))
    assert refused.value.message.isprintable(), name
    assert len(refused.value.message) < 600, name
    with pytest.raises(TrustError, match="is no signature"):
        sign(bundle, key)
    assert path.read_bytes() == data, "it is not overwritten"
    with Bundle(bundle) as opened:
        found = signature.standing(bundle, opened.manifest, trusting(key))
    assert (found.vouched, found.signers) == (False, ())
    assert "is no signature" in found.verdict


def test_random_damage_never_ends_in_anything_but_a_refusal(bundle: Path, key: Path) -> None:
    """Bytes of a good envelope changed, cut out, put in: refused, or the same statement by the same key."""
    good = sign(bundle, key).read_bytes()
    path, trusted, chance = signature.signature_file(bundle), trusting(key), random.Random(7)
    refused = 0
    for _ in range(600):
        place, gone = chance.randrange(len(good)), chance.randrange(8)
        data = good[:place] + chance.randbytes(chance.randrange(8)) + good[place + gone :]
        path.write_bytes(data)
        try:
            found = signature.vouched(bundle, trusted)
        except TrustError:
            refused += 1
            continue
        assert found is not None
        assert found.statement == statement_of(bundle)
    assert refused > 400


@pytest.mark.parametrize("sort", ["folder", "pipe", "link to nowhere"])
def test_what_is_no_file_is_no_signature(bundle: Path, key: Path, sort: str) -> None:
    path = signature.signature_file(bundle)
    match sort:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case _:
            path.symlink_to(path.with_name("gone"))
    with pytest.raises(TrustError, match="is not signed"):
        check(bundle, trusting(key))


def test_10_000_signatures_are_refused_soon(bundle: Path, key: Path) -> None:
    signature.signature_file(bundle).write_bytes(strange(bundle)["10,000 signatures"])
    began = datetime.now(UTC)
    assert run("verify", bundle, "--trust", public(key)).returncode == TrustError.exit_code
    assert datetime.now(UTC) - began < timedelta(seconds=10)


# Several who sign


def test_a_threshold_counts_different_keys(bundle: Path, key: Path, other: Path, tmp_path: Path) -> None:
    trusted = trusting(key, other, threshold=2)
    sign(bundle, key)
    with pytest.raises(TrustError, match=r"2 of the keys trusted here have to sign, and 1 did: .*release\.key\.pub"):
        check(bundle, trusted)
    sign(bundle, key)  # again
    with pytest.raises(TrustError, match="and 1 did"):
        check(bundle, trusted)
    sign(bundle, make_key(tmp_path, "stranger.key"))
    with pytest.raises(TrustError, match="and 1 did"):
        check(bundle, trusted)
    sign(bundle, other)
    found = check(bundle, trusted)
    assert found is not None
    assert len(found.signers) == 2


def test_one_key_in_two_files_counts_once(bundle: Path, key: Path, other: Path, tmp_path: Path) -> None:
    shutil.copyfile(public(key), tmp_path / "copy.key.pub")
    sign(bundle, key)
    with pytest.raises(TrustError, match="and 1 did"):
        check(bundle, trusting(key, tmp_path / "copy.key", other, threshold=2))


def test_one_key_under_two_key_ids_counts_once(bundle: Path, key: Path, other: Path) -> None:
    """The id in the envelope is what anybody may have written there."""
    path = sign(bundle, key)
    document = json.loads(path.read_text())
    (made,) = document["signatures"]
    for keyid in (read_public(public(other)).id, "0" * 64):
        document["signatures"] = [made, {**made, "keyid": keyid}]
        path.write_text(json.dumps(document))
        with pytest.raises(TrustError, match="and 1 did"):
            check(bundle, trusting(key, other, threshold=2))
        check(bundle, trusting(key, other))


def test_a_bad_signature_beside_a_good_one_does_not_count(bundle: Path, key: Path, other: Path) -> None:
    sign(bundle, key)
    path = sign(bundle, other)
    document = json.loads(path.read_text())
    document["signatures"][1]["sig"] = document["signatures"][0]["sig"]
    path.write_text(json.dumps(document))
    check(bundle, trusting(key, other))
    with pytest.raises(TrustError, match="and 1 did"):
        check(bundle, trusting(key, other, threshold=2))


def test_who_signs_second_signs_the_same(bundle: Path, key: Path, other: Path) -> None:
    first = json.loads(sign(bundle, key, expires=LATER).read_text())
    second = json.loads(sign(bundle, other).read_text())
    assert second["payload"] == first["payload"]
    assert second["signatures"][0] == first["signatures"][0]
    sign(bundle, other, expires=LATER)  # as it is there
    check(bundle, trusting(key, other, threshold=2))


@pytest.mark.parametrize("first", [None, LATER])
def test_another_end_than_the_one_that_is_signed_is_refused(
    bundle: Path, key: Path, other: Path, first: datetime | None
) -> None:
    path = sign(bundle, key, expires=first)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="all who sign a bundle sign one statement") as refused:
        sign(bundle, other, expires=LATER + timedelta(days=1))
    assert "leave out --expires" in refused.value.hint
    assert path.read_bytes() == before
    path.rename(path.with_name("away"))
    sign(bundle, other, expires=LATER + timedelta(days=1))


def test_a_signature_of_something_else_is_not_overwritten(bundle: Path, key: Path, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other.tar", {"files/b": b"b"})
    path = signature.signature_file(other)
    shutil.copyfile(sign(bundle, key), path)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="its signatures would be lost") as refused:
        sign(other, key)
    assert f"move {path} away" in refused.value.hint
    assert path.read_bytes() == before


def test_an_expired_statement_is_not_signed_on(bundle: Path, key: Path, other: Path) -> None:
    sign(bundle, key, expires=datetime.now(UTC) - timedelta(days=1))
    with pytest.raises(ConfigError, match=r"expired at .*; its signatures would be lost"):
        sign(bundle, other)


def test_a_statement_that_nobody_signed_is_not_adopted(bundle: Path, key: Path) -> None:
    """Whoever may write to the medium does not choose until when a signature counts."""
    planted = statement_of(bundle, datetime(9999, 12, 31, tzinfo=UTC))
    signature.signature_file(bundle).write_text(json.dumps(envelope_of(planted.data, [])))
    sign(bundle, key)
    found = check(bundle, trusting(key))
    assert found
    assert found.statement.expires is None


def test_a_signature_that_could_not_be_read_again_is_not_written(bundle: Path, key: Path) -> None:
    path = signature.signature_file(bundle)
    full = [(f"{number:064x}", b"x") for number in range(64)]
    path.write_text(json.dumps(envelope_of(statement_of(bundle).data, full)))
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="with one signature more"):
        sign(bundle, key)
    assert path.read_bytes() == before


def test_a_signature_file_that_would_grow_too_large_is_not_written(bundle: Path, key: Path) -> None:
    path = signature.signature_file(bundle)
    made = envelope_of(statement_of(bundle).data, [("0" * 64, b"")])
    room = (1 << 20) - len(json.dumps(made))
    path.write_text(json.dumps(envelope_of(statement_of(bundle).data, [("0" * 64, bytes(room // 4 * 3))])))
    before = path.read_bytes()
    assert (1 << 20) - 4 <= len(before) <= 1 << 20
    with pytest.raises(ConfigError, match=r"with one signature more, .* too large"):
        sign(bundle, key)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["demo-1.0.tar.sig.json.part", "demo-1.0.tar.sig.json"])
def test_sign_writes_through_no_link_beside_the_bundle(bundle: Path, key: Path, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    bundle.with_name(name).symlink_to(victim)
    if name.endswith(".part"):
        sign(bundle, key)
    else:
        with pytest.raises(TrustError, match="is no signature"):
            sign(bundle, key)
    assert victim.read_bytes() == b"precious"


def test_a_planted_link_to_nowhere_does_not_choose_where_a_signature_goes(
    bundle: Path, key: Path, tmp_path: Path
) -> None:
    signature.signature_file(bundle).symlink_to(tmp_path / "made")
    with pytest.raises(OSError, match="it is no regular file"):
        sign(bundle, key)
    assert not (tmp_path / "made").exists()


# Until when


def test_what_has_expired_is_refused_with_its_date(bundle: Path, key: Path) -> None:
    until = datetime.now(UTC) - timedelta(seconds=1)
    sign(bundle, key, expires=until)
    with pytest.raises(TrustError, match=f"what was signed expired at {until:%Y-%m-%dT%H:%M:%SZ}; it is 2"):
        check(bundle, trusting(key))
    signature.signature_file(bundle).unlink()
    sign(bundle, key, expires=datetime.now(UTC) + timedelta(minutes=5))
    check(bundle, trusting(key))


def test_a_site_may_ask_for_an_end(bundle: Path, key: Path) -> None:
    sign(bundle, key)
    with pytest.raises(TrustError, match="what was signed never expires"):
        check(bundle, trusting(key, require_expiry=True))
    signature.signature_file(bundle).unlink()
    sign(bundle, key, expires=LATER)
    check(bundle, trusting(key, require_expiry=True))


# A key is replaced by another


def test_a_key_is_replaced_by_another(bundle: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sign for a while; sites learn the new one, then forget the old one; what the old one signed alone is out."""
    folder = tmp_path / "trusted.d"
    monkeypatch.setattr(keys, "TRUSTED", folder)
    folder.mkdir()
    shutil.copyfile(public(key), folder / "2026.pub")
    before = write_bundle(tmp_path / "before.tar", {"files/b": b"b"})
    sign(before, key)
    new = make_key(tmp_path, "new.key")
    sign(bundle, key)
    sign(bundle, new)

    def taken() -> tuple[bool, bool]:
        results = []
        for path in (before, bundle):
            try:
                check(path, keys.trust([]))
                results.append(True)
            except TrustError:
                results.append(False)
        return results[0], results[1]

    assert taken() == (True, True)  # a site that knows the old key
    shutil.copyfile(public(new), folder / "2027.pub")
    assert taken() == (True, True)  # one that knows both
    (folder / "2026.pub").unlink()
    assert taken() == (False, True)  # one for which the old key is revoked
    (folder / "2027.pub").unlink()
    with pytest.raises(ConfigError, match="is empty"):  # and never one that takes everything
        taken()


# Where it lies, and by whom it is made


def test_volumes_have_the_signature_of_their_bundle(bundle: Path, key: Path, tmp_path: Path) -> None:
    index = split(bundle, tmp_path / "volumes", 1 << 20, progress=Silent())
    made = sign(index.with_name("demo-1.0.tar.002"), key)
    assert made == index.with_name("demo-1.0.tar.sig.json")
    for path in (index, index.parent, index.with_name("demo-1.0.tar.001")):
        check(path, trusting(key))


def test_no_signature_is_lost_when_volumes_are_joined_or_made(
    bundle: Path, key: Path, other: Path, tmp_path: Path
) -> None:
    index = split(bundle, tmp_path / "volumes", 1 << 20, progress=Silent())
    there = sign(index, key)
    here = sign(bundle, other)
    before = there.read_bytes(), here.read_bytes()
    with pytest.raises(ConfigError, match="another signature is there"):
        split(bundle, index.parent, 1 << 20, progress=Silent())
    with pytest.raises(ConfigError, match="another signature is there"):
        join(index, bundle.parent, progress=Silent())
    assert (there.read_bytes(), here.read_bytes()) == before
    shutil.copyfile(here, there)
    join(index, bundle.parent, progress=Silent())
    check(bundle, trusting(other))


def test_an_external_signer_is_asked_and_held_to_its_key(bundle: Path, key: Path, other: Path, tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    script = tmp_path / "signer"
    script.write_text(
        f"#!/bin/sh\ncat >{tmp_path}/data\nopenssl pkeyutl -sign -rawin -inkey {key} -in {tmp_path}/data | base64 -w0\n"
    )
    script.chmod(0o755)
    sign(bundle, public(key), str(script))
    check(bundle, trusting(key))
    with pytest.raises(ConfigError, match="is no signature of"):
        sign(bundle, public(other), str(script))
    for command in ("false", "no-such-signer", "echo !", "'"):
        with pytest.raises(ConfigError, match="failed"):
            sign(bundle, public(key), command)


def elliptic(path: Path) -> Path:
    secret = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public(path).write_bytes(secret.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.mark.parametrize("sort", ["Ed25519", "ECDSA"])
def test_plain_tools_verify_it(bundle: Path, tmp_path: Path, sort: str) -> None:
    """The envelope is a standard one: openssl alone can check it."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    key = make_key(tmp_path) if sort == "Ed25519" else elliptic(tmp_path / "release.key")
    envelope = json.loads(sign(bundle, key).read_text())
    payload = b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    # DSSE's pre-authentication encoding
    (tmp_path / "pae").write_bytes(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
    (tmp_path / "sig").write_bytes(b64decode(envelope["signatures"][0]["sig"]))
    if sort == "Ed25519":
        argv = ["openssl", "pkeyutl", "-verify", "-pubin", "-rawin", "-inkey", str(public(key))]
        argv += ["-in", str(tmp_path / "pae"), "-sigfile", str(tmp_path / "sig")]
    else:
        argv = ["openssl", "dgst", "-sha256", "-verify", str(public(key))]
        argv += ["-signature", str(tmp_path / "sig"), str(tmp_path / "pae")]
    subprocess.run(argv, check=True, capture_output=True)
    check(bundle, trusting(key))


def test_a_signature_for_a_pipe_is_named(bundle: Path, key: Path, other: Path, tmp_path: Path) -> None:
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
    assert verify("--trust", public(other), "--signature", made).returncode == TrustError.exit_code


# What inspect says of it


def standing(bundle: Path, trusted: Trust) -> signature.Standing:
    with Bundle(bundle) as opened:
        return signature.standing(bundle, opened.manifest, trusted)


def test_nobody_is_said_aloud(bundle: Path, key: Path, other: Path) -> None:
    assert standing(bundle, Trust()).verdict == "signed by nobody"
    assert standing(bundle, trusting(key)).verdict == "not signed: signed by nobody who is trusted here"
    sign(bundle, other)
    found = standing(bundle, trusting(key))
    assert (found.vouched, "signed by nobody who is trusted here" in found.verdict) == (False, True)
    assert [(signer.key, signer.keyid) for signer in found.signers] == [(None, read_public(public(other)).id)]
    assert standing(bundle, Trust()).vouched is None
    sign(bundle, key)
    found = standing(bundle, trusting(key))
    assert (found.vouched, found.verdict) == (True, "signed by those who are trusted here")


def test_a_forged_signature_of_a_known_key_is_nobodys(bundle: Path, key: Path) -> None:
    document = envelope_of(statement_of(bundle).data, [(read_public(public(key)).id, b"x" * 64)])
    signature.signature_file(bundle).write_text(json.dumps(document))
    found = standing(bundle, trusting(key))
    assert (found.vouched, found.signers) == (False, ())


def test_an_expired_signature_is_shown_as_such(bundle: Path, key: Path) -> None:
    sign(bundle, key, expires=datetime.now(UTC) - timedelta(days=1))
    for trusted, vouched in ((trusting(key), False), (Trust(), None)):
        found = standing(bundle, trusted)
        assert found.vouched is vouched
        assert "what was signed expired at" in found.verdict


def test_the_signature_of_another_bundle_is_shown_as_such(bundle: Path, key: Path, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other.tar", {"files/b": b"b"})
    shutil.copyfile(sign(bundle, key), signature.signature_file(other))
    found = standing(other, trusting(key))
    assert (found.vouched, found.signers) == (False, ())
    assert "what was signed is demo 1.0" in found.verdict


def test_base64_of_another_alphabet_is_refused(bundle: Path, key: Path) -> None:
    path = sign(bundle, key)
    document = json.loads(path.read_text())
    document["signatures"][0]["sig"] = b64encode(b"\xff" * 64).decode().replace("/", "_")
    path.write_text(json.dumps(document))
    with pytest.raises(TrustError, match="is no signature"):
        check(bundle, trusting(key))
