"""Who vouches for a bundle before anything of it runs: install.sh with real tar, sha256sum and openssl."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from securesystemslib.signer import CryptoSigner

from tests.kinds.bootstrap.hosts import WHEEL, Host, Key, base64_of, id_of, sign, statement

pytestmark = pytest.mark.parametrize("host", ["9"], indirect=True)

_ADDRESS = ("--address", "192.168.10.10")
_CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
TRUST = 12


def taken(host: Host, bundle: Path, *arguments: str) -> str:
    """What install.sh says of a bundle that it takes."""
    done = host.run(str(bundle), *arguments, *_ADDRESS)
    assert done.returncode == 0, done.stderr
    assert host.calls[-1].startswith(f"bundler install {bundle} --id {id_of(bundle)} ")
    return done.stderr


def refused(host: Host, bundle: Path, *arguments: str, code: int = TRUST) -> str:
    """What install.sh says of one that it does not take; nothing of it ran."""
    done = host.run(str(bundle), *arguments, *_ADDRESS)
    assert done.returncode == code, done.stderr
    assert "error: " in done.stderr
    assert "\nhint: " in done.stderr
    assert not host.ran
    assert (host.folder / "left").read_text() == ""
    return done.stderr


def forged(host: Host, bundle: Path) -> Path:
    """The genuine install.sh with another bundler, all digests in order."""
    bundle.unlink()
    return host.write(bundle, {WHEEL: b"a wheel that takes over"})


# Without a word about who vouches


def test_somebody_has_to_vouch(host: Host, bundle: Path) -> None:
    said = refused(host, bundle, code=2)
    for way in ("--id ID", "--key FILE", "--unverified"):
        assert way in said


def test_unverified_is_said_aloud(host: Host, bundle: Path) -> None:
    assert f"WARNING: nobody vouches for {bundle} (id {id_of(bundle)})" in taken(host, bundle, "--unverified")


def test_unverified_goes_with_nothing_else(host: Host, bundle: Path) -> None:
    assert "--unverified goes with neither" in refused(host, bundle, "--unverified", "--id", id_of(bundle), code=2)


# By its id


def test_the_approved_id(host: Host, bundle: Path) -> None:
    assert "WARNING" not in taken(host, bundle, "--id", id_of(bundle))


def test_the_approved_id_in_capitals(host: Host, bundle: Path) -> None:
    taken(host, bundle, f"--id={id_of(bundle).upper()}")


def test_another_id_is_refused(host: Host, bundle: Path) -> None:
    approved = id_of(bundle)
    assert f"not {approved}" in refused(host, forged(host, bundle), "--id", approved)


@pytest.mark.parametrize(
    "change", [lambda found: found[:12], lambda found: found[:-1] + "g", lambda found: found + "0"]
)
def test_what_is_no_id_is_refused(host: Host, bundle: Path, change: Callable[[str], str]) -> None:
    assert "is no id" in refused(host, bundle, "--id", change(id_of(bundle)), code=2)


def test_a_manifest_that_was_tampered_with_is_refused(host: Host, bundle: Path) -> None:
    approved = id_of(bundle)
    data = bundle.read_bytes()
    bundle.write_bytes(data.replace(b'"note": "a value"', b'"note": "another"', 1))
    assert bundle.read_bytes() != data
    assert "the id of" in refused(host, bundle, "--id", approved)


# By a key


def test_a_signature_of_bundlers_own(host: Host, bundle: Path, tmp_path: Path) -> None:
    def bundler(*words: str | Path) -> None:
        subprocess.run([sys.executable, "-P", "-m", "bundler", *words], check=True, capture_output=True)

    bundler("key", "new", tmp_path / "theirs")
    bundler("sign", bundle, "--key", tmp_path / "theirs")
    assert "WARNING" not in taken(host, bundle, "--key", str(tmp_path / "theirs.pub"))


def test_a_signature_that_lies_elsewhere(host: Host, bundle: Path, key: Key, tmp_path: Path) -> None:
    sign(bundle, key).rename(tmp_path / "elsewhere.json")
    assert "is not signed: there is no" in refused(host, bundle, "--key", str(key.public))
    taken(host, bundle, "--key", str(key.public), "--signature", str(tmp_path / "elsewhere.json"))


@pytest.mark.parametrize("curve", _CURVES)
def test_an_ecdsa_key(host: Host, bundle: Path, tmp_path: Path, curve: str) -> None:
    key = Key.at(tmp_path / "ec.pub", CryptoSigner(ec.generate_private_key(_CURVES[curve])))
    sign(bundle, key)
    taken(host, bundle, "--key", str(key.public))


def test_an_rsa_key(host: Host, bundle: Path, tmp_path: Path) -> None:
    key = Key.at(tmp_path / "rsa.pub", CryptoSigner(rsa.generate_private_key(65537, 2048)))
    sign(bundle, key)
    taken(host, bundle, "--key", str(key.public))


def test_an_ecdsa_signature_of_somebody_else_is_refused(host: Host, bundle: Path, tmp_path: Path) -> None:
    made = [Key.at(tmp_path / f"{name}.pub", CryptoSigner(ec.generate_private_key(_CURVES["P-256"]))) for name in "ab"]
    sign(bundle, made[0])
    assert "is not signed by" in refused(host, bundle, "--key", str(made[1].public))


def test_one_of_two_signatures_is_enough(host: Host, bundle: Path, key: Key, other: Key) -> None:
    sign(bundle, other, key)
    taken(host, bundle, "--key", str(key.public))


def test_somebody_elses_signature_is_refused(host: Host, bundle: Path, key: Key, other: Key) -> None:
    sign(bundle, other)
    assert f"is not signed by {key.public}" in refused(host, bundle, "--key", str(key.public))


def test_a_signature_of_the_bundle_before_is_refused(host: Host, bundle: Path, key: Key) -> None:
    sign(bundle, key)
    assert "vouches for another bundle" in refused(host, forged(host, bundle), "--key", str(key.public))


def test_id_and_key_both_have_to_hold(host: Host, bundle: Path, key: Key, other: Key) -> None:
    sign(bundle, key)
    taken(host, bundle, "--key", str(key.public), "--id", id_of(bundle))
    (host.folder / "calls").unlink()
    refused(host, bundle, "--key", str(key.public), "--id", "0" * 64)
    refused(host, bundle, "--key", str(other.public), "--id", id_of(bundle))


def test_what_is_no_public_key_is_refused(host: Host, bundle: Path, key: Key, tmp_path: Path) -> None:
    sign(bundle, key)
    for name, text in {
        "secret": key.signer.private_bytes,
        "nothing": b"",
        "words": b"release key of the site\n",
    }.items():
        (tmp_path / name).write_bytes(text)
        assert "is no public key" in refused(host, bundle, "--key", str(tmp_path / name), code=4)
    assert "is no file" in refused(host, bundle, "--key", str(tmp_path / "nowhere"), code=4)


# What was signed


def _in(**span: float) -> str:
    return (datetime.now(UTC) + timedelta(**span)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_signature_that_has_not_expired(host: Host, bundle: Path, key: Key) -> None:
    sign(bundle, key, predicate={"expires": _in(minutes=5)})
    taken(host, bundle, "--key", str(key.public))


def test_a_signature_that_has_expired_is_refused(host: Host, bundle: Path, key: Key) -> None:
    sign(bundle, key, predicate={"expires": _in(seconds=-1)})
    assert "expired" in refused(host, bundle, "--key", str(key.public))


@pytest.mark.parametrize("end", ["", "9999", "31.12.2099", "2099-12-31", "2099-12-31T00:00:00+01:00", None, 4102444800])
def test_an_end_that_is_no_time_is_refused(host: Host, bundle: Path, key: Key, end: object) -> None:
    sign(bundle, key, predicate={"expires": end})
    assert "expire" in refused(host, bundle, "--key", str(key.public))


@pytest.mark.parametrize("name", ["demo-1.1", "demo-1.0.1", "other-1.0", "", 'demo-1.0"'])
def test_another_name_or_version_is_refused(host: Host, bundle: Path, key: Key, name: str) -> None:
    sign(bundle, key, subject=[{"name": name, "digest": {"sha256": id_of(bundle)}}])
    assert "vouches for another name or version than demo-1.0" in refused(host, bundle, "--key", str(key.public))


@pytest.mark.parametrize(
    "changes",
    [
        {"predicateType": "https://cosign.sigstore.dev/attestation/vuln/v1"},
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"subject": []},
        {"zzz": "a key more"},
        {"payload_type": "text/plain"},
    ],
)
def test_what_vouches_for_something_else_is_refused(
    host: Host, bundle: Path, key: Key, changes: dict[str, Any]
) -> None:
    sign(bundle, key, **changes)
    said = refused(host, bundle, "--key", str(key.public))
    assert "vouches for something else" in said or "is no signature as bundler writes it" in said


def test_two_subjects_are_refused(host: Host, bundle: Path, key: Key) -> None:
    found = statement(bundle)["subject"]
    sign(bundle, key, subject=[*found, *found])
    refused(host, bundle, "--key", str(key.public))
    sign(bundle, key, subject=[{"name": "other", "digest": {"sha256": "0" * 64}}, *found])
    refused(host, bundle, "--key", str(key.public))


def test_the_right_words_in_the_wrong_place_are_refused(host: Host, bundle: Path, key: Key) -> None:
    """What would be the end of a statement about this bundle is a word in one about another."""
    genuine = json.dumps(statement(bundle), sort_keys=True, separators=(",", ":"))
    sign(bundle, key, subject=[{"name": genuine, "digest": {"sha256": "0" * 64}}])
    assert "vouches for another bundle" in refused(host, bundle, "--key", str(key.public))


@pytest.mark.parametrize("change", [lambda text: text + b"\n", lambda text: b" " + text, lambda text: text + b"\0"])
def test_a_statement_in_another_form_is_refused(
    host: Host, bundle: Path, key: Key, change: Callable[[bytes], bytes]
) -> None:
    text = json.dumps(statement(bundle), sort_keys=True, separators=(",", ":")).encode()
    sign(bundle, key, text=change(text))
    assert "vouches for something else" in refused(host, bundle, "--key", str(key.public))


# The signature's file


def _reordered(text: str) -> str:
    found = json.loads(text)
    return json.dumps({"payloadType": found["payloadType"], **found}, indent=1) + "\n"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="CRLF"),
        pytest.param(lambda text: text.replace('": "', '":  "'), id="spaces"),
        pytest.param(lambda text: text.replace("\n  }", "\n   }"), id="indented"),
        pytest.param(_reordered, id="reordered"),
        pytest.param(lambda text: json.dumps(json.loads(text)), id="compact"),
        pytest.param(lambda text: json.dumps({**json.loads(text), "more": 1}, indent=1), id="more"),
        pytest.param(lambda text: json.dumps({**json.loads(text), "signatures": []}, indent=1), id="no signature"),
        pytest.param(lambda text: text + text, id="twice"),
        pytest.param(lambda text: text.replace("\n", "\n\n", 1), id="an empty line"),
        pytest.param(lambda text: "\ufeff" + text, id="byte order mark"),
        pytest.param(lambda _: "", id="empty"),
        pytest.param(lambda _: "not a signature\n", id="words"),
        pytest.param(lambda text: text[: len(text) // 2], id="half"),
        pytest.param(lambda text: text + " " * (1 << 20), id="too large"),
    ],
)
def test_a_signature_in_another_form_is_refused(
    host: Host, bundle: Path, key: Key, change: Callable[[str], str]
) -> None:
    file = sign(bundle, key)
    file.write_bytes(change(file.read_text()).encode())
    said = refused(host, bundle, "--key", str(key.public))
    assert "is no signature as bundler writes it" in said or "is too large" in said


def test_a_payload_that_was_changed_is_refused(host: Host, bundle: Path, key: Key) -> None:
    text = json.dumps(statement(bundle), sort_keys=True, separators=(",", ":")).encode()
    file = sign(bundle, key, text=text.replace(id_of(bundle).encode(), b"0" * 64))
    envelope = json.loads(file.read_text())
    file.write_text(json.dumps({**envelope, "payload": base64_of(text)}, indent=1) + "\n")
    assert "is not signed by" in refused(host, bundle, "--key", str(key.public))


# What this machine trusts


def test_a_key_of_the_machine_is_enough(host: Host, bundle: Path, key: Key, other: Key) -> None:
    host.trusts(other, key)
    sign(bundle, key)
    said = taken(host, bundle)
    assert "WARNING" not in said
    assert f"--signature {bundle}.sig.json" in host.calls[-1]


@pytest.mark.parametrize("words", ["nothing", "--unverified", "--id", "--key"])
@pytest.mark.parametrize("signed", [True, False])
def test_forged_bundle_is_refused_where_the_machine_trusts_a_key(
    host: Host, bundle: Path, key: Key, other: Key, words: str, signed: bool
) -> None:
    host.trusts(key)
    forged(host, bundle)
    sign(bundle, other)
    if not signed:
        bundle.with_name(f"{bundle.name}.sig.json").unlink()
    said = {"nothing": [], "--id": ["--id", id_of(bundle)], "--key": ["--key", str(other.public)]}
    assert "signed" in refused(host, bundle, *said.get(words, [words]))


def test_unverified_says_nothing_where_the_machine_trusts_who_signed(host: Host, bundle: Path, key: Key) -> None:
    host.trusts(key)
    sign(bundle, key)
    assert "WARNING" not in taken(host, bundle, "--unverified")


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
        assert "/etc/bundler/trusted.d" in refused(host, bundle, *words, code=4)


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
    assert "others than root can change /etc/bundler/trusted.d" in refused(host, bundle, code=9)


# A bundler that is there already


def test_the_bundler_that_is_there_looks_first(host: Host, bundle: Path) -> None:
    host.command("bundler", "", place="local")
    taken(host, bundle, "--id", id_of(bundle))
    assert host.ran[:2] == ["bundler --version", f"bundler verify {bundle}"]
    assert host.ran[2].startswith("dnf ")


def test_its_refusal_is_the_end(host: Host, bundle: Path) -> None:
    host.command("bundler", '[ "$1" != verify ] || exit 12', place="local")
    done = host.run(str(bundle), "--id", id_of(bundle), *_ADDRESS)
    assert done.returncode == TRUST
    assert host.ran == ["bundler --version", f"bundler verify {bundle}"]


def test_the_site_that_is_there_has_its_say(host: Host, bundle: Path, tmp_path: Path) -> None:
    host.command("bundler", '[ "$1" != install ] || exit 12', place="local")
    (tmp_path / "site.yaml").write_text("address: 192.168.10.10\ntrusted_keys: [/etc/bundler/release.pub]\n")
    done = host.run(str(bundle), "--id", id_of(bundle), "--root", str(tmp_path))
    assert done.returncode == TRUST
    words = f"--dry-run --root {tmp_path} --site {tmp_path}/site.yaml --signature {bundle}.sig.json"
    assert host.ran[-1] == f"bundler install {bundle} {words}"
    assert not [call for call in host.ran if call.startswith("dnf ") or "venv" in call]


def test_a_site_that_trusts_keys_is_not_gone_around(host: Host, bundle: Path, key: Key, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(f"address: 192.168.10.10\ntrusted_keys:\n- {key.public}\n")
    sign(bundle, key)
    for words in (("--unverified",), ("--id", id_of(bundle))):
        assert f"{site} asks for a signature" in refused(host, bundle, *words, "--site", str(site))
    taken(host, bundle, "--key", str(key.public), "--site", str(site))
    assert f"--signature {bundle}.sig.json" in host.calls[-1]


def test_a_bundler_that_does_not_work_is_replaced(host: Host, bundle: Path) -> None:
    host.command("bundler", "exit 127", place="local")
    taken(host, bundle, "--id", id_of(bundle))


def test_a_bundler_that_others_can_change_is_not_run(host: Host, bundle: Path) -> None:
    host.command("bundler", "", place="local")
    (host.folder / "local/bundler").chmod(0o777)
    assert "others than root can change /usr/local/bin/bundler" in refused(host, bundle, "--id", id_of(bundle), code=9)


# What lies in the tar


def _changed(bundle: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]) -> None:
    """Write the tar anew, each member as `change` gives it."""
    with tarfile.open(bundle) as archive:
        members = [(member, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
    with tarfile.open(bundle, "w") as archive:
        for member, data in members:
            entry, content = change(member, data)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def test_sums_that_nobody_signed_count_for_nothing(host: Host, bundle: Path, key: Key) -> None:
    """A wheel and SHA256SUMS changed together, as a carrier could; the signed manifest is as it was."""
    sign(bundle, key)
    old, new = b"a wheel", b"a wheel that takes over"
    sums = [hashlib.sha256(text).hexdigest().encode() for text in (old, new)]

    def change(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if member.name.endswith("SHA256SUMS"):
            assert sums[0] in data
            return member, data.replace(sums[0], sums[1])
        return member, new if data == old else data

    _changed(bundle, change)
    done = host.run(str(bundle), "--key", str(key.public), *_ADDRESS)
    assert done.returncode == 8
    assert not [call for call in host.calls if "pip install" in call or call.startswith("bundler ")]


def test_other_lists_of_packages_are_refused(host: Host, bundle: Path, key: Key) -> None:
    sign(bundle, key)

    def change(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        return member, data + b"evil\n" if member.name.endswith("bootstrap.names") else data

    _changed(bundle, change)
    assert "has other bytes" in refused(host, bundle, "--key", str(key.public), code=8)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_a_member_that_is_no_file_is_refused(host: Host, bundle: Path, key: Key, kind: bytes) -> None:
    sign(bundle, key)

    def change(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if not member.name.endswith("requirements.txt"):
            return member, data
        member.type, member.linkname = kind, "/etc/hostname"
        return member, b""

    _changed(bundle, change)
    done = host.run(str(bundle), "--key", str(key.public), *_ADDRESS)
    assert done.returncode in (7, 8)
    assert not host.ran


def test_a_second_manifest_counts_for_nothing(host: Host, bundle: Path, key: Key, tmp_path: Path) -> None:
    sign(bundle, key)
    theirs = host.write(tmp_path / "theirs.tar", {WHEEL: b"a wheel that takes over"})
    with tarfile.open(theirs) as archive:
        evil = archive.extractfile("demo-1.0/manifest.json").read()  # type: ignore[union-attr]
    entry = tarfile.TarInfo("demo-1.0/manifest.json")
    entry.size = len(evil)
    with tarfile.open(bundle, "a") as archive:
        archive.addfile(entry, io.BytesIO(evil))
    taken(host, bundle, "--key", str(key.public))


@pytest.mark.parametrize("name", ["../x", "/etc", "demo 1", "-C", "Demo"])
def test_a_folder_of_another_form_is_no_bundle(host: Host, bundle: Path, name: str) -> None:
    def change(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        member.name = member.name.replace("demo-1.0", name, 1)
        return member, data

    _changed(bundle, change)
    assert "is no bundle" in refused(host, bundle, "--unverified", code=7)


def test_a_difference_is_not_taken(host: Host, bundle: Path) -> None:
    def change(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        member.name = member.name.replace("manifest.json", "delta.json")
        return member, data

    _changed(bundle, change)
    assert "install it with the bundler of that site" in refused(host, bundle, "--unverified", code=7)
