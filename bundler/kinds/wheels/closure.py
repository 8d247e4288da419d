"""Whether the wheels of a lock are all that it takes: what was asked for is followed through the wheels' metadata.

Nothing is run and nothing is fetched: a lock has one version of each project, so there is nothing to resolve. Each
requirement is looked at once for each extra that its marker names, whatever is asked for: the time goes with the size
of the bundle's metadata.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

# No bundle comes near these.
_LOCKS = 64
_REQUIREMENTS = 200_000  # of all wheels
_CONDITIONS = 2_000_000  # of markers, each as often as it is looked at

_QUOTED = re.compile(r"""["']([^"']*)["']""")
_APART = re.compile(r"[\s,]+")


@dataclass(frozen=True, slots=True)
class _Need:
    """A requirement, the words in quotes in its marker, written as extras are, and how many conditions that has."""

    requirement: Requirement
    words: frozenset[str]
    conditions: int

    @classmethod
    def of(cls, text: str) -> _Need:
        requirement = dependency(text)
        texts = _QUOTED.findall(str(requirement.marker or ""))
        words = (word for text in texts for word in _APART.split(text))
        return cls(requirement, frozenset(canonicalize_name(word) for word in words if word), len(texts))


@dataclass(frozen=True, slots=True)
class _Pin:
    """The wheel that a lock has of a project; what it needs, and by extra what could be needed for that alone."""

    name: str
    version: Version
    wheel: WheelAttributes
    needs: tuple[_Need, ...]
    needs_for: Mapping[str, Sequence[_Need]]

    @classmethod
    def of(cls, item: Item, wheel: WheelAttributes) -> _Pin:
        needs = tuple(map(_Need.of, wheel.requires_dist))
        needs_for = defaultdict(list)
        for need in needs:
            for word in need.words:
                needs_for[word].append(need)
        return cls(item.name, Version(item.version), wheel, needs, dict(needs_for))

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def problems(items: Iterable[Item]) -> Iterator[str]:
    """A line for each thing that is missing, or does not fit, in each lock among `items`.

    Raises BundleError when an item does not hold together, and when there is more to follow than any bundle has.
    """
    items = tuple(items)
    described, locks = WheelAttributes.among(items), LockAttributes.among(items)
    _check_number("locks", len(locks), _LOCKS)
    _check_number("requirements", sum(len(wheel.requires_dist) for _, wheel in described), _REQUIREMENTS)
    wheels = [_Pin.of(item, wheel) for item, wheel in described]
    looked_at = 0
    for _, lock in locks:
        proof = _Lock(lock, [pin for pin in wheels if lock.environment in pin.wheel.environments], looked_at)
        for problem in proof.problems():
            yield f"Python {lock.environment}: {problem}"
        looked_at = proof.looked_at


class _Lock:
    """The pins of one environment, by project. `looked_at` counts conditions of markers."""

    def __init__(self, lock: LockAttributes, pins: Iterable[_Pin], looked_at: int) -> None:
        major, minor = lock.glibc.split(".")
        self._environment = Environment(lock.python, lock.arch, (int(major), int(minor)))
        self._markers = self._environment.markers()
        self._asked = [_Need.of(text) for text in lock.asked]
        self._pins: dict[str, list[_Pin]] = {}
        for pin in pins:
            self._pins.setdefault(pin.name, []).append(pin)
        self.looked_at = looked_at

    def problems(self) -> Iterator[str]:
        tags = frozenset(self._environment.tags())
        followed: set[tuple[str, str]] = set()
        ahead = deque(("", need.requirement) for need in self._asked if self._holds(need, ""))
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
                    ahead += [(str(pin), each) for each in self._needed(pin, extra)]

    def _needed(self, pin: _Pin, extra: str) -> Iterator[Requirement]:
        """What `pin` needs by itself, or for `extra` alone."""
        for need in pin.needs_for.get(extra, ()) if extra else pin.needs:
            if self._holds(need, extra) and not (extra and self._holds(need, "")):
                yield need.requirement

    def _unfit(self, pin: _Pin, tags: frozenset[Tag]) -> Iterator[str]:
        """Why the wheel of `pin` cannot be installed there."""
        if tags.isdisjoint(parse_wheel_filename(pin.wheel.filename)[3]):
            yield f"{pin.wheel.filename} is for another Python or another machine"
        wanted = SpecifierSet(pin.wheel.requires_python or "")
        if not wanted.contains(self._environment.full_version, prereleases=True):
            yield f"{pin} needs Python {wanted}"

    def _holds(self, need: _Need, extra: str) -> bool:
        """Whether the marker of `need` holds in this environment. Raises BundleError when it has no meaning."""
        if (marker := need.requirement.marker) is None:
            return True
        self.looked_at += need.conditions
        _check_number("conditions of requirements to look at", self.looked_at, _CONDITIONS)
        try:
            return marker.evaluate({**self._markers, "extra": extra})
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BundleError(
                f"wheels: {str(need.requirement)[:200]!r} has a marker without a meaning",
                hint="the bundle was made by something else than this bundler: build it again",
            ) from None


def _check_number(what: str, number: int, most: int) -> None:
    if number > most:
        raise BundleError(
            f"wheels: there are {number:,} {what}, and no bundle has more than {most:,}",
            hint="the bundle was made by something else than this bundler: build it again",
        )


def _unmet(who: str, requirement: Requirement, pins: list[_Pin]) -> str | None:
    """Why the one pin of its project does not satisfy `requirement` of `who`; None when it does."""
    if len(pins) == 1 and requirement.specifier.contains(pins[0].version, prereleases=True):
        return None
    plain = Requirement(str(requirement))
    plain.marker = None
    said = f"{who} needs {plain}" if who else f"{plain} is asked for"
    if not pins:
        return f"{said}, which is not in the bundle" if who else f"{said}, and is not in the bundle"
    versions = ", ".join(str(pin.version) for pin in pins)
    return f"{said}, of which the bundle has {'more than one: ' if len(pins) > 1 else ''}{versions}"
