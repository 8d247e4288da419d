"""What the one who approves a bundle is shown, and what whoever receives it asks for: sign, verify, inspect."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bundler.bundle import keys
from bundler.bundle.delta import Delta
from bundler.bundle.documents import describe
from bundler.bundle.keys import read_public
from bundler.bundle.writer import Writer
from bundler.cli import cli
from bundler.errors import BundleError, ConfigError, TrustError
from bundler.model.items import Item, Made, Object
from bundler.model.lock import Lock
from tests.bundle.bundles import TARGETS, forge, item_of, lock_of, write_bundle, write_lock
from tests.bundle.signing import make_key, public, sign

PROGRAMS = {"bootstrap/install.sh": b"#!/bin/sh\n", "images/blobs/sha256/aa": b"registry"}
FILES = {"files/a": b"alpha"}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bundler", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def answer(*arguments: str | Path) -> Any:
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return make_key(tmp_path)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "demo-1.0.tar", FILES)


@pytest.fixture
def with_programs(tmp_path: Path) -> Path:
    """A bundle with a registry and a bootstrap that says nothing of itself."""

    def item(kind: str, path: str, **attributes: str) -> Item:
        data = PROGRAMS[path]
        obj = Object(path, len(data), hashlib.sha256(data).hexdigest(), Made())
        return Item(kind, "thing", "1", (obj,), attributes)

    items = (item("bootstrap", "bootstrap/install.sh"), item("images", "images/blobs/sha256/aa", role="registry"))
    lock = Lock("demo", "1.0", "0" * 64, (*items, item_of(FILES)), TARGETS)
    return write_lock(tmp_path / "programs.tar", lock, {**PROGRAMS, **FILES})


def test_inspect_lists_every_program_with_its_digest(with_programs: Path) -> None:
    document = answer("inspect", with_programs)
    assert [(each["role"], each["path"]) for each in document["programs"]] == [
        ("bootstrap", "bootstrap/install.sh"),
        ("registry", "images/blobs/sha256/aa"),
    ]
    text = run("inspect", with_programs).stdout
    _, _, listed = text.partition("programs that the admin host will run\n")
    lines = [line.split() for line in listed.splitlines()]
    assert [(line[0], line[2], line[-1]) for line in lines] == [
        (hashlib.sha256(data).hexdigest(), path.split("/")[0].replace("images", "registry"), path)
        for path, data in PROGRAMS.items()
    ]


def test_inspect_says_for_whom_it_is_and_what_comes_with_it(bundle: Path) -> None:
    text = run("inspect", bundle).stdout
    assert "\nfor rocky-9-x86_64, debian-12-aarch64\n" in text
    assert "\nsigned by nobody\n" in text
    assert text.endswith("programs that the admin host will run\nnone\n")
    for document in answer("inspect", bundle)["documents"]:
        assert f"{document['sha256']} {document['size']:>12} {document['path']}\n" in text


def test_inspect_shows_a_bundle_that_nobody_vouches_for(bundle: Path, key: Path, tmp_path: Path) -> None:
    other = make_key(tmp_path, "other.key")
    assert answer("inspect", bundle)["vouched"] is None
    asked = answer("inspect", bundle, "--trust", public(key))
    assert (asked["vouched"], asked["signed_by"]) == (False, [])
    assert "signed by nobody who is trusted here" in run("inspect", bundle, "--trust", public(key)).stdout
    sign(bundle, other)
    asked = answer("inspect", bundle, "--trust", public(key))
    assert asked["vouched"] is False
    assert asked["signed_by"] == [{"key": None, "keyid": read_public(public(other)).id, "expires": None}]
    text = run("inspect", bundle, "--trust", public(key)).stdout
    assert "signed by nobody who is trusted here" in text
    assert f"unknown key, not checked: key id {read_public(public(other)).id}" in text
    sign(bundle, key)
    assert answer("inspect", bundle, "--trust", public(key))["vouched"] is True
    assert str(public(key)) in run("inspect", bundle, "--trust", public(key)).stdout


def test_the_page_says_who_signed(bundle: Path, key: Path, tmp_path: Path) -> None:
    sign(bundle, key)
    run("inspect", bundle, "--trust", public(key), "--report", tmp_path / "page")
    page = (tmp_path / "page" / "report.html").read_text()
    assert f"{public(key)}: key id <code>{read_public(public(key)).id}</code>" in page


def in_here(*arguments: str | Path) -> Result:
    """In this process, whose trusted folder a test has moved."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "trusted.d"
    monkeypatch.setattr(keys, "TRUSTED", folder)
    folder.mkdir()
    return folder


