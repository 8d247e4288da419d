"""What the items of this kind say about themselves: `resolve` writes it, the other verbs read it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints

from bundler.kinds.wheels.spec import GlibcVersion, PythonVersion
from bundler.model.attributes import Attributes
from bundler.model.target import Word

# They become file names, lines of METADATA and of requirements files.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+!-]*\.whl$", max_length=255)]
Tag = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+-[a-z0-9_]+-[a-z0-9_]+$")]
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$")]


class WheelAttributes(Attributes):
    """A wheel, and the locks that have it."""

    type: Literal["wheel"] = "wheel"
    filename: FileName
    python: tuple[PythonVersion, ...]
    environments: tuple[Word, ...] = Field(description="the locks, by their `environment`")
    tags: tuple[Tag, ...]
    requires_python: Line | None
    requires_dist: tuple[Line, ...] = Field(description="what it needs, PEP 508")
    provides_extra: tuple[Line, ...]
    metadata: dict[str, JsonValue] = Field(description="core metadata as an index's upload form names the fields")


class LockAttributes(Attributes):
    """One lock: the versions of `asked` and of all they need, for one Python on one architecture."""

    type: Literal["lock"] = "lock"
    environment: Word = Field(description="the Python and architecture, `3.12-x86_64`")
    python: PythonVersion
    arch: Word
    glibc: GlibcVersion
    asked: tuple[Line, ...] = Field(description="the requirements, PEP 508; of one that was a URL the project's name")
