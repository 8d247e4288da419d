"""The index that wheels are resolved from: which one, and what its URLs are called in a lock."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit

from bundler.model.config import Config
from bundler.transfer.credentials import configured

PYPI = "https://pypi.org/simple"
_SETTING = re.compile(r"^(:env:|install|global)\.index-url='(.*)'$", re.MULTILINE)
_PRECEDENCE = (":env:", "install", "global")


@dataclass(frozen=True, slots=True)
class Index:
    """A PEP 503 index. `url` is where it is really asked, without credentials; those are (user, password).

    `ours`: this machine's configuration names it, and it may be inside by whatever name.
    """

    url: str
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    ours: bool = False

    @property
    def netloc(self) -> str:
        """host[:port]."""
        return urlsplit(self.url).netloc


def choose_index(wanted: str | None, config: Config, mirrored: Callable[[str], str]) -> Index:
    """The profile's index, else the one that this machine's pip is configured for, else PyPI; by way of the mirror map.

    Raises ConfigError when a password file cannot be read.
    """
    url = wanted or PYPI
    mirror = mirrored(url)
    if wanted is None and mirror == PYPI:
        mirror = configured_index() or PYPI
    parts = urlsplit(mirror)
    clean, ours = without_credentials(mirror), mirror != url
    if parts.username:
        return Index(clean, (unquote(parts.username), unquote(parts.password or "")), ours)
    login = configured(config, clean)
    if login is None:
        return Index(clean, ours=ours)
    # An index's token is the password of this user (https://pypi.org/help/#apitoken).
    return Index(clean, ("__token__", login.token) if login.token else (login.username, login.password), ours)


def configured_index() -> str | None:
    """The index URL in pip's configuration on this machine, its environment variables included."""
    command = [sys.executable, "-P", "-m", "pip", "config", "list"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    settings = dict(_SETTING.findall(done.stdout))
    return next((settings[scope] for scope in _PRECEDENCE if scope in settings), None)


def original(url: str, config: Config, mirrored: Callable[[str], str]) -> str:
    """`url`, found on a mirror, by the name that the mirror map has it under; unchanged where the map has none."""
    clean = without_credentials(url)
    for head, mirror in sorted(config.mirrors.items(), key=lambda entry: -len(entry[1])):
        candidate = head + clean.removeprefix(mirror)
        if "://" in head and clean.startswith(mirror) and mirrored(candidate) == clean:
            return candidate
    return clean


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of a URL. Raises ValueError for what is none."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def without_credentials(url: str) -> str:
    """`url` with no user and password, and no fragment."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
