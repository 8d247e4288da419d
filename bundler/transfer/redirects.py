"""Where an upstream may send bundler on to: not to this machine, nor to what only this machine can reach."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from bundler.errors import FetchError
from bundler.transfer.addresses import inward, literally_inward


@dataclass(frozen=True, slots=True)
class Lead:
    """A request that an upstream's answer leads to: `origin` is the URL that was asked for at first, `sender` that of
    the answer."""

    origin: str
    sender: str
    target: str

    def check(self) -> None:
        """Raises FetchError for a URL that no upstream may lead to, as far as the URL alone tells."""
        sender, target = urlsplit(self.sender), urlsplit(self.target)
        if sender.scheme == "https" and target.scheme == "http":
            raise self.refused("which is not encrypted")
        if "@" in target.netloc:
            raise self.refused("which has a user in it")
        if what := literally_inward(target.hostname or ""):
            self.check_inward(what)

    def check_inward(self, what: str) -> None:
        """Raises FetchError: the address is `what`, and may be led to only by what is such an address itself."""
        if not _is_inward(urlsplit(self.origin).hostname or ""):
            raise self.refused(f"which is {what}")

    def refused(self, why: str) -> FetchError:
        return FetchError(
            f"{without_secrets(self.sender)}: it leads to {without_secrets(self.target)}, {why}",
            hint="no upstream may send bundler there; if it is meant, name that address in the profile, or under "
            "`mirrors` in bundler's config",
        )


def _is_inward(host: str) -> bool:
    """Whether a host is at such addresses alone."""
    try:
        return all(inward(str(found[4][0])) for found in socket.getaddrinfo(host, None))
    except (OSError, UnicodeError):
        return False


def without_secrets(url: str) -> str:
    """A URL without user and query, which may hold a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
