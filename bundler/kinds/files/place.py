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
_NAME_LIMIT = 255  # bytes, on the file systems that nodes and admin hosts have


def place_of(url: str, name: str | None = None) -> str:
    """The bundle path of what lies at `url`: `files/<host>[_<port>]/<path>[?query, quoted]`.

    `name`, if given, stands in place of the path's last segment and the query. Raises ProfileError when the URL's path
    has an empty, `.` or `..` segment, or one that is too long for a file's name.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").replace(":", "_")  # an IPv6 address
    port = f"_{parts.port}" if parts.port else ""
    *folders, last = parts.path.removeprefix("/").split("/")
    if name is None:
        name = _quoted(last, url) + (quote(f"?{parts.query}", safe=_KEPT) if parts.query else "")
    return _checked(["files", host + port, *(_quoted(folder, url) for folder in folders), name], url)


def place_of_local(path: str, name: str | None = None) -> str:
    """The bundle path of a local file: `files/local/<name>`, where the name is its own if none is given."""
    return _checked(["files", _LOCAL, name or _safe(path.rsplit("/", 1)[-1].encode(), path)], path)


def served_name(path: str) -> str:
    """The URL path of a bundle path: `%` stands for itself in a file's name, and must be quoted to be asked for."""
    return path.replace("%", "%25")


def _quoted(segment: str, origin: str) -> str:
    """A segment of a URL's path."""
    return _safe(unquote_to_bytes(segment), origin)


def _safe(raw: bytes, origin: str) -> str:
    name = quote(raw, safe=_KEPT)
    if name in ("", ".", ".."):
        raise ProfileError(f"{origin}: a path with {name!r} in it has no place in a bundle", hint="write it without")
    return name


def _checked(segments: list[str], origin: str) -> str:
    try:
        if long := next((name for name in segments if len(name) > _NAME_LIMIT), None):
            raise ValueError(f"{long[:40]}… is longer than the {_NAME_LIMIT} characters of a file's name")
        return check_path("/".join(segments))
    except ValueError as error:
        raise ProfileError(f"{origin}: {error}", hint="give it a `name:`, or a shorter, plainer URL or path") from None
