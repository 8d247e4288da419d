"""Texts that are filled in: service configs and node scripts, from the templates beside this module."""

from __future__ import annotations

import shlex
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


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
    environment.filters["sh"] = shlex.quote
    return environment
