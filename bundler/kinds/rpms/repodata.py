"""An rpm-md repository at its upstream: where it is, and what its repomd.xml lists.

Sources: the formats as createrepo_c writes them (https://rpm-software-management.github.io/createrepo_c/), librepo's
handling of mirrorlists and metalinks, and Metalink 3.0 with the alternates of MirrorManager
(https://github.com/fedora-infra/mirrormanager2). All of it comes from outside: every href is checked before use.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urljoin, urlsplit
from xml.etree import ElementTree as ET

from bundler.errors import FetchError, IntegrityError, ResolveError
from bundler.model.contents import check_path

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream

log = logging.getLogger(__name__)

_REPOMD_LIMIT = 4 * 1024 * 1024
_LIST_LIMIT = 4 * 1024 * 1024
_MIRRORS_TRIED = 8
_MIRRORS_LISTED = 1000  # whose addresses are looked at
_DIGITS = 18

# repomd.xml's names of checksums, to hashlib's. `sha` is what yum of old wrote for sha1.
_HASHES = {"sha": "sha1"} | {name: name for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")}

ASK_UPSTREAM = "ask who runs the repository, or name another mirror of it"


@dataclass(frozen=True, slots=True)
class Checksum:
    """Hex digits, and the hashlib name of the algorithm that made them."""

    algorithm: str
    value: str

    @classmethod
    def read(cls, algorithm: str | None, value: str | None) -> Checksum:
        """Raises ValueError for an unknown algorithm, or a value that is not of its length."""
        name = _HASHES.get(algorithm or "")
        digits = (value or "").strip().lower()
        if name is None:
            raise ValueError(f"the checksum type {algorithm!r} is not known")
        if len(digits) != 2 * hashlib.new(name, usedforsecurity=False).digest_size or not _is_hex(digits):
            raise ValueError(f"{digits[:140]!r} is no {name} checksum")
        return cls(name, digits)

    @property
    def sha256(self) -> str | None:
        return self.value if self.algorithm == "sha256" else None

    def check(self, file: Path, what: str) -> None:
        """Raises IntegrityError when `file` has another checksum."""
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, lambda: hashlib.new(self.algorithm, usedforsecurity=False)).hexdigest()
        if found != self.value:
            raise IntegrityError(
                f"{what}: {self.algorithm} is {found}, its repository promises {self.value}",
                hint="the repository may be changing just now: run it again later; if it stays, " + ASK_UPSTREAM,
            )


def _is_hex(text: str) -> bool:
    return all(digit in "0123456789abcdef" for digit in text)


@dataclass(frozen=True, slots=True)
class Record:
    """One `<data>` of a repomd.xml: a metadata file. `path` is relative to the repository's root.

    `size` is in bytes, `open_size` that of what is in it, decompressed; both as far as they are stated. `elsewhere`:
    xml:base puts the file outside that root.
    """

    type: str
    path: str
    url: str
    checksum: Checksum
    size: int | None
    open_size: int | None
    timestamp: int
    elsewhere: bool


@dataclass(frozen=True, slots=True)
class Repomd:
    """A repository's table of contents, and the root URL (with a trailing slash) it was read from."""

    root: str
    data: bytes
    revision: str
    records: Mapping[str, Record]

    @property
    def timestamp(self) -> int:
        """When the newest of its metadata was made, in seconds since 1970: to yum and dnf, the repository's age."""
        return max((record.timestamp for record in self.records.values()), default=0)


# Addresses


def file_path(href: str) -> str:
    """The path, relative to the repository's root, at which a web server finds `href`.

    `./` and `//` vanish on the way there, and so they do here. Raises ValueError for an absolute path or URL, for `..`,
    and for control characters and all else that has no place in a bundle.
    """
    path = unquote(href, errors="strict")
    if not path or path.startswith("/") or "://" in path:
        raise ValueError(f"{href[:80]!r} is no relative path")
    return check_path("/".join(part for part in path.split("/") if part not in ("", ".")))


def href_url(root: str, base: str | None, href: str) -> str:
    """The URL of `href`: relative to `base` (xml:base, itself relative to the root) or to `root`.

    Raises ValueError when that is not http or https.
    """
    place = urljoin(root, quote(base, safe="/%:@+~!$&'(),;=[]*?")) if base else root
    if urlsplit(place).scheme not in ("http", "https"):
        raise ValueError(f"xml:base {str(base)[:80]!r} is no http or https URL")
    if not place.endswith("/"):
        place += "/"
    return place + quote(href, safe="/%:@+~!$&'(),;=")


def _root_of(url: str) -> str:
    return url if url.endswith("/") else url + "/"


# Finding the repository


def open_repository(
    upstream: Upstream, what: str, *, url: str | None, metalink: str | None, mirrorlist: str | None
) -> Repomd:
    """Read the repomd.xml of the repository at `url`, or of the first mirror in a list that delivers it whole.

    `what` names the repository in messages. Raises ResolveError when it is no repository, FetchError when it cannot be
    reached.
    """
    if url is not None:
        return _read_repomd(upstream, what, _root_of(url), None)
    address = metalink or str(mirrorlist)
    listed = upstream.read(address, limit=_LIST_LIMIT)
    roots, promised = parse_metalink(listed, what) if metalink else (parse_mirrorlist(listed, what), None)
    return _first_that_works(
        roots, lambda root: upstream.led(address, root), lambda root: _read_repomd(upstream, what, root, promised), what
    )


