"""What a node is: its distribution, release and architecture."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator

Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
# One printable line: these end up in requests and in comments of config files, where a control character has no place.
Line = Annotated[
    str, StringConstraints(pattern=r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$", max_length=2048)
]

# Names of one architecture in rpm, OCI/Go (https://go.dev/doc/install/source#environment) and Python wheel tags.
OCI_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x"}


class StrictModel(BaseModel):
    """A value written by a person: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Target(StrictModel):
    """One sort of node, for instance `{distro: rocky, release: "9", arch: x86_64}`; `arch` in rpm's words."""

    distro: Word
    release: Word
    arch: Word = Field(default="x86_64", description="the architecture as rpm and `uname -m` name it")

    @field_validator("release", "arch")
    @classmethod
    def _reads_one_way(cls, word: str) -> str:
        """People know a target by `distro-release-arch` alone."""
        if "-" in word:
            raise ValueError("a hyphen is for the distro's name alone")
        return word

    @property
    def platform(self) -> str:
        """The OCI platform, `linux/amd64`."""
        return f"linux/{OCI_ARCHITECTURES.get(self.arch, self.arch)}"

    def __str__(self) -> str:
        return f"{self.distro}-{self.release}-{self.arch}"

    def fill_in(self, text: str) -> str:
        """Replace dnf's variables ($distro, $releasever, $basearch, and their ${…} forms) in `text`."""
        for name, value in (("distro", self.distro), ("releasever", self.release), ("basearch", self.arch)):
            text = text.replace(f"${{{name}}}", value).replace(f"${name}", value)
        return text

    def matches(self, wanted: tuple[str, ...] | None) -> bool:
        """Whether a `for:` limit takes this target: a distro, a release, an arch, or `distro-release[-arch]`."""
        if wanted is None:
            return True
        names = {self.distro, self.release, self.arch, f"{self.distro}-{self.release}", str(self)}
        return any(word in names for word in wanted)


def _distinct(targets: tuple[Target, ...]) -> tuple[Target, ...]:
    if len(set(targets)) != len(targets):
        raise ValueError("a target is listed twice")
    return targets


# What the nodes of one bundle are, in a profile, a lock and a manifest.
Targets = Annotated[tuple[Target, ...], Field(max_length=64), AfterValidator(_distinct)]
