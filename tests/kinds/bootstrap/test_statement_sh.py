"""What was signed, and in what form: install.sh takes what bundler writes, and no signature of anything else."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.kinds.bootstrap.hosts import Host, Key, base64_of, id_of, sign, statement

pytestmark = pytest.mark.parametrize("host", ["9"], indirect=True)


# What was signed


def _in(**span: float) -> str:
    return (datetime.now(UTC) + timedelta(**span)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_signature_that_has_not_expired(host: Host, bundle: Path, key: Key) -> None:
    sign(bundle, key, predicate={"expires": _in(minutes=5)})
    host.takes(bundle, "--key", str(key.public))


def test_a_signature_that_has_expired_is_refused(host: Host, bundle: Path, key: Key) -> None:
    sign(bundle, key, predicate={"expires": _in(seconds=-1)})
    assert "expired" in host.refuses(bundle, "--key", str(key.public))


@pytest.mark.parametrize("end", ["", "9999", "31.12.2099", "2099-12-31", "2099-12-31T00:00:00+01:00", None, 4102444800])
def test_an_end_that_is_no_time_is_refused(host: Host, bundle: Path, key: Key, end: object) -> None:
    sign(bundle, key, predicate={"expires": end})
    assert "expire" in host.refuses(bundle, "--key", str(key.public))


@pytest.mark.parametrize("name", ["demo-1.1", "demo-1.0.1", "other-1.0", "", 'demo-1.0"'])
def test_another_name_or_version_is_refused(host: Host, bundle: Path, key: Key, name: str) -> None:
    sign(bundle, key, subject=[{"name": name, "digest": {"sha256": id_of(bundle)}}])
    assert "vouches for another name or version than demo-1.0" in host.refuses(bundle, "--key", str(key.public))


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
    said = host.refuses(bundle, "--key", str(key.public))
    assert "vouches for something else" in said or "is no signature as bundler writes it" in said


def test_two_subjects_are_refused(host: Host, bundle: Path, key: Key) -> None:
    found = statement(bundle)["subject"]
    sign(bundle, key, subject=[*found, *found])
    host.refuses(bundle, "--key", str(key.public))
    sign(bundle, key, subject=[{"name": "other", "digest": {"sha256": "0" * 64}}, *found])
    host.refuses(bundle, "--key", str(key.public))


def test_the_right_words_in_the_wrong_place_are_refused(host: Host, bundle: Path, key: Key) -> None:
    """What would be the end of a statement about this bundle is a word in one about another."""
    genuine = json.dumps(statement(bundle), sort_keys=True, separators=(",", ":"))
    sign(bundle, key, subject=[{"name": genuine, "digest": {"sha256": "0" * 64}}])
    assert "vouches for another bundle" in host.refuses(bundle, "--key", str(key.public))


@pytest.mark.parametrize("change", [lambda text: text + b"\n", lambda text: b" " + text, lambda text: text + b"\0"])
def test_a_statement_in_another_form_is_refused(
    host: Host, bundle: Path, key: Key, change: Callable[[bytes], bytes]
) -> None:
    text = json.dumps(statement(bundle), sort_keys=True, separators=(",", ":")).encode()
    sign(bundle, key, text=change(text))
    assert "vouches for something else" in host.refuses(bundle, "--key", str(key.public))


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
    said = host.refuses(bundle, "--key", str(key.public))
    assert "is no signature as bundler writes it" in said or "is too large" in said


def test_a_payload_that_was_changed_is_refused(host: Host, bundle: Path, key: Key) -> None:
    text = json.dumps(statement(bundle), sort_keys=True, separators=(",", ":")).encode()
    file = sign(bundle, key, text=text.replace(id_of(bundle).encode(), b"0" * 64))
    envelope = json.loads(file.read_text())
    file.write_text(json.dumps({**envelope, "payload": base64_of(text)}, indent=1) + "\n")
    assert "is not signed by" in host.refuses(bundle, "--key", str(key.public))
