"""The profile: what a person wants in a bundle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field, create_model

from bundler.model.contents import Name, Version
from bundler.model.items import Json
from bundler.model.target import StrictModel, Target, Targets


class ProfileHead(StrictModel):
    """What every profile says, whatever is in it."""

    name: Name = Field(description="of the bundle; with the version it names the tarball and the release on the site")
    version: Version
    targets: Targets = Field(default=(), description="what the nodes are; one bundle may serve several")


@dataclass(frozen=True, slots=True)
class Profile:
    """A valid profile. `sections` holds the spec of each kind it has a section for, by the kind's name; `recipes` that
    of each recipe.
    """

    name: str
    version: str
    targets: tuple[Target, ...]
    sections: Mapping[str, BaseModel]
    recipes: Mapping[str, BaseModel] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The profile with all defaults filled in, as plain JSON."""
        sections = {**self.sections, **self.recipes}
        return {
            "name": self.name,
            "version": self.version,
            "targets": [target.model_dump(mode="json") for target in self.targets],
            **{name: spec.model_dump(mode="json", by_alias=True, exclude_none=True) for name, spec in sections.items()},
        }

    @property
    def sha256(self) -> str:
        """The digest of the document. A recipe counts as it is written; what it stands for is the lock's to say."""
        return hashlib.sha256(json.dumps(self.document(), sort_keys=True).encode()).hexdigest()


def profile_model(sections: Mapping[str, type[BaseModel]]) -> type[ProfileHead]:
    """The model of a whole profile file whose optional sections, of kinds and recipes, are `sections`."""
    fields: dict[str, Any] = {name: (spec | None, None) for name, spec in sections.items()}
    return create_model("Profile", __base__=ProfileHead, **fields)


def joined(sections: Mapping[str, Json], more: Mapping[str, Json]) -> dict[str, Json]:
    """`sections` and `more` as if one author had written both: lists go on without repeating, of two scalars the first
    stays.
    """
    return {
        **sections,
        **{name: _join(sections[name], more[name]) if name in sections else more[name] for name in more},
    }


def _join(own: Json, more: Json) -> Json:
    match own, more:
        case dict(), dict():
            return joined(own, more)
        case list(), list():
            return [*own, *(entry for entry in more if entry not in own)]
        case _:
            return own
