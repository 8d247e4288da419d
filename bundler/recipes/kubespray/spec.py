"""The `kubespray:` section of a profile."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, StringConstraints, field_validator

from bundler.model.contents import Sha256
from bundler.model.target import StrictModel

RELEASE = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
OLDEST = (2, 28)  # before it, the variables lie elsewhere
UPSTREAM = "https://github.com/kubernetes-sigs/kubespray/archive/refs/tags/{version}.tar.gz"

Path = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Spec(StrictModel):
    """One version of Kubespray, and the variables that a cluster is to be made with."""

    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)] = Field(
        description="a release, v2.31.0; of a source of your own, what to call it"
    )
    source: Path = Field(
        default=UPSTREAM,
        description="where its tree is: a tarball's URL or path, or a folder; {version} is filled in",
    )
    sha256: Sha256 | None = Field(default=None, description="of the tarball, to hold its source to")
    inventory: tuple[Path, ...] = Field(
        default=(), description="YAML files of variables, group_vars of yours; a later one wins, and `vars` over all"
    )
    vars: dict[str, JsonValue] = Field(default={}, description="variables as they would stand in group_vars")
    select: Literal["enabled", "all"] = Field(
        default="enabled", description="what these variables enable, or everything that Kubespray could download"
    )
    python: tuple[Annotated[str, StringConstraints(pattern=r"^3\.\d{1,2}$")], ...] = Field(
        default=("3.12",), min_length=1, description="the control nodes' Pythons: wheels are carried for them"
    )

    @field_validator("version")
    @classmethod
    def _known(cls, version: str) -> str:
        found = RELEASE.fullmatch(version)
        if found and (int(found[1]), int(found[2])) < OLDEST:
            raise ValueError(f"v{OLDEST[0]}.{OLDEST[1]}.0 is the oldest release whose layout is known here")
        return version

    @field_validator("vars", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        """A number as YAML has it: `kube_version: 1.35` would be read as another version than was meant."""
        if isinstance(value, dict):
            for name in value:
                if isinstance(name, str) and name.endswith("_version") and isinstance(value[name], float):
                    raise ValueError(f'{name}: put the version in quotes: "{value[name]}"')
        return value

    @property
    def location(self) -> str:
        """`source` for this version."""
        return self.source.replace("{version}", self.version)
