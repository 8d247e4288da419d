"""The packages of one lock, each with the file that pip itself picks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from packaging.utils import canonicalize_name

from bundler.errors import FetchError, ResolveError
from bundler.kinds.wheels.chosen import Choice, Pin
from bundler.kinds.wheels.environment import Environment
from bundler.kinds.wheels.metadata import CoreMetadata
from bundler.kinds.wheels.pip import Pip
from bundler.kinds.wheels.requirements import Inputs
from bundler.kinds.wheels.spec import WHEEL


@dataclass(frozen=True, slots=True)
class Package:
    """One package of a lock, and the file that pip would take for it.

    `file_name` is a name alone. `sha256` and `size` in bytes are None where the index states none.
    """

    metadata: CoreMetadata
    url: str
    file_name: str
    sha256: str | None
    size: int | None

    def __str__(self) -> str:
        return f"{self.metadata.name} {self.metadata.version}"

    @property
    def is_wheel(self) -> bool:
        """Whether it can be installed as it is."""
        return self.file_name.endswith(WHEEL)


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
        return _checked(*pip.lock(environment, inputs, sources=sources, built=built or {}), inputs, pip)
    except ResolveError:
        if sources is not None:
            _name_source_only(environment, inputs, pip, sources)
        raise


def _name_source_only(environment: Environment, inputs: Inputs, pip: Pip, sources: frozenset[str]) -> None:
    """Raise ResolveError, naming them all, if packages without a wheel are why the rest does not satisfy `inputs`."""
    try:
        packages = _checked(*pip.lock(environment, inputs, sources=None), inputs, pip)
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


def _checked(pins: Iterable[Pin], choices: Iterable[Choice], inputs: Inputs, pip: Pip) -> list[Package]:
    """The packages that pip chose.

    Raises FetchError where the index states another digest than for the lock, or leads where it may not.
    """
    allowed = {pin.project: pin.sha256 for pin in pins}
    packages = []
    for choice in choices:
        if choice.sha256 is not None and choice.sha256 not in allowed.get(canonicalize_name(choice.name), ()):
            raise FetchError(
                f"wheels: the index changed its mind about {choice.name} {choice.version} between two answers",
                hint="run it again",
            )
        author = inputs.named.get(choice.url, pip.index)
        if author != choice.url and choice.url.startswith("file:"):
            raise FetchError(
                f"wheels: {author}: it leads to {choice.url}, a file of this machine",
                hint="name that file in the profile, if it is meant",
            )
        if author != choice.url:
            pip.led(author, choice.url)
        packages.append(
            Package(CoreMetadata.of_report(choice.metadata), choice.url, choice.file_name, choice.sha256, choice.size)
        )
    return packages
