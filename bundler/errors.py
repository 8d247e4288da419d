"""Every way bundler can stop, named for who must act.

    BundlerError
    ├── ProfileError      3  the profile's author: a key, a value or a file the profile names is wrong
    ├── ConfigError       4  whoever runs bundler: bundler's own config or site.yaml is wrong
    ├── ResolveError      5  the profile's author: upstream answered, but has not what the profile asks for
    ├── FetchError        6  the network or the upstream: it did not deliver; run again
    ├── BundleError       7  the carrier: this file is no bundle, or is of a format not known here
    ├── IntegrityError    8  the carrier: bytes are missing, or differ from the digest promised for them
    ├── SiteError         9  the site's operator: a service, a port, a path or a permission on the admin host
    ├── SpaceError       10  whoever runs bundler: a file system has not the room
    ├── BusyError        11  nobody: another bundler is at work on the same place; wait
    ├── TrustError       12  whoever signs: nobody who is trusted here vouches for the bundle, or for something in it
    └── IncompleteError  13  the profile's author: the bundle is whole, and lacks what its own content needs

0 is success, 1 a bug in bundler (with its traceback), 2 wrong usage (click's), 130 an interrupt (Ctrl-C).
"""

from __future__ import annotations

from typing import ClassVar


class BundlerError(Exception):
    """An end that someone can act upon: `message` says what is wrong, `hint` what to do.

    What takes several lines has each of them in `lines`: a newline within one is of the words that it quotes, and makes
    no line of its own where it is shown.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, *lines: str, hint: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.hint = hint

    @property
    def message(self) -> str:
        return "\n".join(self.lines)


class ProfileError(BundlerError):
    exit_code = 3


class ConfigError(BundlerError):
    exit_code = 4


class ResolveError(BundlerError):
    exit_code = 5


class FetchError(BundlerError):
    """`status` is the HTTP status of the upstream's answer, where that was the end."""

    exit_code = 6

    def __init__(self, *lines: str, hint: str, status: int | None = None) -> None:
        super().__init__(*lines, hint=hint)
        self.status = status

    @property
    def absent(self) -> bool:
        """Whether the server said that there is no such file."""
        return self.status in (404, 410)


class BundleError(BundlerError):
    exit_code = 7


class IntegrityError(BundlerError):
    exit_code = 8


class SiteError(BundlerError):
    exit_code = 9


class SpaceError(BundlerError):
    exit_code = 10


class BusyError(BundlerError):
    exit_code = 11


class TrustError(BundlerError):
    exit_code = 12


class IncompleteError(BundlerError):
    exit_code = 13
