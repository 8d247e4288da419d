"""The `files:` section: a list of URLs and local files."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, RootModel, StringConstraints, model_validator

from bundler.model.contents import Sha256
from bundler.model.target import StrictModel

_OCTAL = re.compile(r"0?[0-7]{3}")


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected a URL with http:// or https:// and a host")
    if parts.username is not None:
        raise ValueError("a URL carries no user or password; put them under `credentials` in bundler's config")
    if not text.isprintable() or " " in text:
        raise ValueError("expected a URL without blanks and control characters")
    _ = parts.port  # ValueError when it is no port
    return text


def _mode(value: Any) -> str:
    # A number is refused: YAML reads 0755 as 493 and 755 as itself.
    if not isinstance(value, str) or not _OCTAL.fullmatch(value):
        raise ValueError('expected permission bits in octal, in quotes: "0755"')
    return value


class File(StrictModel):
    """One file: the bytes at `url`, or of the local file `path`, held to the digests that are given."""

    url: Annotated[str, AfterValidator(_url)] | None = None
    path: str | None = Field(
        default=None,
        description="a local file, from the profile's folder on, or a folder, carried as a tar; served under local/",
    )
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+@=,~-]*$", max_length=200)] | None = (
        Field(default=None, description="the file's name in the bundle, in place of the last part of its URL or path")
    )
    size: int | None = Field(default=None, ge=0, lt=1 << 50, description="in bytes")
    sha256: Sha256 | None = None
    sha512: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")] | None = None
    mode: Annotated[str, BeforeValidator(_mode)] = Field(default="0644", description="permission bits, octal")

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_source(self) -> File:
        if (self.url is None) == (self.path is None):
            raise ValueError("expected either `url` or `path`")
        if self.name is None and (self.url is not None and urlsplit(self.url).path.rpartition("/")[2] == ""):
            raise ValueError("expected the URL of a file, not of a folder; or a `name` for what is there")
        return self

    @property
    def permissions(self) -> int:
        return int(self.mode, 8)


class Spec(RootModel[tuple[File, ...]]):
    """The whole section."""

    model_config = ConfigDict(frozen=True)
