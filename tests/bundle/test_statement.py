"""What is signed has one form: whatever else a trusted key has signed vouches for no bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.bundle.documents import describe
from bundler.bundle.statement import PAYLOAD_TYPE, Statement
from bundler.errors import TrustError
from tests.bundle.bundles import lock_of

MANIFEST, _ = describe(lock_of({"files/a": b"alpha"}))
UNTIL = datetime(2031, 1, 31, 23, 59, 59, tzinfo=UTC)
STATEMENT = Statement.of(MANIFEST, UNTIL)


def read(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> Statement:
    return Statement.from_bytes(payload, payload_type, "demo.sig.json")


@pytest.mark.parametrize("expires", [None, UNTIL])
def test_it_survives_its_bytes(expires: datetime | None) -> None:
    statement = Statement.of(MANIFEST, expires)
    assert read(statement.data) == statement
    statement.check(MANIFEST, "demo")


def test_it_is_compact_json_that_a_shell_can_take_apart() -> None:
    text = STATEMENT.data.decode()
    assert text.count(f'"sha256":"{MANIFEST.id}"') == text.count('"sha256":"') == 1
    assert '"name":"demo-1.0"' in text
    assert '"expires":"2031-01-31T23:59:59Z"' in text
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")) == text


def test_a_time_is_said_in_utc_and_whole_seconds() -> None:
    elsewhere = UNTIL.astimezone() + timedelta(microseconds=7)
    assert Statement.of(MANIFEST, elsewhere) == STATEMENT


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(STATEMENT.data)
    change(document)
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


_PARAMETERS = "externalParameters"
OTHERS: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("predicateType: .* and is 'https://in-toto.io/attestation/vulns/v0.2'", lambda d: d.update(predicateType="https://in-toto.io/attestation/vulns/v0.2")),
    ("_type", lambda d: d.update(_type="https://in-toto.io/Statement/v0.1")),
    ("_type", lambda d: d.pop("_type")),
    ("buildType", lambda d: d["predicate"]["buildDefinition"].update(buildType="https://example.org/REJECTED")),
    ("subject", lambda d: d.update(subject=[])),
    ("subject", lambda d: d["subject"].append(d["subject"][0])),
    ("subject", lambda d: d.update(subject={})),
    ("its subject is called 'other-1.0'", lambda d: d["subject"][0].update(name="other-1.0")),
    ("its subject is called", lambda d: d["subject"][0].update(name="\x1b[2J" * 100)),
    ("subject", lambda d: d["subject"][0]["digest"].update(sha512="0" * 128)),
    ("sha256", lambda d: d["subject"][0]["digest"].update(sha256=MANIFEST.id.upper())),
    ("sha256", lambda d: d["subject"][0]["digest"].update(sha256=7)),
    ("name", lambda d: d["predicate"]["buildDefinition"][_PARAMETERS].update(name="../demo")),
    ("its subject is called", lambda d: d["predicate"]["buildDefinition"][_PARAMETERS].update(name="other")),
    ("its subject is called", lambda d: d["predicate"]["buildDefinition"][_PARAMETERS].update(version="2")),
    ("version", lambda d: d["predicate"]["buildDefinition"][_PARAMETERS].update(version=1)),
    ("the one form", lambda d: d["predicate"]["runDetails"].update(builder={"id": "else"})),
    ("verdict", lambda d: d["predicate"].update(verdict="REJECTED")),
    ("predicate", lambda d: d.update(predicate=None)),
    (r"x1b\[2J", lambda d: d["predicate"].update({"\x1b[2J\u202e": "x"})),
    ("expires", lambda d: d["predicate"].update(expires="never")),
    ("expires", lambda d: d["predicate"].update(expires=["2031-01-31T23:59:59Z"])),
    ("expires", lambda d: d["predicate"].update(expires="2031-02-31T23:59:59Z")),
    ("expires", lambda d: d["predicate"].update(expires="2031-01-31T24:00:61Z")),
    ("the one form", lambda d: d["predicate"].update(expires=None)),
]  # fmt: skip


@pytest.mark.parametrize(("said", "change"), OTHERS, ids=[str(number) for number in range(len(OTHERS))])
def test_another_statement_is_refused_and_named(said: str, change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(TrustError, match=said) as refused:
        read(changed(change))
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 500


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        b"[" * 500_000,
        b'{"a":' * 100_000,
        b"1" * 500_000,
        STATEMENT.data + b"\n",
        STATEMENT.data.replace(b",", b", "),
        STATEMENT.data.replace(b'{"_type"', b'{"_type":"x","_type"'),
        STATEMENT.data.replace(b'"expires"', b'"expires":"2099-01-31T23:59:59Z","expires"'),
        STATEMENT.data.replace(b'"predicate":{', b'"predicate":{},"predicate":{'),
    ],
    ids=lambda payload: repr(payload[:30]),
)
def test_what_is_not_in_its_one_form_is_refused(payload: bytes) -> None:
    with pytest.raises(TrustError):
        read(payload)


@pytest.mark.parametrize("payload_type", ["", "text/plain", "application/vnd.in-toto+json ", "\x1b"])
def test_another_type_of_payload_is_refused(payload_type: str) -> None:
    with pytest.raises(TrustError, match="its payload is of type") as refused:
        read(STATEMENT.data, payload_type)
    assert refused.value.message.isprintable()


@given(st.binary(max_size=200), st.integers(0, len(STATEMENT.data)), st.integers(0, 20))
def test_whatever_is_put_into_it_is_refused_or_leaves_it_as_it_is(data: bytes, place: int, gone: int) -> None:
    payload = STATEMENT.data[:place] + data + STATEMENT.data[place + gone :]
    try:
        found = read(payload)
    except TrustError:
        return
    assert found.data == payload


@pytest.mark.parametrize("field", ["name", "version", "id", "profile_sha256", "lock_sha256"])
def test_each_word_of_it_has_to_be_the_manifests(field: str) -> None:
    words = {name: getattr(STATEMENT, name) for name in Statement.__dataclass_fields__}
    words[field] = "f" * 64
    with pytest.raises(TrustError, match="what was signed is"):
        Statement(**words).check(MANIFEST, "demo")


def test_it_counts_until_it_expires() -> None:
    STATEMENT.check_time(UNTIL - timedelta(seconds=1), "demo")
    with pytest.raises(TrustError, match="expired at 2031-01-31T23:59:59Z"):
        STATEMENT.check_time(UNTIL, "demo")
    Statement.of(MANIFEST).check_time(UNTIL, "demo")
