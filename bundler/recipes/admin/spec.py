"""The `admin:` section of a profile: the machine that will serve the bundle, and has nothing yet."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from bundler.model.target import StrictModel, Word

PackageName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+-]*$")]


class Spec(StrictModel):
    """One of the profile's targets, the Python that bundler is to run with there, and what it installs first."""

    target: Word = Field(description="which of the targets the admin host is: `rocky-9`, or `rocky-9-x86_64`")
    python: Annotated[str, StringConstraints(pattern=r"^3\.[0-9]{1,2}$")] = Field(
        default="3.12", description="the Python that bundler runs with there, 3.11 or newer"
    )
    packages: tuple[PackageName, ...] = Field(
        default=("nginx", "podman", "policycoreutils-python-utils"),
        description="the RPMs that serving takes, beside that Python; without podman the registry runs by itself",
    )
