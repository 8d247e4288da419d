"""The `images:` section of a profile: a list of references, each with the platforms to take."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    RootModel,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from bundler.kinds.images.attributes import Role
from bundler.kinds.images.platform import Platform
from bundler.kinds.images.reference import Reference
from bundler.model.target import Line, StrictModel


def _parse_reference(value: object) -> Reference:
    if isinstance(value, Reference):
        return value
    if not isinstance(value, str):
        raise ValueError("expected an image reference, such as docker.io/library/nginx:1.28")
    return Reference.parse(value)


def _parse_platform(value: object) -> Platform:
    if isinstance(value, Platform):
        return value
    if not isinstance(value, str):
        raise ValueError("expected os/architecture[/variant], such as linux/amd64")
    return Platform.parse(value)


_REFERENCE_SCHEMA: JsonSchemaValue = {"type": "string", "examples": ["docker.io/library/nginx:1.28"]}
_PLATFORM_SCHEMA: JsonSchemaValue = {"type": "string", "examples": ["linux/amd64", "linux/arm64", "linux/arm/v7"]}

ReferenceField = Annotated[
    Reference, BeforeValidator(_parse_reference), PlainSerializer(str), WithJsonSchema(_REFERENCE_SCHEMA)
]
PlatformField = Annotated[
    Platform, BeforeValidator(_parse_platform), PlainSerializer(str), WithJsonSchema(_PLATFORM_SCHEMA)
]


class Verify(StrictModel):
    """Who has to have signed an image."""

    key: Line = Field(description="the public key of its signer (cosign's cosign.pub): a path or URL")


class Image(StrictModel):
    """One image or artifact: a reference as a string, or a mapping that also says which platforms to take."""

    ref: ReferenceField = Field(description="the image's name; a short one is completed as docker does")
    platforms: Annotated[tuple[PlatformField, ...], Field(min_length=1)] | Literal["all"] | None = Field(
        default=None, description="what to take of a multi-platform image; the targets' platforms when left out"
    )

    verify: Verify | None = Field(default=None, description="take it only if it is signed with cosign by this key")
    anonymous: Literal[True] | None = Field(
        default=None,
        description="show its registry no log-in of podman's or docker's while resolving: it has to be public, or "
        "bundler's config has to name the registry",
    )
    role: Role | None = Field(default=None, description="registry: the admin host runs its registry out of this image")

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"ref": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        mapping = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [_REFERENCE_SCHEMA, dict(mapping)]}


class Spec(RootModel[tuple[Image, ...]]):
    """The whole section, a list; it stands for itself, so the wrong entry's place is its index."""

    model_config = ConfigDict(frozen=True)
