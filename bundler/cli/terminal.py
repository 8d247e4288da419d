"""The one way out: all that bundler prints passes here, on its way to a terminal, a pipe or a log.

Names, versions, messages and keys come from bundles and upstreams. A terminal obeys control characters among them, and
shows text in another order after bidirectional ones: none gets through. Nor does a newline among them make a line that
bundler did not say: what has several lines is said as several.
"""

from __future__ import annotations

import json
import re
import sys

import click

# Of the control characters (Cc) only tab passes. The format characters here reorder text or hide in it
# (https://www.unicode.org/reports/tr9/, https://www.unicode.org/reports/tr36/); U+2028 and U+2029 break lines; a lone
# surrogate cannot be written at all.
_UNSAFE = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)


def plain(text: str) -> str:
    """`text` on one line, with each unsafe character as Python escapes it: `\\x1b`, `\\u202e`, `\\n`."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode("ascii"), text)


def say(*lines: str, err: bool = False) -> None:
    """Print each of `lines` on one line, on stdout, or on stderr with `err`."""
    encoding = (sys.stderr if err else sys.stdout).encoding or "utf-8"
    text = "\n".join(map(plain, lines))
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err)


def say_json(document: object) -> None:
    """Print `document` on stdout as JSON, whose own escapes stand for whatever a terminal would obey."""
    text = json.dumps(document, indent=1, allow_nan=False)  # in ASCII
    click.echo(text.replace("\x7f", "\\u007f"))
