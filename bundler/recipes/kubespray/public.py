"""What a tree may name: it is not the profile's author who wrote it, and nothing that it names is this machine's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from bundler.errors import ProfileError
from bundler.kinds.images.reference import Reference
from bundler.transfer.addresses import literally_inward

_HASHES = re.compile(r"(?P<requirement>.*?)(?P<hashes>(\s+--hash[= ]sha(256|384|512):[0-9a-f]+)*)\s*", re.DOTALL)


class Public:
    """Holds what a tree names to what is public, but for the hosts in the variables of the profile's author."""

    def __init__(self, origin: str, own: Mapping[str, Any]) -> None:
        self._origin = origin
        self._own = "\n".join(_texts(own))

    def url(self, url: str) -> str:
        """`url`, where it may be fetched. Raises ProfileError."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            raise self._refused(f"{url!r} is no URL") from None
        if parts.scheme not in ("http", "https") or not host:
            raise self._refused(f"{url!r} is no http or https URL")
        self._check(host, parts.netloc, url)
        return url

    def image(self, reference: str) -> str:
        """`reference`, where it may be pulled. Raises ProfileError."""
        try:
            found = Reference.parse(reference)
            host = urlsplit(f"//{found.registry}").hostname or ""
        except ValueError as error:
            raise self._refused(str(error)) from None
        self._check(host, found.registry, reference)
        return reference

    def says(self, reference: str) -> bool:
        """Whether the profile's author names the registry of an image."""
        return Reference.parse(reference).registry in self._own

    def requirements(self, lines: Iterable[str]) -> list[str]:
        """The lines of the tree's requirements.txt, names with versions and hashes. Raises ProfileError for others.

        A name as PyPI normalizes it is no path: `secret.txt` would be a file beside the profile.
        """
        return [self._requirement(line) for line in lines]

    def _requirement(self, line: str) -> str:
        found = _HASHES.fullmatch(line)
        assert found is not None, "everything matches"
        try:
            requirement = Requirement(found["requirement"])
        except (InvalidRequirement, RecursionError):
            requirement = None
        if requirement is None or requirement.url:
            raise self._refused(f"requirements.txt: {line[:200]!r} is no name with versions")
        requirement.name = canonicalize_name(requirement.name)
        return f"{requirement}{found['hashes']}"

    def _check(self, host: str, place: str, what: str) -> None:
        inward = literally_inward(host)
        if inward and place not in self._own:
            raise self._refused(f"it names {what}, which is {inward}")

    def _refused(self, why: str) -> ProfileError:
        return ProfileError(
            f"kubespray: {self._origin}: {why}",
            hint="take another source; if it is meant, say so in the profile: by `vars`, or under the kind's own "
            "section in place of the tree's",
        )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