def test_inspect_on_a_machine_that_trusts_keys(bundle: Path, key: Path, trusted: Path) -> None:
    public(key).rename(trusted / "release.pub")
    assert "not signed: signed by nobody who is trusted here" in in_here("inspect", bundle).stdout
    assert in_here("verify", bundle).exit_code == TrustError.exit_code
    sign(bundle, key)
    assert f"{trusted}/release.pub: key id" in in_here("inspect", bundle).stdout
    assert in_here("verify", bundle).exit_code == 0


def test_inspect_on_a_machine_whose_keys_cannot_be_told(bundle: Path, key: Path, trusted: Path) -> None:
    """Whoever approves sees what is in it; nothing passes as vouched for, and nothing is installed."""
    sign(bundle, key)
    shown = in_here("inspect", bundle)
    assert shown.exit_code == 0
    assert f"{trusted} is empty" in shown.stdout
    assert json.loads(in_here("inspect", bundle, "--json").stdout)["vouched"] is False
    assert in_here("verify", bundle).exit_code == ConfigError.exit_code
    assert in_here("inspect", bundle, "--trust", trusted / "gone.pub").exit_code == ConfigError.exit_code


def test_verify_says_who_signed_and_until_when(bundle: Path, key: Path, tmp_path: Path) -> None:
    assert answer("verify", bundle)["signed_by"] == []
    assert "signature not checked" in run("verify", bundle).stdout
    run("sign", bundle, "--key", key, "--expires", "2099-01-31")
    run("sign", bundle, "--key", make_key(tmp_path, "other.key"))
    (who,) = answer("verify", bundle, "--trust", public(key))["signed_by"]
    assert who == {"key": str(public(key)), "keyid": read_public(public(key)).id, "expires": "2099-01-31T23:59:59Z"}
    text = run("verify", bundle, "--trust", public(key)).stdout
    assert f"signed by {public(key)}: key id {who['keyid']}, until 2099-01-31T23:59:59Z\n" in text


