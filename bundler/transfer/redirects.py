"""Where an upstream may send bundler on to: not to this machine, nor to what only this machine can reach."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from bundler.errors import FetchError
from bundler.transfer.addresses import literally_inward


class Hosts:
    """Which hosts were found to be inward, by the address that each was first connected to. Of several threads."""

    def __init__(self) -> None:
        self._found: dict[str, str | None] = {}

    def connected(self, host: str, what: str | None) -> None:
        """What `host` is counts once: another answer of a name server's changes nothing."""
        self._found.setdefault(host, what)

    def inward(self, host: str) -> bool:
        """Whether `host` is at an inward address: a literal one, or one that it was connected to."""
        return bool(literally_inward(host) or self._found.get(host))


@dataclass(frozen=True, slots=True)
class Lead:
    """A request that an upstream's answer leads to, by a redirect, a list of mirrors, or any other document: `origin`
    is the URL that was asked for at first, `sender` that of the answer."""

    origin: str
    sender: str
    target: str

    def check(self, hosts: Hosts) -> None:
        """Raises FetchError for a URL that no upstream may lead to, as far as the URL alone tells."""
        sender = urlsplit(self.sender)
        try:
            target = urlsplit(self.target)
            host, _ = target.hostname or "", target.port
        except ValueError:
            raise self.refused("which is no URL") from None
        if target.scheme not in ("http", "https"):
            raise self.refused("which is neither http nor https")
        if sender.scheme == "https" and target.scheme == "http":
            raise self.refused("which is not encrypted")
        if "@" in target.netloc:
            raise self.refused("which has a user in it")
        if what := literally_inward(host):
            self.check_inward(what, hosts)

    def check_inward(self, what: str, hosts: Hosts) -> None:
        """Raises FetchError: the address is `what`, and may be led to only by what is such an address itself."""
        if not hosts.inward(urlsplit(self.origin).hostname or ""):
            raise self.refused(f"which is {what}")

    def refused(self, why: str) -> FetchError:
        return FetchError(
            f"{without_secrets(self.sender)}: it leads to {without_secrets(self.target)}, {why}",
            hint="no upstream may send bundler there; if it is meant, name that address in the profile, or under "
            "`mirrors` in bundler's config",
        )


def refused_inward(url: str, what: str) -> FetchError:
    """The error for a name that the profile or the lock has, and that turns out to be at an inward address."""
    return FetchError(
        f"{without_secrets(url)}: its host is {what}",
        hint="whoever answers for that name could send bundler to any service of this machine; if it is meant, name "
        "the address itself, or the URL under `mirrors` in bundler's config",
    )


def without_secrets(url: str) -> str:
    """A URL without user and query, which may hold a signature."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition("?")[0].rpartition("@")[2]
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
