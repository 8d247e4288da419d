"""What the recipe's item says: all that the closed side will know of the expansion."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, StringConstraints

from bundler.kinds.images.reference import Reference
from bundler.model.attributes import Attributes
from bundler.model.contents import ObjectPath
from bundler.model.items import Item
from bundler.model.target import StrictModel

# What a value of `variables` may name instead of an address; `emit` fills it in.
FILES = "{files}"  # root URL of the site's files: what lay at https://HOST/PATH is at {files}/HOST/PATH
REGISTRY = "{registry}"  # `host:port[/prefix]` of the site's registry

Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
ImageName = Annotated[str, AfterValidator(lambda text: Reference.parse(text) and text)]
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$")]


class CarriedChart(StrictModel):
    """A Helm chart that is fetched by name and version, and where it lies in the bundle."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")]
    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.+-]+$")]
    path: ObjectPath


class KubesprayAttributes(Attributes):
    """`tree` is the archive's object, `vars` are the profile's; `variables` lead to the site (see FILES, REGISTRY)."""

    type: Literal["kubespray"] = "kubespray"
    tree: ObjectPath
    vars: dict[Variable, JsonValue]
    python: tuple[Annotated[str, StringConstraints(pattern=r"^3\.\d{1,2}$")], ...] = Field(min_length=1)
    variables: dict[Variable, Line]
    images: tuple[ImageName, ...] = Field(description="what was asked for, by original names")
    files: tuple[Line, ...] = Field(description="what was asked for, by original URLs")
    packages: dict[str, tuple[Line, ...]] = Field(description="by target")
    charts: tuple[CarriedChart, ...] = ()

    def check(self, item: Item) -> None:
        if item.name != "kubespray" or item.objects:
            raise ValueError("it is the recipe's item, which has no files of its own")