def test_days_count_from_now(bundle: Path, key: Path) -> None:
    run("sign", bundle, "--key", key, "--expires", "90d")
    (who,) = answer("verify", bundle, "--trust", public(key))["signed_by"]
    until = datetime.strptime(who["expires"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert timedelta(days=89, hours=23) < until - datetime.now(UTC) <= timedelta(days=90)


@pytest.mark.parametrize("expires", ["", "d", "0d", "90", "1e3d", "2020-01-31", "2031-02-30", "tomorrow", f"{9**30}d"])
def test_an_end_that_is_none_or_over_is_wrong_usage(bundle: Path, key: Path, expires: str) -> None:
    done = run("sign", bundle, "--key", key, "--expires", expires)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert not list(bundle.parent.glob("*.sig.json"))


def test_what_has_expired_is_refused_by_verify(bundle: Path, key: Path) -> None:
    sign(bundle, key, expires=datetime.now(UTC) - timedelta(days=1))
    done = run("verify", bundle, "--trust", public(key))
    assert (done.returncode, "what was signed expired at" in done.stderr) == (TrustError.exit_code, True)
    assert "what was signed expired at" in run("inspect", bundle).stdout


@pytest.mark.parametrize("data", [b"[" * 300_000, b"\xff", b'{"payload": 7}'], ids=lambda data: repr(data[:10]))
def test_a_strange_signature_ends_in_a_message(bundle: Path, key: Path, data: bytes) -> None:
    bundle.with_name(f"{bundle.name}.sig.json").write_bytes(data)
    for command in (("verify", "--trust", public(key)), ("sign", "--key", key)):
        done = run(*command, bundle)
        assert (done.returncode, "Traceback" in done.stderr) == (TrustError.exit_code, False), done.stderr[-500:]
    shown = run("inspect", bundle)
    assert (shown.returncode, "is no signature" in shown.stdout) == (0, True)


def test_inspect_reads_the_head_alone(tmp_path: Path, key: Path) -> None:
    """Damage behind the head is not seen, nor waited for."""
    path = write_bundle(tmp_path / "large.tar", {"files/a": os.urandom(1 << 20)})
    sign(path, key)
    data = bytearray(path.read_bytes())
    data[-(1 << 19)] ^= 1
    path.write_bytes(data)
    assert answer("inspect", path, "--trust", public(key))["vouched"] is True
    assert run("verify", path, "--trust", public(key)).returncode != 0


def test_a_manifest_without_documents_is_no_bundle(tmp_path: Path) -> None:
    done = run("inspect", forge(tmp_path / "demo.tar", FILES, {}))
    assert (done.returncode, "sbom.cdx.json and README.txt missing: every bundle has both" in done.stderr) == (
        BundleError.exit_code,
        True,
    )


# Which bundle is signed


def test_sign_says_what_it_signed(bundle: Path, key: Path) -> None:
    shown = answer("verify", bundle)["id"]
    assert run("sign", bundle, "--key", key, "--expires", "2099-01-31").stdout.splitlines() == [
        f"id {shown}",
        "expires at 2099-01-31T23:59:59Z",
        f"{bundle}.sig.json",
    ]
    assert answer("sign", bundle, "--key", key) == {
        "signature": f"{bundle}.sig.json",
        "id": shown,
        "expires": "2099-01-31T23:59:59Z",
    }


def test_sign_takes_the_bundle_that_was_approved_and_no_other(bundle: Path, key: Path, tmp_path: Path) -> None:
    approved = answer("verify", bundle)["id"]
    write_bundle(bundle, {"files/a": b"swapped"})
    for id_ in (approved, approved[:12], ""):
        done = run("sign", bundle, "--key", tmp_path / "no key is looked at", "--id", id_)
        assert done.returncode == TrustError.exit_code
        assert "is not the bundle that was approved" in done.stderr
    assert not Path(f"{bundle}.sig.json").exists()
    write_bundle(bundle, FILES)
    assert run("sign", bundle, "--key", key, "--id", approved).returncode == 0


def test_sign_says_when_it_takes_over_an_end(bundle: Path, key: Path, tmp_path: Path) -> None:
    sign(bundle, make_key(tmp_path, "other.key"), expires=datetime(2099, 1, 31, tzinfo=UTC))
    done = run("sign", bundle, "--key", key)
    assert "others had signed this before, and it expires at 2099-01-31T00:00:00Z" in done.stderr


def test_sign_is_silent_about_an_end_that_was_asked_for(bundle: Path, key: Path) -> None:
    assert "expires" not in run("sign", bundle, "--key", key, "--expires", "2099-01-31").stderr


# What was not checked


def write_delta(folder: Path) -> Path:
    manifest, documents = describe(lock_of({"files/a": b"alpha", "files/b": b"beta"}))
    left_out = Delta.of(manifest, "1" * 64, {hashlib.sha256(b"alpha").hexdigest()})
    with Writer(folder / "demo-1.0.delta.tar", manifest, documents, delta=left_out) as writer:
        (obj,) = writer.pending()
        with writer.slot(obj) as slot:
            slot.write(b"beta")
            slot.finish()
        return writer.commit()


def test_verify_says_what_a_delta_leaves_out(bundle: Path, tmp_path: Path) -> None:
    delta = write_delta(tmp_path)
    found = answer("verify", delta)
    assert found["left_out"] == {"objects": 1, "size": 5}
    assert found["objects"] == 3  # the documents, and what is carried
    assert "a delta: 1 objects, 5 B, are left out of it, and were not checked" in run("verify", delta).stdout
    assert answer("verify", bundle)["left_out"] == {"objects": 0, "size": 0}
    assert "left out" not in run("verify", bundle).stdout


def test_a_delta_is_not_signed_for_the_whole(tmp_path: Path, key: Path) -> None:
    delta = write_delta(tmp_path)
    done = run("sign", delta, "--key", key)
    assert done.returncode == BundleError.exit_code
    assert "are left out of it, and cannot be checked" in done.stderr
    assert not Path(f"{delta}.sig.json").exists()


def test_the_signature_of_the_whole_counts_for_its_delta(tmp_path: Path, key: Path) -> None:
    delta = write_delta(tmp_path)
    whole = write_bundle(tmp_path / "demo-1.0.tar", {"files/a": b"alpha", "files/b": b"beta"})
    made = sign(whole, key)
    assert answer("verify", delta, "--trust", public(key), "--signature", made)["signed_by"]


# What others planted where the page goes


@pytest.mark.parametrize("name", ["report.html", "sbom.cdx.json", "report.html.part"])
def test_the_report_is_written_through_no_link(bundle: Path, tmp_path: Path, name: str) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "page"
    victim.write_bytes(b"precious")
    folder.mkdir()
    (folder / name).symlink_to(victim)
    done = run("inspect", bundle, "--report", folder)
    assert "Traceback" not in done.stderr
    assert victim.read_bytes() == b"precious"
    assert done.returncode == (0 if name.endswith(".part") else ConfigError.exit_code)


@pytest.mark.parametrize(("command", "name"), [("diff", "old.lock.json"), ("build", "receipt")])
def test_an_endless_file_ends_in_a_message(bundle: Path, tmp_path: Path, command: str, name: str) -> None:
    (tmp_path / name).symlink_to("/dev/zero")
    if command == "diff":
        done = run("diff", tmp_path / name, bundle)
    else:
        (tmp_path / "demo.yaml").write_text("name: demo\nversion: '1'\nfiles:\n- path: ./demo.yaml\n")
        done = run("build", tmp_path / "demo.yaml", "-o", tmp_path / "out", "--since", tmp_path / name)
    assert (done.returncode, "it is no regular file" in done.stderr) == (ConfigError.exit_code, True), done.stderr
