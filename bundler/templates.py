"""Texts that are filled in: service configs and node scripts, from the folder `templates` of who writes them."""

from __future__ import annotations

import re
import shlex
from functools import cache
from typing import BinaryIO

from jinja2 import Environment, PackageLoader, StrictUndefined

from bundler.sizes import human

_PIECES = 64  # of a template's text that are written at once
_GLOB = re.compile(r"([*?\[\]]+)")


def render(package: str, template: str, /, **values: object) -> str:
    """`template`, a file in the folder `templates` of `package` (`bundler.site`), with `values`.

    A value that it names and does not get is an error of bundler's.
    """
    return _environment(package).get_template(template).render(**values)


def render_to(file: BinaryIO, package: str, template: str, /, **values: object) -> None:
    """Write to `file` what `render` would give, piece by piece: what is large comes as an iterator."""
    stream = _environment(package).get_template(template).stream(**values)
    stream.enable_buffering(_PIECES)
    stream.dump(file, "utf-8")


@cache
def _environment(package: str) -> Environment:
    environment = Environment(  # noqa: S701 - most of the texts are no HTML; the one that is escapes by itself
        loader=PackageLoader(package),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "sh": shlex.quote,
        "sh_glob": _sh_glob,
        "sed": _sed,
        "delimiter": _delimiter,
        "unit_word": _unit_word,
        "human": human,
    }
    return environment


def _sh_glob(pattern: str) -> str:
    """`pattern` quoted for the shell, but for what makes it a pattern."""
    return "".join(
        part if number % 2 else shlex.quote(part) for number, part in enumerate(_GLOB.split(pattern)) if part
    )


def _sed(text: str) -> str:
    """`text` for a basic regular expression between slashes."""
    return re.sub(r"([.*\[\]\\^$/])", r"\\\1", text)


def _delimiter(content: str) -> str:
    """A here-document's last line: one that `content` has not."""
    delimiter = "END"
    while delimiter in content.split("\n"):
        delimiter += "_"
    return delimiter


def _unit_word(text: str) -> str:
    """A word of a systemd unit's command line (systemd.service(5), "Command lines")."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != text or any(sign in text for sign in " '\t;") else text
