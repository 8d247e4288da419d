"""Platforms, and which of those on offer a machine runs."""

from __future__ import annotations

import pytest

from bundler.kinds.images.platform import Platform


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm", "linux/arm"),
        ("linux/arm/v7", "linux/arm"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_other_words_for_one_platform(written: str, meant: str) -> None:
    assert str(Platform.parse(written)) == meant


@pytest.mark.parametrize("wrong", ["", "linux", "linux/", "/amd64", "linux/amd64/v1/x", "Linux /amd64", "all"])
def test_what_is_no_platform(wrong: str) -> None:
    with pytest.raises(ValueError, match="expected os/architecture"):
        Platform.parse(wrong)


@pytest.mark.parametrize(
    ("machine", "offered", "best"),
    [
        ("linux/amd64", "linux/arm64 linux/amd64", "linux/amd64"),
        ("linux/arm64", "linux/arm64/v8 linux/amd64", "linux/arm64"),
        ("linux/arm64", "linux/arm64/v9", None),
        ("linux/arm/v7", "linux/arm/v5 linux/arm/v6 linux/arm64", "linux/arm/v6"),
        ("linux/arm/v6", "linux/arm/v5 linux/arm/v7", "linux/arm/v5"),
        ("linux/amd64/v3", "linux/amd64 linux/amd64/v2 linux/amd64/v4", "linux/amd64/v2"),
        ("linux/amd64", "linux/amd64/v2", None),
        ("linux/s390x", "linux/amd64", None),
        ("linux/amd64", "windows/amd64", None),
        ("linux/ppc64le", "linux/ppc64le/power9", None),
    ],
)
def test_the_best_on_offer(machine: str, offered: str, best: str | None) -> None:
    found = Platform.parse(machine).best([Platform.parse(one) for one in offered.split()])
    assert (str(found) if found else None) == best
