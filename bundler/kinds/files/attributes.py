"""What an item of this kind says about itself: where the profile took the file from, for people."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from bundler.model.attributes import Attributes


class FileAttributes(Attributes):
    """`url` or `path` as in the profile."""

    url: str | None = None
    path: str | None = None
    sha512: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")] | None = None


SORTS = (FileAttributes,)
