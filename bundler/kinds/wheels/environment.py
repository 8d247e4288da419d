"""The Python that will run the wheels: its marker environment and its wheel tags, without having that Python here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from packaging.tags import Tag, compatible_tags, cpython_tags

from bundler.errors import ProfileError
from bundler.model.target import Target

# The glibc of each distribution's releases: `ldd --version` on the release's image.
_RHEL = {"7": (2, 17), "8": (2, 28), "9": (2, 34), "10": (2, 39)}
GLIBC: dict[str, dict[str, tuple[int, int]]] = {
    **dict.fromkeys(("rocky", "alma", "almalinux", "centos", "rhel", "ol", "oraclelinux"), _RHEL),
    "amazon": {"2": (2, 26), "2023": (2, 34)},
    "debian": {"11": (2, 31), "12": (2, 36), "13": (2, 41)},
    "ubuntu": {"20.04": (2, 31), "22.04": (2, 35), "24.04": (2, 39)},
    "fedora": {"40": (2, 39), "41": (2, 40), "42": (2, 41), "43": (2, 42)},
    "sles": {"15": (2, 31)},
    "opensuse": {"15": (2, 31)},
}
OLDEST_GLIBC = (2, 17)  # manylinux2014: what nearly every wheel on PyPI still runs on

# The oldest glibc that wheels of an architecture can name (PEP 600), and the names before that (PEP 513, 571, 599).
_FIRST_GLIBC = {"x86_64": (2, 5), "i686": (2, 5)}
_OLD_NAMES = {(2, 17): "manylinux2014", (2, 12): "manylinux2010", (2, 5): "manylinux1"}


@dataclass(frozen=True, slots=True)
class Environment:
    """One CPython on Linux with glibc: `python` is `3.12` or `3.12.4`, `arch` as `uname -m` says, `glibc` its version.

    A Python given without its patch release counts as `.0`: what its metadata accepts, later patches accept too,
    and a marker such as `python_full_version < "3.11.3"` brings the package that only the older patches need.
    """

    python: str
    arch: str
    glibc: tuple[int, int] = OLDEST_GLIBC

    def __str__(self) -> str:
        return f"{self.python}-{self.arch}"

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor version."""
        major, minor = self.python.split(".")[:2]
        return int(major), int(minor)

    @property
    def full_version(self) -> str:
        """Major, minor and patch version."""
        return self.python if self.python.count(".") == 2 else f"{self.python}.0"

    def markers(self) -> dict[str, str]:
        """The values of the environment markers (https://packaging.python.org/specifications/dependency-specifiers/)."""
        major, minor = self.release
        return {
            "implementation_name": "cpython",
            "implementation_version": self.full_version,
            "os_name": "posix",
            "platform_machine": self.arch,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": self.full_version,
            "python_version": f"{major}.{minor}",
            "sys_platform": "linux",
        }

    def platforms(self) -> list[str]:
        """The platform tags it takes, the most preferred first, in the order pip has them (PEP 600)."""
        names = []
        major, newest = self.glibc
        _, oldest = _FIRST_GLIBC.get(self.arch, OLDEST_GLIBC)
        for minor in range(newest, oldest - 1, -1):
            names.append(f"manylinux_{major}_{minor}_{self.arch}")
            if (old_name := _OLD_NAMES.get((major, minor))) is not None:
                names.append(f"{old_name}_{self.arch}")
        return [*names, f"linux_{self.arch}"]

    def tags(self) -> list[Tag]:
        """The wheel tags it takes, the most preferred first, as `packaging.tags.sys_tags` would say there."""
        major, minor = self.release
        interpreter = f"cp{major}{minor}"
        platforms = self.platforms()
        return [
            *cpython_tags(self.release, abis=[interpreter], platforms=platforms),
            *compatible_tags(self.release, interpreter=interpreter, platforms=platforms),
        ]


def glibc_of(target: Target) -> tuple[int, int] | None:
    """The glibc of a target's distribution, None where it is not known here."""
    releases = GLIBC.get(target.distro.lower(), {})
    return releases.get(target.release) or releases.get(target.release.split(".")[0])


def environments(
    pythons: Iterable[str], targets: tuple[Target, ...], glibc: tuple[int, int] | None
) -> tuple[Environment, ...]:
    """Each wanted Python on each architecture of the targets.

    Wheels are chosen for the oldest glibc among the targets of an architecture (`glibc` of the profile overrides it),
    so that one wheel serves them all; a distribution not known here counts as the oldest that wheels are made for.

    Raises ProfileError when there are no targets.
    """
    if not targets:
        raise ProfileError("wheels: the profile has no targets", hint="say under `targets` what the nodes are")
    oldest: dict[str, tuple[int, int]] = {}
    for target in targets:
        has = glibc or glibc_of(target) or OLDEST_GLIBC
        oldest[target.arch] = min(has, oldest.get(target.arch, has))
    return tuple(Environment(python, arch, oldest[arch]) for python in pythons for arch in sorted(oldest))
