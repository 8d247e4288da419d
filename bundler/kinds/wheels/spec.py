"""The `wheels` section of a profile."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from pydantic import Field, StringConstraints, field_validator

from bundler.model.store_names import ProjectName
from bundler.model.target import StrictModel

PythonVersion = Annotated[str, StringConstraints(pattern=r"^3\.[0-9]{1,2}(\.[0-9]{1,2})?$")]
GlibcVersion = Annotated[str, StringConstraints(pattern=r"^2\.[0-9]{1,2}$")]
IndexUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")]
Entry = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]

WHEEL = ".whl"
ARCHIVES = (WHEEL, ".tar.gz", ".zip", ".tgz", ".tar.bz2", ".tar.xz")
PLACES = ("http://", "https://")
_VARIABLE = re.compile(r"\$\{\w+\}")  # pip would fill it in, whoever wrote the line
_VERSION_CONTROL = re.compile(r"(^|@\s*)(git|hg|svn|bzr)\+|^-e\b|^--editable\b")


def names_file(entry: str) -> bool:
    """Whether `entry` names a requirements file (a path, or a URL), rather than being a requirement itself.

    `requirements.txt` is a valid project name too (PEP 508), so the suffixes .txt and .in decide before the grammar.
    """
    location, _, _ = entry.partition("#")
    if location.startswith(PLACES):
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
    sdist: Literal["refuse", "build"] | tuple[ProjectName, ...] = Field(
        default="refuse",
        description="what to do about a package that has no wheel: stop, or build one from its source in a sandbox; "
        "a list names the packages that may be built",
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
    def sources(self) -> frozenset[str] | None:
        """The projects, by their normalized names, that may be built from source; None: any."""
        if self.sdist == "build":
            return None
        return frozenset(map(canonicalize_name, () if self.sdist == "refuse" else self.sdist))

    @property
    def glibc_version(self) -> tuple[int, int] | None:
        """`glibc` as two numbers."""
        if self.glibc is None:
            return None
        major, minor = self.glibc.split(".")
        return int(major), int(minor)


def check_requirement(entry: str, *, ours: bool = True) -> None:
    """Raise ValueError unless `entry` is a PEP 508 requirement or the URL of a wheel or source distribution.

    One that is not `ours`, but stands in a file that was fetched, may not name a file of this machine.
    """
    if _VARIABLE.search(entry):
        raise ValueError(f"{entry!r}: variables of the environment are not filled in; write what is meant")
    if _VERSION_CONTROL.search(entry):
        raise ValueError(
            f"{entry!r}: a checkout has no digest that could be verified; build a wheel of it and name that by its URL"
        )
    if entry.startswith(PLACES):
        return
    try:
        url = Requirement(entry).url
    except (InvalidRequirement, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{entry!r} is neither a requirement such as 'ansible==11.13.0' ({reason}) nor a requirements file "
            "(a path ending in .txt or .in, or a URL)"
        ) from None
    if url is None or url.startswith(PLACES):
        return
    if not ours:
        raise ValueError(f"{entry!r}: a file that was fetched may take packages from http and https alone")
    if not (url.startswith("file:///") and url.endswith(WHEEL)):
        raise ValueError(f"{entry!r}: only http, https, and wheels by file:/// are places to take a package from")
