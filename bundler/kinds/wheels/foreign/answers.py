"""What pip and pip-tools ask an index: ahead of time, once, and noted down, with what pip chose in the end."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.parser import BytesHeaderParser
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from pip._internal.index.collector import LinkCollector
from pip._internal.index.package_finder import PackageFinder
from pip._internal.models.link import Link
from pip._internal.network.download import Downloader
from pip._internal.operations import prepare
from pip._internal.resolution.resolvelib.resolver import Resolver
from pip._internal.utils.direct_url_helpers import direct_url_from_link
from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name
from piptools.repositories.pypi import PyPIRepository

if TYPE_CHECKING:
    from bundler.kinds.wheels.foreign import bounds
else:  # this folder is run by its path
    import bounds

_AT_ONCE = 16
_KEPT = {
    *("name", "version", "metadata_version", "requires_python", "summary", "requires_dist"),
    *("license", "license_expression", "classifier"),
}


def tell_choices(file: Path) -> None:
    """Write to `file` what pip chose for each package: the file, with what the index says of it, and its metadata.

    Nothing of it is checked here (`chosen.py` does that). The size is what the index says (PEP 700), or null. pip-tools
    has pip resolve once or more: the last time counts, which is the one that its lock is of.
    """
    sizes: dict[str, Any] = {}
    resolve: Callable[..., Any] = Resolver.resolve
    from_json = Link.from_json.__func__  # type: ignore[attr-defined]

    def note_size(cls: type[Link], file_data: dict[str, Any], page_url: str) -> Link | None:
        link: Link | None = from_json(cls, file_data, page_url)
        if link is not None and (size := file_data.get("size")) is not None:
            sizes[link.url_without_fragment] = size
        return link

    def told(self: Resolver, *given: Any, **named: Any) -> Any:
        found = resolve(self, *given, **named)
        entries = [entry(chosen) for chosen in found.requirements_to_install]
        file.write_text(json.dumps(entries), encoding="utf-8")
        return found

    def entry(chosen: Any) -> dict[str, Any]:
        info = (chosen.download_info or direct_url_from_link(chosen.link)).to_dict()
        metadata = chosen.get_dist().metadata_dict
        return {
            "url": info["url"],
            "file_name": chosen.link.filename,
            "sha256": info.get("archive_info", {}).get("hashes", {}).get("sha256"),
            "size": sizes.get(chosen.link.url_without_fragment),
            "name": metadata["name"],
            "version": metadata["version"],
            "metadata": {key: metadata[key] for key in _KEPT & metadata.keys()},
        }

    bounds.replace(Link, "from_json", classmethod(note_size))
    bounds.replace(Resolver, "resolve", told)


class Ahead:
    """Asks for pages and metadata before pip comes to them, several at once; pip by itself waits for each in turn.

    It follows what the requirements most likely lead to; pip decides as ever, and finds here what was guessed right.
    What cannot be had is passed over in silence: pip will ask for it again, if it needs it at all.
    """

    def __init__(self, finder: PackageFinder, download: Downloader) -> None:
        self._finder, self._download = finder, download
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ahead")
        self._followed: set[str] = set()

    def follow(self, requirement: Requirement) -> None:
        name = canonicalize_name(requirement.name)
        if name not in self._followed and not requirement.url:
            self._followed.add(name)
            with suppress(RuntimeError):  # pip has finished
                self._threads.submit(self._read, name, requirement)

    def stop(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _read(self, name: str, requirement: Requirement) -> None:
        with suppress(Exception):
            best = self._finder.find_best_candidate(name, requirement.specifier).best_candidate
            link = best.link.metadata_link() if best else None
            if link is None:
                return
            file = prepare.get_http_url(link, self._download, hashes=link.as_hashes())
            headers = BytesHeaderParser().parsebytes(Path(file.path).read_bytes(), headersonly=True)
            for text in headers.get_all("Requires-Dist", []):
                needed = Requirement(text)
                if any(
                    needed.marker is None or needed.marker.evaluate({"extra": extra})
                    for extra in ("", *requirement.extras)
                ):
                    self.follow(needed)


class Heard:
    """The pages that were read, as what was in them (sha256; None: there is no such page), by URL.

    `doubt`: something else had a say, so that the pages alone do not tell what comes out: bytes that no page has the
    digest of.
    """

    def __init__(self) -> None:
        self.pages: dict[str, str | None] = {}
        self.doubt = False

    def tell(self, file: Path) -> None:
        file.write_text(json.dumps({"pages": self.pages, "doubt": self.doubt}), encoding="utf-8")


def fetch_ahead(heard: Heard) -> None:
    """Have an `Ahead` run beside pip's resolver, and let both share what either has fetched; `heard` is told of it."""
    resolve: Callable[..., Any] = Resolver.resolve
    read_page: Callable[..., Any] = LinkCollector.fetch_response
    read_metadata: Callable[..., Any] = prepare.get_http_url
    locks: defaultdict[str, Lock] = defaultdict(Lock)
    fetched: dict[str, Any] = {}

    def once(url: str, fetch: Callable[[], Any]) -> Any:
        with locks[url]:
            if url not in fetched:
                fetched[url] = fetch()
            return fetched[url]

    # pip-tools reads each page again for the hashes of all files.
    def page_once(self: LinkCollector, location: Link, **named: Any) -> Any:
        if location.url not in heard.pages and len(heard.pages) >= bounds.PROJECTS_LIMIT:
            raise bounds.RefusedError(
                "fetch", f"{location.url}: one project more than the {bounds.PROJECTS_LIMIT} that a lock may lead to"
            )
        page = once(location.url, lambda: read_page(self, location, **named))
        heard.pages[location.url] = hashlib.sha256(page.content).hexdigest() if page else None
        return page

    def metadata_once(link: Link, *given: Any, **named: Any) -> Any:
        heard.doubt |= not link.has_hash
        if not link.filename.endswith(".metadata"):
            return read_metadata(link, *given, **named)
        bounds.asked.limit = bounds.METADATA_LIMIT
        try:
            return once(link.url, lambda: read_metadata(link, *given, **named))
        finally:
            bounds.asked.limit = bounds.FILE_LIMIT

    def resolved(self: Resolver, root_reqs: Any, *given: Any, **named: Any) -> Any:
        ahead = Ahead(self.factory._finder, self.factory.preparer._download)
        for root in root_reqs:
            if root.req is not None and not root.constraint:
                ahead.follow(Requirement(str(root.req)))
        try:
            return resolve(self, root_reqs, *given, **named)
        finally:
            ahead.stop()

    bounds.replace(LinkCollector, "fetch_response", page_once)
    bounds.replace(prepare, "get_http_url", metadata_once)
    bounds.replace(Resolver, "resolve", resolved)


def trust_index_for_hashes(heard: Heard) -> None:
    """Let pip-tools take hashes from the pages that pip reads: no need of pypi.org, nor to download every file.

    A file whose page states no sha256 is still downloaded and hashed.
    """
    downloaded: Callable[[PyPIRepository, Link], str] = PyPIRepository._get_file_hash

    def stated(self: PyPIRepository, link: Link) -> str:
        if link.hash_name == "sha256":
            return f"sha256:{link.hash}"
        heard.doubt = True
        return downloaded(self, link)

    bounds.replace(PyPIRepository, "_get_file_hash", stated)
    bounds.replace(PyPIRepository, "_get_hashes_from_pypi", lambda *_: {})
