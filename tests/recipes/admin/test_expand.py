"""The section `admin` in the words of the kinds."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.errors import ProfileError
from bundler.model.target import Target
from bundler.recipes.admin.expand import expand
from bundler.recipes.admin.spec import Spec
from bundler.transfer.upstream import Upstream

ROCKY9, ROCKY9_ARM = Target(distro="rocky", release="9"), Target(distro="rocky", release="9", arch="aarch64")
DEBIAN = Target(distro="debian", release="13")


def test_a_host_of_rpms_takes_python_and_servers_too(outside: Upstream) -> None:
    sections: Any = expand(Spec(target="rocky-9"), (ROCKY9, DEBIAN), outside).sections
    assert sections["bootstrap"] == {"target": "rocky-9-x86_64", "python": "3.12"}
    (entry,) = sections["rpms"]["packages"]
    assert entry["names"] == ["python3.12", "nginx", "podman", "policycoreutils-python-utils"]
    assert (entry["for"], entry["bootstrap"]) == (["rocky-9-x86_64"], True)


def test_another_host_has_its_own(outside: Upstream) -> None:
    sections = expand(Spec(target="debian-13", python="3.13"), (ROCKY9, DEBIAN), outside).sections
    assert sections == {"bootstrap": {"target": "debian-13-x86_64", "python": "3.13"}}


@pytest.mark.parametrize(
    ("target", "targets", "why"),
    [
        ("rocky-8", (ROCKY9,), "rocky-8 is none of the targets: rocky-9-x86_64"),
        ("rocky-9", (ROCKY9, ROCKY9_ARM), "rocky-9 is 2 of the targets: rocky-9-x86_64, rocky-9-aarch64"),
        ("rocky-9", (), "rocky-9 is none of the targets: none"),
    ],
)
def test_which_one_it_is_must_be_clear(target: str, targets: tuple[Target, ...], why: str, outside: Upstream) -> None:
    with pytest.raises(ProfileError, match=why):
        expand(Spec(target=target), targets, outside)
