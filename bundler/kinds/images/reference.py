"""Names of images: the grammar of https://github.com/distribution/reference, and docker's completion of short names."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bundler.model.store_names import DIGEST, REPOSITORY, TAG

EXPECTED = "expected [host[:port]/]path[:tag][@sha256:<64 hex digits>] with the path in lower case"

_HOST_COMPONENT = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_HOST_COMPONENT}(?:\.{_HOST_COMPONENT})*|\[[a-fA-F0-9:]+\])"

# Unanchored; pydantic's models put ^ and $ around them.
REGISTRY = rf"{_HOST}(?::[0-9]+)?"

_IMAGE_ID = "[0-9a-f]{64}"
_LONGEST_NAME = 255  # characters of `registry/repository`


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """An image's full name, with a tag, a digest or both. `Reference.parse(str(reference)) == reference`."""

    registry: str  # `docker.io`, `127.0.0.1:5000`
    repository: str  # `library/nginx`
    tag: str | None = None
    digest: str | None = None  # `sha256:…`

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference as `docker pull` does.

        A name without a registry is docker.io's, one without a namespace there is in `library/`, and one with neither
        tag nor digest means `latest`. Raises ValueError, saying which part is wrong and what was expected.
        """
        name, at, digest = text.partition("@")
        _expect(DIGEST, digest if at else None, "digest", text)
        head, colon, tag = name.rpartition(":")
        tagged = bool(colon) and "/" not in tag  # else the colon is a port's
        _expect(TAG, tag if tagged else None, "tag", text)
        if tagged:
            name = head
        _refuse_image_id(name, text)
        registry, repository = _split(name)
        _expect(REGISTRY, registry, "registry host", text)
        _expect(REPOSITORY, repository, "repository path", text)
        if len(registry) + 1 + len(repository) > _LONGEST_NAME:
            raise ValueError(f"{text!r}: the name has more than {_LONGEST_NAME} characters")
        if not tagged and not at:
            return cls(registry, repository, tag="latest")
        return cls(registry, repository, tag if tagged else None, digest if at else None)

    @property
    def name(self) -> str:
        """Registry and repository: `docker.io/library/nginx`."""
        return f"{self.registry}/{self.repository}"

    @property
    def version(self) -> str:
        """What follows the name: `1.28`, `sha256:…`, or `1.28@sha256:…`."""
        return "@".join(part for part in (self.tag, self.digest) if part)

    @property
    def wanted(self) -> str:
        """What a registry is asked for: the digest where there is one; a tag beside it is then only a label."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def _split(name: str) -> tuple[str, str]:
    """Registry and repository of a name, completed as docker completes it."""
    first, slash, rest = name.partition("/")
    is_host = slash and (any(mark in first for mark in ".:") or first == "localhost" or first != first.lower())
    registry, repository = (first, rest) if is_host else ("docker.io", name)
    if registry == "index.docker.io":
        registry = "docker.io"
    if registry == "docker.io" and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository


def _expect(pattern: str, part: str | None, what: str, text: str) -> None:
    if part is not None and not re.fullmatch(pattern, part, re.ASCII):
        raise ValueError(f"{text!r} is no image reference: {part!r} is no {what}; {EXPECTED}")


def _refuse_image_id(name: str, text: str) -> None:
    if re.fullmatch(_IMAGE_ID, name):
        raise ValueError(f"{text!r} is the id of an image on some machine, which no registry knows; {EXPECTED}")
