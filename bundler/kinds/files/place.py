"""Where a file lies in the bundle: under its origin's host and path, as mirror variables expect it.

Nothing of a URL is taken as a path unseen: each segment is quoted into characters that are safe on every file system,
in a tar, in a URL and in a shell.
"""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes, urlsplit

from bundler.errors import ProfileError
from bundler.model.contents import check_path

# Besides letters, digits and `_.-~`, which quote() always keeps.
_KEPT = "+@=,"
_LOCAL = "local"


def place_of(url: str) -> str:
    """The bundle path of what lies at `url`: `files/<host>[_<port>]/<path>[?query, quoted]`.

    Raises ProfileError when the URL's path has an empty, `.` or `..` segment.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").replace(":", "_")  # an IPv6 address
    port = f"_{parts.port}" if parts.port else ""
    segments = [_quoted(segment, url) for segment in parts.path.removeprefix("/").split("/")]
    if parts.query:
        segments[-1] += quote(f"?{parts.query}", safe=_KEPT)
    return _checked("/".join(["files", host + port, *segments]), url)


def place_of_local(path: str) -> str:
    """The bundle path of a local file: `files/local/<its name>`."""
    name = path.rsplit("/", 1)[-1]
    return _checked(f"files/{_LOCAL}/{_quoted(name, path)}", path)


def served_name(path: str) -> str:
    """The URL path of a bundle path: `%` stands for itself in a file's name, and must be quoted to be asked for."""
    return path.replace("%", "%25")


def _quoted(segment: str, origin: str) -> str:
    name = quote(unquote_to_bytes(segment), safe=_KEPT)
    if name in ("", ".", ".."):
        raise ProfileError(f"{origin}: a path with {segment!r} in it has no place in a bundle", hint="write it without")
    return name


def _checked(path: str, origin: str) -> str:
    try:
        return check_path(path)
    except ValueError as error:
        raise ProfileError(f"{origin}: {error}", hint="name a file with a shorter, plainer path") from None
