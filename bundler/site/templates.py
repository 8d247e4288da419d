"""Texts that are filled in: service configs and node scripts, from the templates beside this module."""

from __future__ import annotations

import re
import shlex
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

_GLOB = re.compile(r"([*?\[\]]+)")


def render(template: str, /, **values: object) -> str:
    """`template` (a file's name) with `values`; a value it names and does not get is an error of bundler's."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(  # noqa: S701 - none of the texts is HTML; the shell's quoting is the filter `sh`
        loader=PackageLoader("bundler.site"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"sh": shlex.quote, "sh_glob": _sh_glob, "delimiter": _delimiter}
    return environment


def _sh_glob(pattern: str) -> str:
    """`pattern` quoted for the shell, but for what makes it a pattern."""
    return "".join(
        part if number % 2 else shlex.quote(part) for number, part in enumerate(_GLOB.split(pattern)) if part
    )


def _delimiter(content: str) -> str:
    """A here-document's last line: one that `content` has not."""
    delimiter = "END"
    while delimiter in content.split("\n"):
        delimiter += "_"
    return delimiter
