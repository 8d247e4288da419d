"""The log-in that a site's own services ask readers for: one user, with a password of the site's making or a given one.

    <root>/login/password   made once, where site.yaml names no file
    <root>/login/netrc      the same as clients take it (netrc(5)): what an operator gives to nodes
    <root>/login/htpasswd   what nginx holds requests against

Whoever writes to the site does so on the admin host, with the services' own passwords: this one only reads.
"""

from __future__ import annotations

import base64
import grp
import hashlib
import os
import re
import secrets
from pathlib import Path

from bundler.errors import ConfigError
from bundler.model.site import SiteConfig
from bundler.site.folders import make_folder, write_whole
from bundler.site.session import secret

# It stands in netrc, in shell scripts and in dnf's variables, none of which quotes alike.
_PASSWORD = re.compile(r"[A-Za-z0-9._~+/=-]{20,128}")
_SALT = 16  # bytes


def ensure(config: SiteConfig, group: str | None = None) -> Path | None:
    """The file for nginx's auth_basic_user_file, which that `group` may read; None without a log-in.

    Raises ConfigError.
    """
    reader = config.reader
    if reader is None or config.login is None:
        return None
    folder = make_folder(Path(config.root).absolute() / "login")
    if config.login.password_file is None and not (folder / "password").exists():
        write_whole(folder / "password", f"{secrets.token_urlsafe(32)}\n".encode(), 0o600)
    user, password = secret(reader)
    if not _PASSWORD.fullmatch(password):
        raise ConfigError(
            f"{reader.password_file}: the password has to be 20 to 128 letters, digits and . _ ~ + / = -",
            hint="write such a one into the file, for instance with `openssl rand -hex 20`",
        )
    netrc = f"machine {config.machine} login {user} password {password}\n"
    _keep(folder / "netrc", netrc.encode())
    known = folder / "htpasswd"
    if not (known.exists() and _matches(known.read_text(), user, password)):
        write_whole(known, f"{user}:{_hashed(password, os.urandom(_SALT))}\n".encode(), 0o640)
    if group is not None and os.geteuid() == 0:
        os.chown(known, 0, grp.getgrnam(group).gr_gid)  # nginx's workers, which are not root, read it at each request
    return known


def _keep(path: Path, content: bytes) -> None:
    if not (path.exists() and path.read_bytes() == content):
        write_whole(path, content, 0o600)


def _hashed(password: str, salt: bytes) -> str:
    """In the one salted form that nginx checks by itself (ngx_crypt.c). One round of SHA-1 is enough here: the password
    is long, and nginx checks it at each request.
    """
    return "{SSHA}" + base64.b64encode(hashlib.sha1(password.encode() + salt).digest() + salt).decode()  # noqa: S324


def _matches(line: str, user: str, password: str) -> bool:
    name, _, hashed = line.strip().partition(":")
    try:
        salt = base64.b64decode(hashed.removeprefix("{SSHA}"), validate=True)[hashlib.sha1().digest_size :]  # noqa: S324
    except ValueError:
        return False
    return name == user and len(salt) == _SALT and hashed == _hashed(password, salt)
