"""The `wheels` section of a profile."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from bundler.model.target import StrictModel

PythonVersion = Annotated[str, StringConstraints(pattern=r"^3\.\d{1,2}(\.\d{1,2})?$")]
GlibcVersion = Annotated[str, StringConstraints(pattern=r"^2\.\d{1,2}$")]
IndexUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")]
Entry = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]

ARCHIVES = (".whl", ".tar.gz", ".zip", ".tgz", ".tar.bz2", ".tar.xz")
_VERSION_CONTROL = re.compile(r"(^|@\s*)(git|hg|svn|bzr)\+|^-e\b|^--editable\b")


def names_file(entry: str) -> bool:
    """Whether `entry` names a requirements file (a path, or a URL), rather than being a requirement itself.

    `requirements.txt` is a valid project name too (PEP 508), so the suffixes .txt and .in decide before the grammar.
    """
    location, _, _ = entry.partition("#")
    if location.startswith(("http://", "https://")):
        return not location.endswith(ARCHIVES)
    return " " not in entry and entry.endswith((".txt", ".in"))


class Spec(StrictModel):
    """Python packages with all they depend on, as wheels for each Python of the nodes."""

    python: tuple[PythonVersion, ...] = Field(
        min_length=1, description="the nodes' Pythons, `3.12`, or `3.12.4` where no node has an older patch release"
    )
    requirements: tuple[Entry, ...] = Field(
        min_length=1,
        description="requirements (`ansible==11.13.0`, the URL of a wheel), or requirements files: a path that ends in "
        ".txt or .in, relative to the profile, or a URL",
    )
    constraints: tuple[Entry, ...] = Field(
        default=(), description="versions to keep to where a package is needed; written as in `requirements`"
    )
    sdist: Literal["build", "refuse"] = Field(
        default="build", description="what to do about a package that has no wheel: build one from its source, or stop"
    )
    index_url: IndexUrl | None = Field(
        default=None, description="the PEP 503 index to resolve from; else pip's own configuration says it, else PyPI"
    )
    glibc: GlibcVersion | None = Field(
        default=None, description="the nodes' oldest glibc, where their distribution is not known"
    )

    @field_validator("python")
    @classmethod
    def _differ(cls, pythons: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(pythons)) != len(pythons):
            raise ValueError("each Python once")
        return pythons

    @field_validator("requirements", "constraints")
    @classmethod
    def _understood(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            if not names_file(entry):
                check_requirement(entry)
        return entries

    @property
    def glibc_version(self) -> tuple[int, int] | None:
        """`glibc` as two numbers."""
        if self.glibc is None:
            return None
        major, minor = self.glibc.split(".")
        return int(major), int(minor)


def check_requirement(entry: str) -> None:
    """Raise ValueError unless `entry` is a PEP 508 requirement or the URL of a wheel or source distribution."""
    # The closed side reads this module for the profile's schema, and has no packaging.
    from packaging.requirements import InvalidRequirement, Requirement

    if _VERSION_CONTROL.search(entry):
        raise ValueError(
            f"{entry!r}: a checkout has no digest that could be verified; build a wheel of it and name that by its URL"
        )
    if entry.startswith(("http://", "https://")):
        return
    try:
        Requirement(entry)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{entry!r} is neither a requirement such as 'ansible==11.13.0' ({reason}) nor a requirements file "
            "(a path ending in .txt or .in, or a URL)"
        ) from None
