"""The packages of one lock, each with the file that pip itself picks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bundler.errors import FetchError, ResolveError
from bundler.kinds.wheels.environment import Environment
from bundler.kinds.wheels.metadata import CoreMetadata
from bundler.kinds.wheels.pip import Pin, Pip
from bundler.kinds.wheels.requirements import Inputs


@dataclass(frozen=True, slots=True)
class Package:
    """One package of a lock, and the file that pip would take for it.

    `sha256` and `size` in bytes are None where the index states none.
    """

    metadata: CoreMetadata
    url: str
    sha256: str | None
    size: int | None

    def __str__(self) -> str:
        return f"{self.metadata.name} {self.metadata.version}"

    @property
    def file_name(self) -> str:
        """The file's name, decoded: in a URL the `+` of a local version is escaped."""
        return unquote(urlsplit(self.url).path).rpartition("/")[2]

    @property
    def is_wheel(self) -> bool:
        """Whether it can be installed as it is."""
        return self.file_name.endswith(".whl")


def lock(
    environment: Environment,
    inputs: Inputs,
    pip: Pip,
    *,
    sources: frozenset[str] | None,
    built: Mapping[str, bytes] | None = None,
) -> list[Package]:
    """The packages of `inputs` for `environment`, by pip-tools; no code of any package runs.

    `sources` and `built` are as `Pip.lock` has them. Raises ResolveError, FetchError.
    """
    try:
        return _checked(*pip.lock(environment, inputs, sources=sources, built=built or {}))
    except ResolveError:
        if sources is not None:
            _name_source_only(environment, inputs, pip, sources)
        raise


def _name_source_only(environment: Environment, inputs: Inputs, pip: Pip, sources: frozenset[str]) -> None:
    """Raise ResolveError, naming them all, if packages without a wheel are why the rest does not satisfy `inputs`."""
    try:
        packages = _checked(*pip.lock(environment, inputs, sources=None))
    except ResolveError:
        return  # something else is wrong: the first reason stands
    found = [package for package in packages if not package.is_wheel and package.metadata.project not in sources]
    if found:
        named = ", ".join(sorted(map(str, found)))
        projects = ", ".join(sorted({package.metadata.project for package in found} | sources))
        raise ResolveError(
            f"wheels: no wheel for Python {environment}, only source, of {named}",
            hint=f"write `sdist: [{projects}]` to have them built in a sandbox, or ask for versions that have a wheel",
        )


def _checked(pins: Iterable[Pin], choices: Iterable[Mapping[str, Any]]) -> list[Package]:
    """The packages that pip chose. Raises FetchError where the index states another digest than for the lock."""
    allowed = {canonicalize_name(Requirement(pin.requirement).name): pin.sha256 for pin in pins}
    packages = []
    for entry in choices:
        metadata = CoreMetadata.of_report(entry["metadata"])
        sha256 = entry["download_info"]["archive_info"].get("hashes", {}).get("sha256")
        if sha256 is not None and sha256 not in allowed[canonicalize_name(metadata.name)]:
            raise FetchError(
                f"wheels: the index changed its mind about {metadata.name} {metadata.version} between two answers",
                hint="run it again",
            )
        packages.append(Package(metadata, entry["download_info"]["url"], sha256, entry["size"]))
    return packages