def _first_that_works(
    roots: Sequence[str], check: Callable[[str], None], attempt: Callable[[str], Repomd], what: str
) -> Repomd:
    failure: FetchError | ResolveError | IntegrityError | None = None
    tried = 0
    for root in roots[:_MIRRORS_LISTED]:
        try:
            check(root)
            tried += 1
            if tried > _MIRRORS_TRIED:
                break
            return attempt(root)
        except (FetchError, ResolveError, IntegrityError) as error:
            log.warning("%s: mirror %s left aside: %s", what, root, error.message)
            failure = error
    raise failure or ResolveError(
        f"{what}: its list of mirrors names no http or https mirror", hint="give the repository's `url` instead"
    )


def parse_mirrorlist(data: bytes, what: str) -> tuple[str, ...]:
    """The root URLs of a mirrorlist, in its order: one a line, `#` starts a comment."""
    lines = (line.strip() for line in data.decode("utf-8", "replace").splitlines())
    roots = tuple(_root_of(line) for line in lines if line.startswith(("http://", "https://")) and " " not in line)
    if not roots:
        raise ResolveError(f"{what}: its mirrorlist names no mirror", hint="check the address, $releasever included")
    return roots


def parse_metalink(data: bytes, what: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """The root URLs of a metalink for repomd.xml, best first, and the sha256 that repomd.xml may have.

    Older versions that mirrors may still hold (`mm0:alternates`) count as good, as librepo has it.
    """
    document = _parse_xml(data, f"{what}: its metalink")
    file = next((each for each in document.iter() if _tag(each) == "file" and each.get("name") == "repomd.xml"), None)
    if file is None:
        raise ResolveError(f"{what}: its metalink is not one of a repomd.xml", hint="check the address in the profile")
    ranked: list[tuple[int, str]] = []
    for element in file.iter():
        address = (element.text or "").strip()
        if _tag(element) == "url" and address.startswith(("http://", "https://")):
            preference = element.get("preference", "0")
            root = address.removesuffix("repodata/repomd.xml")
            if root != address:
                ranked.append((-int(preference) if preference.isdecimal() else 0, root))
    promised = frozenset(
        (element.text or "").strip().lower()
        for element in file.iter()
        if _tag(element) == "hash" and element.get("type") == "sha256"
    )
    return tuple(root for _, root in sorted(ranked, key=lambda each: each[0])), promised


def _read_repomd(upstream: Upstream, what: str, root: str, promised: frozenset[str] | None) -> Repomd:
    data = upstream.read(root + "repodata/repomd.xml", limit=_REPOMD_LIMIT)
    if promised and (found := hashlib.sha256(data).hexdigest()) not in promised:
        raise IntegrityError(
            f"{what}: repodata/repomd.xml from {root} has sha256 {found}, which its metalink does not list",
            hint="the mirror is behind, or altered: run it again later, or give another mirror's `url`",
        )
    return parse_repomd(data, root, what)


def parse_repomd(data: bytes, root: str, what: str) -> Repomd:
    """Read repomd.xml. Raises ResolveError when it is none, or lists what cannot be."""
    document = _parse_xml(data, f"{what}: {root}repodata/repomd.xml")
    if _tag(document) != "repomd":
        raise ResolveError(
            f"{what}: {root}repodata/repomd.xml is no repomd.xml", hint="check the address in the profile"
        )
    records: dict[str, Record] = {}
    for element in document:
        if _tag(element) == "data":
            record = _record(element, root, what)
            records[record.type] = record
    if "primary" not in records:
        raise ResolveError(f"{what}: {root}repodata/repomd.xml lists no primary metadata", hint=ASK_UPSTREAM)
    revision = next((each.text or "" for each in document if _tag(each) == "revision"), "").strip()
    return Repomd(root, data, revision, records)


def _record(element: ET.Element, root: str, what: str) -> Record:
    parts = {_tag(part): part for part in element}
    type_ = element.get("type", "")
    location = parts.get("location", ET.Element("location"))
    base = location.get("{http://www.w3.org/XML/1998/namespace}base")
    href = location.get("href", "")
    checksum = parts.get("checksum", ET.Element("checksum"))
    timestamp = _text(parts.get("timestamp")).split(".")[0][:_DIGITS]  # yum of old wrote fractions
    try:
        return Record(
            type=type_,
            path=file_path(href),
            url=href_url(root, base, href),
            checksum=Checksum.read(checksum.get("type"), checksum.text),
            size=_number(parts.get("size")),
            open_size=_number(parts.get("open-size")),
            timestamp=int(timestamp) if timestamp.isdecimal() else 0,
            elsewhere=base is not None,
        )
    except ValueError as error:
        raise ResolveError(f"{what}: repomd.xml, record {type_[:40]!r}: {error}", hint=ASK_UPSTREAM) from None


def _text(element: ET.Element | None) -> str:
    return (element.text or "").strip() if element is not None else ""


def _number(element: ET.Element | None) -> int | None:
    text = _text(element)
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else None


def _tag(element: ET.Element) -> str:
    """The tag without its namespace: old tools disagree about those."""
    return element.tag.rpartition("}")[2]


def _parse_xml(data: bytes, what: str) -> ET.Element:
    try:
        return ET.fromstring(data)  # noqa: S314 - expat from 2.4.1 on limits what entities may grow to
    except ET.ParseError as error:
        raise ResolveError(
            f"{what} is not XML ({error})", hint="check the address in the profile: it may lead to a web page"
        ) from None
