"""What the items of this kind say about themselves: `resolve` writes it, `emit` reads it on the closed side."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from pydantic import Field, StringConstraints, ValidationError

from bundler.errors import BundleError
from bundler.model.contents import ObjectPath
from bundler.model.items import Item, Json
from bundler.model.target import StrictModel, Target, Word

PACKAGE_NAME = r"^[A-Za-z0-9_][A-Za-z0-9._+-]*$"

# These end up in a .repo file and in shell commands; the patterns leave nothing that would need quoting there.
Folder = Annotated[str, StringConstraints(pattern=r"^rpms(/[A-Za-z0-9][A-Za-z0-9._-]*)+$")]
KeyPath = Annotated[str, StringConstraints(pattern=r"^keys/[A-Za-z0-9._-]+$")]
PackageName = Annotated[str, StringConstraints(pattern=PACKAGE_NAME)]
Stream = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._+-]+:[A-Za-z0-9._+-]+$")]


class RepositoryAttributes(StrictModel):
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

    @classmethod
    def of(cls, item: Item) -> RepositoryAttributes | None:
        """Read a repository's item, None for any other. Raises BundleError when its attributes are not these."""
        if item.attributes.get("type") != "repository":
            return None
        try:
            return cls.model_validate(dict(item.attributes))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise BundleError(
                f"rpms {item.name}: its attributes cannot be read: {place}: {first['msg']}",
                hint="the bundle was made by something else than this bundler: build it again",
            ) from None

    def as_json(self) -> dict[str, Json]:
        return cast("dict[str, Json]", self.model_dump(mode="json"))


class PackageAttributes(StrictModel):
    """A package; `href` is relative to its repository's root, `target` what a node is that it is for."""

    type: Literal["package"] = "package"
    repo: Word
    target: str
    nevra: str
    arch: str
    href: ObjectPath
    sourcerpm: str

    def as_json(self) -> dict[str, Json]:
        return cast("dict[str, Json]", self.model_dump(mode="json"))


class KeyAttributes(StrictModel):
    """A file of signing keys, and the fingerprints (lower-case hex) of the certificates in it."""

    type: Literal["key"] = "key"
    fingerprints: tuple[str, ...]

    def as_json(self) -> dict[str, Json]:
        return cast("dict[str, Json]", self.model_dump(mode="json"))
