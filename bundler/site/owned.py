"""Whether root may use a site's root: nobody else can change what bundler reads, runs or writes there.

A root that somebody else owns, or may write to, is refused before anything of it is read. Whoever is not root uses what
he may write to, and harms himself alone.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from bundler.errors import SiteError
from bundler.model.site import SITE_FILE
from bundler.site.services.unprivileged import ACCOUNTS

# Below the root, where they are: bundler runs programs out of these, reads configs and keys, and writes.
_OURS = (SITE_FILE, "services", "services/*", "run", "tls", "login")
_RECORDS = (".*", ".*/*")  # below the web root
_DATA = ("registry", "devpi")  # of the services' users
_MOST_LINKS = 40  # as the kernel has it


def require_own(root: Path, web_root: Path | None = None) -> None:
    """See that nobody but root can change the site's `root` and `web_root`, what lies in them, or what leads there.

    A `web_root` that is not given is the site's own. Who serves an external one has to read it, and no more.

    Raises SiteError, which names the folder and says what to do. Does nothing for another user than root.
    """
    if os.geteuid() != 0:
        return
    root = root.absolute()
    for place, patterns in ((root, _OURS), ((web_root or root / "repos").absolute(), _RECORDS)):
        *above, itself = _way(place)
        for folder in above:
            _require(folder, sticky=True)
        _require(itself)
        for pattern in patterns:
            for path in place.glob(pattern):
                _require(path)
    for name in _DATA:
        *above, itself = _way(root / name)
        for folder in above:
            _require(folder, sticky=True)
        _require(itself, data=True)


def _way(path: Path, links: int = _MOST_LINKS) -> Iterator[Path]:
    """Every folder and link on the way to `path`, it last."""
    for folder in (*reversed(path.parents), path):
        if folder.is_symlink() and links:
            yield folder
            yield from _way(Path(os.path.normpath(folder.parent / folder.readlink())), links - 1)
        elif not folder.is_symlink():
            yield folder


def _require(path: Path, *, sticky: bool = False, data: bool = False) -> None:
    """See that `path` is root's alone, or, with `data`, a service's.

    With `sticky` others may add to it, where they cannot rename or remove what is not theirs.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if found.st_uid != 0 and not (data and _is_service(found.st_uid)):
        raise SiteError(
            f"{path} belongs to {_name(found.st_uid)}, who could change what root runs or writes there",
            hint=f"name another place, or see what is in it and `chown root {path}`",
        )
    if stat.S_ISLNK(found.st_mode) or (sticky and found.st_mode & stat.S_ISVTX):
        return
    if found.st_mode & 0o002 or (found.st_mode & 0o020 and found.st_gid != 0):
        raise SiteError(
            f"{path} may be written by others (mode {stat.S_IMODE(found.st_mode):04o}), who could change what root "
            "runs or writes there",
            hint=f"name another place, or see what is in it and `chmod go-w {path}`",
        )


def _is_service(user: int) -> bool:
    """Whether `user` is a service's: with an account of that name, or with none, or none any more."""
    return _account(user) in (None, *ACCOUNTS.values())


def _name(user: int) -> str:
    return _account(user) or f"user {user}"


def _account(user: int) -> str | None:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return None
