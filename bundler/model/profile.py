"""The profile: what a person wants in a bundle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field, create_model

from bundler.model.contents import Name, Version
from bundler.model.target import StrictModel, Target


class ProfileHead(StrictModel):
    """What every profile says, whatever is in it."""

    name: Name = Field(description="of the bundle; with the version it names the tarball and the release on the site")
    version: Version
    targets: tuple[Target, ...] = Field(default=(), description="what the nodes are; one bundle may serve several")


@dataclass(frozen=True, slots=True)
class Profile:
    """A valid profile. `sections` holds the spec of each kind it has a section for, by the kind's name."""

    name: str
    version: str
    targets: tuple[Target, ...]
    sections: Mapping[str, BaseModel]

    def expanded(self) -> dict[str, Any]:
        """The profile with all defaults filled in, as plain JSON."""
        return {
            "name": self.name,
            "version": self.version,
            "targets": [target.model_dump(mode="json") for target in self.targets],
            **{name: spec.model_dump(mode="json", by_alias=True) for name, spec in self.sections.items()},
        }

    @property
    def sha256(self) -> str:
        """The digest of the expanded profile."""
        return hashlib.sha256(json.dumps(self.expanded(), sort_keys=True).encode()).hexdigest()


def profile_model(sections: Mapping[str, type[BaseModel]]) -> type[ProfileHead]:
    """The model of a whole profile file whose optional sections are `sections`."""
    fields: dict[str, Any] = {name: (spec | None, None) for name, spec in sections.items()}
    return create_model("Profile", __base__=ProfileHead, **fields)
