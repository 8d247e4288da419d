"""What the recipe's item says: all that the closed side will know of the expansion."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from pydantic import Field, JsonValue, StringConstraints, ValidationError

from bundler.errors import BundleError
from bundler.model.contents import ObjectPath
from bundler.model.items import Item, Json
from bundler.model.target import StrictModel

# What a value of `variables` may name instead of an address; `emit` fills it in.
FILES = "{files}"  # root URL of the site's files: what lay at https://HOST/PATH is at {files}/HOST/PATH
REGISTRY = "{registry}"  # `host:port[/prefix]` of the site's registry

Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$")]


class CarriedChart(StrictModel):
    """A Helm chart that is fetched by name and version, and where it lies in the bundle."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")]
    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.+-]+$")]
    path: ObjectPath


class KubesprayAttributes(StrictModel):
    """`tree` is the archive's object, `vars` are the profile's; `variables` lead to the site (see FILES, REGISTRY)."""

    type: Literal["kubespray"] = "kubespray"
    tree: ObjectPath
    vars: dict[Variable, JsonValue]
    python: tuple[Annotated[str, StringConstraints(pattern=r"^3\.\d{1,2}$")], ...]
    variables: dict[Variable, Line]
    images: tuple[Line, ...] = Field(description="what was asked for, by original names")
    files: tuple[Line, ...] = Field(description="what was asked for, by original URLs")
    packages: dict[str, tuple[Line, ...]] = Field(description="by target")
    charts: tuple[CarriedChart, ...] = ()

    @classmethod
    def of(cls, item: Item) -> KubesprayAttributes:
        """Read a recipe's item. Raises BundleError when its attributes are not these."""
        try:
            return cls.model_validate(dict(item.attributes))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise BundleError(
                f"kubespray {item.version}: its attributes cannot be read: {place}: {first['msg']}",
                hint="the bundle was made by something else than this bundler: build it again",
            ) from None

    def as_json(self) -> dict[str, Json]:
        return cast("dict[str, Json]", self.model_dump(mode="json"))
