"""What the items of this kind say about themselves: `resolve` writes it, `emit` reads it on the closed side."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from bundler.model.attributes import Attributes
from bundler.model.contents import ObjectPath
from bundler.model.items import Item
from bundler.model.target import Line, StrictModel, Target, Word

_PACKAGE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")

# These end up in a .repo file and in shell commands; the patterns leave nothing that would need quoting there.
Folder = Annotated[str, StringConstraints(pattern=r"^rpms(/[A-Za-z0-9][A-Za-z0-9._-]*)+$")]
KeyPath = Annotated[str, StringConstraints(pattern=r"^keys/[A-Za-z0-9_][A-Za-z0-9._-]*$")]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16,64}$")]
Stream = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._+-]+:[A-Za-z0-9._+-]+$")]


def is_package_name(text: str) -> bool:
    """Whether dnf takes `text` for a package's name; it takes what ends in .rpm for a file, and checks no signature."""
    return _PACKAGE_NAME.fullmatch(text) is not None and not text.endswith(".rpm")


def _package_name(text: str) -> str:
    if not is_package_name(text):
        raise ValueError(f"{text!r} is no package's name")
    return text


PackageName = Annotated[str, AfterValidator(_package_name)]


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

    def check(self, item: Item) -> None:
        release = f"rpms/{self.target.distro}/{self.target.release}"
        if self.path not in (f"{release}/{self.repo}", f"{release}/{self.target.arch}/{self.repo}"):
            raise ValueError(f"it is {self.repo} of {self.target}, and lies in {self.path}")
        if item.name != self.repo:
            raise ValueError(f"it is the repository {self.repo}")
        if other := next((obj.path for obj in item.objects if not obj.path.startswith(f"{self.path}/")), None):
            raise ValueError(f"{other} is not in {self.path}")

    def claims(self) -> Iterable[tuple[str, object]]:
        return [(f"repository {self.repo} for {self.target}", self)]


class PackageAttributes(Attributes):
    """A package; `href` is relative to its repository's root, `target` what a node is that it is for."""

    type: Literal["package"] = "package"
    repo: Word
    target: str
    nevra: str
    arch: str
    href: ObjectPath
    sourcerpm: str

    def check(self, item: Item) -> None:
        if self.nevra != f"{item.name}-{item.version}.{self.arch}":
            raise ValueError(f"it is the package {self.nevra}")
        paths = [obj.path for obj in item.objects]
        if len(paths) != 1 or not paths[0].endswith(f"/{self.repo}/{self.href}"):
            raise ValueError(f"it is {self.href} of {self.repo}, and has {', '.join(paths) or 'no file'}")


class KeyAttributes(Attributes):
    """A file of signing keys, and the fingerprints (lower-case hex) of the certificates in it."""

    type: Literal["key"] = "key"
    fingerprints: tuple[Fingerprint, ...] = Field(min_length=1)

    def check(self, item: Item) -> None:
        if [obj.path for obj in item.objects] != [f"keys/{item.name}"] or item.version != self.fingerprints[0][-16:]:
            raise ValueError(f"it is the key {self.fingerprints[0]}")


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

    def check(self, item: Item) -> None:
        if (item.name, item.version) != ("request", str(self.target)):
            raise ValueError(f"it is the request for {self.target}")


class BootstrapRepository(StrictModel):
    """What of a repository install.sh writes into a .repo file."""

    repo: Word
    path: Folder
    gpgcheck: bool
    priority: int = Field(ge=1, le=99)
    module_hotfixes: bool
    keys: tuple[KeyPath, ...]

    @model_validator(mode="after")
    def _has_keys_to_check_with(self) -> Self:
        if self.gpgcheck and not self.keys:
            raise ValueError(f"repository {self.repo} has no key to check its packages with")
        return self

    @classmethod
    def of(cls, repo: RepositoryAttributes) -> Self:
        return cls(**repo.model_dump(include=set(cls.model_fields)))


class BootstrapAttributes(Attributes):
    """What install.sh installs with dnf as root: install.sh reads these lines of the manifest, as they are here.

    The role says so to whoever approves the bundle, and whether the packages' signatures are checked.
    """

    type: Literal["bootstrap"] = "bootstrap"
    role: Literal["bootstrap", "bootstrap-unchecked"]
    target: Target
    names: tuple[PackageName, ...] = Field(min_length=1, max_length=1000)
    repositories: tuple[BootstrapRepository, ...] = Field(min_length=1, max_length=100)

    @model_validator(mode="after")
    def _says_what_goes_unchecked(self) -> Self:
        if (self.role == "bootstrap") != all(repo.gpgcheck for repo in self.repositories):
            raise ValueError(f"its role is {self.role}, and its repositories say otherwise")
        return self

    def check(self, item: Item) -> None:
        keys = {key for repo in self.repositories for key in repo.keys}
        folders = tuple(f"{repo.path}/" for repo in self.repositories)
        paths = {obj.path for obj in item.objects}
        if (item.name, item.version) != ("bootstrap", str(self.target)):
            raise ValueError(f"it is what install.sh installs on {self.target}")
        if strange := sorted(path for path in paths - keys if not path.startswith(folders)) + sorted(keys - paths):
            raise ValueError(f"{strange[0]} is not its own")

    @classmethod
    def among(cls, items: Iterable[Item]) -> list[tuple[Item, Self]]:
        """The items of this type, and all others that say the admin host runs them: RPMs have no other role."""
        return [
            (item, cls.of(item))
            for item in items
            if item.attributes.get("type") == "bootstrap" or "role" in item.attributes
        ]


SORTS = (RepositoryAttributes, PackageAttributes, KeyAttributes, RequestAttributes, BootstrapAttributes)
