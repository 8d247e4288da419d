"""Tags and markers against the interpreters that this machine really has."""

from __future__ import annotations

import json
import platform
import subprocess

import pytest

from bundler.errors import ProfileError
from bundler.kinds.wheels.environment import Environment, environments
from bundler.model.target import Target

_ASK = """
import json
from pip._vendor.packaging.markers import default_environment
from pip._vendor.packaging.tags import sys_tags
print(json.dumps([[str(tag) for tag in sys_tags()], default_environment()]))
"""


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_it_is_what_the_real_interpreter_says(python: str, other_pythons: dict[str, str]) -> None:
    if python not in other_pythons:
        pytest.skip(f"no Python {python} here")
    answer = subprocess.run([other_pythons[python], "-c", _ASK], capture_output=True, text=True, check=True)
    tags, markers = json.loads(answer.stdout)
    major, minor = map(int, platform.libc_ver()[1].split("."))
    environment = Environment(markers["python_full_version"], platform.machine(), (major, minor))
    ours = [str(tag) for tag in environment.tags()]
    # Releases of packaging differ in two things, which matter to nobody: whether bare linux comes first or last, and
    # whether cpXY-none-any is a tag of its own.
    differing = [tag for tag in {*ours, *tags} if tag.endswith((f"-linux_{environment.arch}", "-none-any"))]
    assert [tag for tag in ours if tag not in differing] == [tag for tag in tags if tag not in differing]
    assert {*ours} ^ {*tags} <= {f"cp{python.replace('.', '')}-none-any"}
    of_the_machine = {"platform_release": "", "platform_version": ""}
    assert environment.markers() == markers | of_the_machine


def test_the_oldest_glibc_of_an_architecture_counts() -> None:
    targets = (
        Target(distro="rocky", release="10"),
        Target(distro="rocky", release="9.4"),
        Target(distro="rocky", release="10", arch="aarch64"),
        Target(distro="unheard-of", release="1", arch="s390x"),
    )
    found = environments(["3.11", "3.12"], targets, None)
    assert [(str(environment), environment.glibc) for environment in found] == [
        ("3.11-aarch64", (2, 39)),
        ("3.11-s390x", (2, 17)),
        ("3.11-x86_64", (2, 34)),
        ("3.12-aarch64", (2, 39)),
        ("3.12-s390x", (2, 17)),
        ("3.12-x86_64", (2, 34)),
    ]
    assert {environment.glibc for environment in environments(["3.11"], targets, (2, 20))} == {(2, 20)}


def test_a_profile_without_targets_has_no_platform() -> None:
    with pytest.raises(ProfileError, match="no targets"):
        environments(["3.12"], (), None)
