"""The `bootstrap` section: what a machine without anything takes to run bundler. The recipe `admin` writes it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from bundler.model.target import StrictModel, Word

_OLDEST = (3, 11)


class Spec(StrictModel):
    """For which machine, and which Python there."""

    target: Word = Field(description="one of the profile's targets, in full: `rocky-9-x86_64`")
    python: Annotated[str, StringConstraints(pattern=r"^3\.[0-9]{1,2}$")]

    @field_validator("python")
    @classmethod
    def _new_enough(cls, python: str) -> str:
        if tuple(map(int, python.split("."))) < _OLDEST:
            raise ValueError(f"bundler runs with Python {'.'.join(map(str, _OLDEST))} or newer")
        return python
