"""Which version is older decides what a site refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.model.versions import is_older

VERSIONS = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._+-]{0,12}\Z")


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1", "2"),
        ("1.9", "1.10"),
        ("1.0rc1", "1.0"),
        ("1.0-rc.2", "1.0-rc.10"),
        ("1.0.dev5", "1.0a1"),
        ("1.0", "1.0.post1"),
        ("1.0", "1.0+site.2"),
        ("2026.9", "2026.10"),
        ("2026-09-30", "2026-10-01"),  # no version by PEP 440
        ("2026-09", "2026-10"),
        ("r9", "r10"),
        ("v1.9-x", "v1.10-x"),
        ("spring", "spring-2"),
        ("spring-beta", "spring-1"),
        ("1.2-alpha-x", "1.2-beta-x"),
        ("release_9", "release_10"),
    ],
)
def test_one_comes_before_the_other(older: str, newer: str) -> None:
    assert is_older(older, newer)
    assert not is_older(newer, older)


@pytest.mark.parametrize(
    ("one", "other"), [("1.0", "1.0"), ("1.0", "1.0.0"), ("1.0", "v1.0"), ("r_9", "r-9"), ("x", "x")]
)
def test_neither_comes_before_the_other(one: str, other: str) -> None:
    assert not is_older(one, other)
    assert not is_older(other, one)


@given(VERSIONS, VERSIONS)
def test_two_versions_are_never_both_older(one: str, other: str) -> None:
    assert not (is_older(one, other) and is_older(other, one))


@given(VERSIONS)
def test_no_version_is_older_than_itself(version: str) -> None:
    assert not is_older(version, version)
