"""What the items of this kind say about themselves: `resolve` writes it, `emit` reads it on the closed side."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from bundler.model.attributes import Attributes
from bundler.model.contents import ObjectPath
from bundler.model.target import Line, StrictModel, Target, Word

PACKAGE_NAME = r"^[A-Za-z0-9_][A-Za-z0-9._+-]*$"

# These end up in a .repo file and in shell commands; the patterns leave nothing that would need quoting there.
Folder = Annotated[str, StringConstraints(pattern=r"^rpms(/[A-Za-z0-9][A-Za-z0-9._-]*)+$")]
KeyPath = Annotated[str, StringConstraints(pattern=r"^keys/[A-Za-z0-9._-]+$")]
PackageName = Annotated[str, StringConstraints(pattern=PACKAGE_NAME)]
Stream = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._+-]+:[A-Za-z0-9._+-]+$")]


class RepositoryAttributes(Attributes):
    """A repository as the bundle holds it for one target."""

    type: Literal["repository"] = "repository"
    repo: Word
    target: Target
    path: Folder = Field(description="its root in the bundle, the folder that holds repodata/")
    packages: int = Field(ge=0, description="how many the bundle holds of it")
    sample: PackageName | None = Field(description="one of them, to try the repository with")
    gpgcheck: bool
    keys: tuple[KeyPath, ...] = Field(description="the keys that sign its packages")
    priority: int
    module_hotfixes: bool
    modules: tuple[Stream, ...] = Field(description="streams that a node has to enable by itself")


class PackageAttributes(Attributes):
    """A package; `href` is relative to its repository's root, `target` what a node is that it is for."""

    type: Literal["package"] = "package"
    repo: Word
    target: str
    nevra: str
    arch: str
    href: ObjectPath
    sourcerpm: str


class KeyAttributes(Attributes):
    """A file of signing keys, and the fingerprints (lower-case hex) of the certificates in it."""

    type: Literal["key"] = "key"
    fingerprints: tuple[str, ...]


class AssumedMetadata(StrictModel):
    """The metadata of the repository that stands for what nodes have."""

    primary: ObjectPath
    filelists: ObjectPath | None = None


class RequestAttributes(Attributes):
    """What the profile asks for on one target, for the proof that the bundle's repositories have it all."""

    type: Literal["request"] = "request"
    target: Target
    packages: tuple[Line, ...]
    modules: tuple[Line, ...]
    weak_deps: bool
    assumed: AssumedMetadata | None = Field(description="None: nodes are taken to have nothing")


class BootstrapAttributes(Attributes):
    """The files by which an admin host of `target` gets its packages before bundler is there."""

    type: Literal["bootstrap"] = "bootstrap"
    target: str


SORTS = (RepositoryAttributes, PackageAttributes, KeyAttributes, RequestAttributes, BootstrapAttributes)
