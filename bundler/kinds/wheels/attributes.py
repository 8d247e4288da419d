"""What the items of this kind say about themselves: `resolve` writes it, the other verbs read it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from bundler.kinds.wheels.dependency import dependency
from bundler.kinds.wheels.spec import GlibcVersion, PythonVersion
from bundler.model.attributes import Attributes
from bundler.model.contents import Text
from bundler.model.items import Item, Json
from bundler.model.store_names import ProjectName
from bundler.model.target import StrictModel, Word


def _check_dependency(text: str) -> str:
    dependency(text)
    return text


def _check_wheel(file_name: str) -> str:
    parse_wheel_filename(file_name)
    return file_name


def _check_specifiers(text: str) -> str:
    SpecifierSet(text)
    return text


# They become file names, arguments of pip and lines of requirements files.
FileName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+!-]*\.whl$", max_length=255),
    AfterValidator(_check_wheel),
]
Tag = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+-[a-z0-9_]+-[a-z0-9_]+$")]
Specifiers = Annotated[Text, AfterValidator(_check_specifiers)]
# By name alone, wherever it comes from: nothing that reads an item can be led to another place.
Dependency = Annotated[str, AfterValidator(_check_dependency)]


class UploadForm(StrictModel):
    """The core metadata that an index is told beside a wheel's bytes (https://docs.pypi.org/api/upload/)."""

    metadata_version: Annotated[str, StringConstraints(pattern=r"^[0-9]\.[0-9]$")]
    name: ProjectName
    version: Text
    requires_python: Specifiers | None = None
    summary: Text | None = None
    license: Text | None = None

    def fields(self) -> dict[str, Json]:
        """The fields of the form that have a value."""
        return self.model_dump(mode="json", exclude_none=True)


class WheelAttributes(Attributes):
    """A wheel, and the locks that have it."""

    type: Literal["wheel"] = "wheel"
    filename: FileName
    python: tuple[PythonVersion, ...] = Field(min_length=1)
    environments: tuple[Word, ...] = Field(min_length=1, max_length=64, description="the locks, by their `environment`")
    tags: tuple[Tag, ...] = Field(min_length=1, description="those of the file name, sorted")
    requires_python: Specifiers | None
    requires_dist: tuple[Dependency, ...] = Field(max_length=5000, description="what it needs, PEP 508")
    metadata: UploadForm

    @model_validator(mode="after")
    def _tags_of_its_file(self) -> Self:
        if self.tags != tags_of(self.filename):
            raise ValueError(f"the tags are not those of {self.filename}")
        return self

    def check(self, item: Item) -> None:
        name, version, _, _ = parse_wheel_filename(self.filename)
        names = {item.name, canonicalize_name(self.metadata.name)}
        versions = {Version(item.version), Version(self.metadata.version)}
        files = [obj.path.rpartition("/")[2] for obj in item.objects]
        if names != {name} or versions != {version} or files != [self.filename]:
            raise ValueError(f"not the wheel {self.filename}")

    def claims(self) -> Iterable[tuple[str, object]]:
        return [(self.filename, None)]


class LockAttributes(Attributes):
    """One lock: the versions of `asked` and of all they need, for one Python on one architecture."""

    type: Literal["lock"] = "lock"
    environment: Word = Field(description="the Python and architecture, `3.12-x86_64`")
    python: PythonVersion
    arch: Word
    glibc: GlibcVersion
    asked: tuple[Dependency, ...] = Field(
        max_length=10_000, description="the requirements, PEP 508; of one that was a URL the project's name"
    )

    @model_validator(mode="after")
    def _named_for_its_python(self) -> Self:
        if self.environment != f"{self.python}-{self.arch}":
            raise ValueError(f"{self.environment} is not Python {self.python} on {self.arch}")
        return self


SORTS = (WheelAttributes, LockAttributes)


def tags_of(file_name: str) -> tuple[str, ...]:
    """The tags of a wheel's file name, each written out, sorted."""
    return tuple(sorted(str(tag) for tag in parse_wheel_filename(file_name)[3]))
