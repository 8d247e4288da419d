"""The section as a person writes it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from bundler.recipes.kubespray.spec import Spec


def test_a_version_is_enough() -> None:
    spec = Spec(version="v2.31.0")
    assert spec.location == "https://github.com/kubernetes-sigs/kubespray/archive/refs/tags/v2.31.0.tar.gz"
    assert spec.select == "enabled"
    assert spec.python == ("3.12",)


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ({"version": "v2.27.1"}, "v2.28.0 is the oldest release whose layout is known"),
        ({"version": "v1.9.0"}, "v2.28.0 is the oldest"),
        ({"version": "../v2.31.0"}, "pattern"),
        ({"version": "v2.31.0", "vars": {"kube_version": 1.35}}, 'kube_version: put the version in quotes: "1.35"'),
        ({"version": "v2.31.0", "source": "https://x/\n"}, "pattern"),
        ({"version": "v2.31.0", "select": "some"}, "'enabled' or 'all'"),
        ({"version": "v2.31.0", "python": []}, "at least 1"),
        ({"version": "v2.31.0", "python": ["2.7"]}, "pattern"),
        ({"version": "v2.31.0", "sha256": "abc"}, "sha256"),
        ({"version": "v2.31.0", "variables": {}}, "variables"),
    ],
)
def test_what_it_does_not_take(section: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Spec.model_validate(section)
