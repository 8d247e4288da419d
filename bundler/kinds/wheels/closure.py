"""Whether the wheels of a lock are all that it takes: what was asked for is followed through the wheels' metadata.

Nothing is run and nothing is fetched: a lock has one version of each project, so there is nothing to resolve.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from bundler.errors import BundleError
from bundler.kinds.wheels.attributes import LockAttributes, WheelAttributes
from bundler.kinds.wheels.dependency import dependency
from bundler.kinds.wheels.environment import Environment
from bundler.model.items import Item


@dataclass(frozen=True, slots=True)
class _Pin:
    """The wheel that a lock has of a project."""

    name: str
    version: Version
    wheel: WheelAttributes

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def problems(items: Iterable[Item]) -> Iterator[str]:
    """A line for each thing that is missing, or does not fit, in each lock among `items`.

    Raises BundleError when an item does not hold together.
    """
    items = tuple(items)
    wheels = [_Pin(item.name, Version(item.version), wheel) for item, wheel in WheelAttributes.among(items)]
    for _, lock in LockAttributes.among(items):
        pins = [pin for pin in wheels if lock.environment in pin.wheel.environments]
        for problem in _Lock(lock, pins).problems():
            yield f"Python {lock.environment}: {problem}"


class _Lock:
    """The pins of one environment, by project."""

    def __init__(self, lock: LockAttributes, pins: Iterable[_Pin]) -> None:
        major, minor = lock.glibc.split(".")
        self._environment = Environment(lock.python, lock.arch, (int(major), int(minor)))
        self._markers = self._environment.markers()
        self._asked = [dependency(text) for text in lock.asked]
        self._pins: dict[str, list[_Pin]] = {}
        for pin in pins:
            self._pins.setdefault(pin.name, []).append(pin)

    def problems(self) -> Iterator[str]:
        tags = frozenset(self._environment.tags())
        followed: set[tuple[str, str]] = set()
        ahead = deque(("", requirement) for requirement in self._asked if self._holds(requirement, ""))
        while ahead:
            who, requirement = ahead.popleft()
            project = canonicalize_name(requirement.name)
            pins = self._pins.get(project, [])
            if (problem := _unmet(who, requirement, pins)) is not None:
                yield problem
                continue
            (pin,) = pins
            if (project, "") not in followed:
                yield from self._unfit(pin, tags)
            for extra in ("", *sorted(map(canonicalize_name, requirement.extras))):
                if (project, extra) not in followed:
                    followed.add((project, extra))
                    needed = map(dependency, pin.wheel.requires_dist)
                    more = [each for each in needed if self._holds(each, extra)]
                    ahead += [(str(pin), each) for each in more if not extra or not self._holds(each, "")]

    def _unfit(self, pin: _Pin, tags: frozenset[Tag]) -> Iterator[str]:
        """Why the wheel of `pin` cannot be installed there."""
        if tags.isdisjoint(parse_wheel_filename(pin.wheel.filename)[3]):
            yield f"{pin.wheel.filename} is for another Python or another machine"
        wanted = SpecifierSet(pin.wheel.requires_python or "")
        if not wanted.contains(self._environment.full_version, prereleases=True):
            yield f"{pin} needs Python {wanted}"

    def _holds(self, requirement: Requirement, extra: str) -> bool:
        """Whether the marker of `requirement` holds in this environment. Raises BundleError when it has no meaning."""
        try:
            return requirement.marker is None or requirement.marker.evaluate({**self._markers, "extra": extra})
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BundleError(
                f"wheels: {str(requirement)[:200]!r} has a marker without a meaning",
                hint="the bundle was made by something else than this bundler: build it again",
            ) from None


def _unmet(who: str, requirement: Requirement, pins: list[_Pin]) -> str | None:
    """Why the one pin of its project does not satisfy `requirement` of `who`; None when it does."""
    plain = Requirement(str(requirement))
    plain.marker = None
    said = f"{who} needs {plain}" if who else f"{plain} is asked for"
    if not pins:
        return f"{said}, which is not in the bundle" if who else f"{said}, and is not in the bundle"
    versions = ", ".join(str(pin.version) for pin in pins)
    if len(pins) > 1:
        return f"{said}, of which the bundle has more than one: {versions}"
    if not requirement.specifier.contains(pins[0].version, prereleases=True):
        return f"{said}, of which the bundle has {versions}"
    return None
