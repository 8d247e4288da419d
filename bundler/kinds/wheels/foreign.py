"""Runs pip, or a program built on it, as if by another Python: `python foreign.py ENVIRONMENT.json MODULE ARGUMENT…`.

pip reads markers, wheel tags and Requires-Python off the interpreter it runs under; its `--python-version` leaves
markers out (https://github.com/pypa/pip/issues/11198), and pip-tools hands none of it to its finder. Here these three
answers come from a file, for this process alone: the build environments of source distributions are pip's own child
processes and stay true to the interpreter that runs them. Nothing of bundler is imported: it is run by its path.

Two more things are done to pip here, for neither changes what it decides: questions to the index are asked ahead, and
what it chose, and from which pages, is written down.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import runpy
import sys
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.parser import BytesHeaderParser
from pathlib import Path
from threading import Lock
from typing import Any

from pip._internal.distributions.sdist import SourceDistribution
from pip._internal.index.collector import LinkCollector
from pip._internal.index.package_finder import PackageFinder
from pip._internal.models.link import Link
from pip._internal.models.target_python import TargetPython
from pip._internal.network.download import Downloader
from pip._internal.network.session import PipSession
from pip._internal.operations import prepare
from pip._internal.resolution.resolvelib.candidates import RequiresPythonCandidate
from pip._internal.resolution.resolvelib.resolver import Resolver
from pip._internal.utils.direct_url_helpers import direct_url_from_link
from pip._vendor.packaging import markers
from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.tags import Tag
from pip._vendor.packaging.utils import canonicalize_name

_AT_ONCE = 16


def pose_as(environment: dict[str, Any]) -> None:
    """Make pip see `environment`: {"version": [3, 12, 0], "markers": {name: value}, "tags": ["cp312-cp312-…", …]}."""
    version = tuple(environment["version"])
    tags = [Tag(*tag.split("-")) for tag in environment["tags"]]

    target_of: Callable[..., None] = TargetPython.__init__
    require_python: Callable[..., None] = RequiresPythonCandidate.__init__

    def be_target(self: TargetPython, *_: object, **__: object) -> None:
        target_of(self, py_version_info=version)
        self._valid_tags = tags

    def be_required(self: RequiresPythonCandidate, *_: object) -> None:
        require_python(self, version)

    _replace(TargetPython, "__init__", be_target)
    _replace(RequiresPythonCandidate, "__init__", be_required)
    _replace(markers, "default_environment", lambda: dict(environment["markers"]))


def build_nothing() -> None:
    """Read the metadata of a source distribution off its PKG-INFO, so that no code of it runs.

    That is less than its build would say (old ones leave out their requirements), and enough to name it.
    """

    def read(self: SourceDistribution, *_: object, **__: object) -> None:
        source = Path(self.req.unpacked_source_directory)
        folder = source / f"{self.req.name}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_bytes((source / "PKG-INFO").read_bytes())
        self.req.metadata_directory = str(folder)

    _replace(SourceDistribution, "prepare_distribution_metadata", read)


def tell_choices(file: Path) -> None:
    """Write to `file` what pip chose for each package: the entries of its installation report, and the size in bytes.

    The size is what the index says of the file (PEP 700), or null. pip-tools has pip resolve once or more: the last
    time counts, which is the one that its lock is of.
    """
    sizes: dict[str, int] = {}
    resolve: Callable[..., Any] = Resolver.resolve
    from_json = Link.from_json.__func__  # type: ignore[attr-defined]

    def note_size(cls: type[Link], file_data: dict[str, Any], page_url: str) -> Link | None:
        link: Link | None = from_json(cls, file_data, page_url)
        if link is not None and isinstance(size := file_data.get("size"), int) and size > 0:
            sizes[link.url_without_fragment] = size
        return link

    def told(self: Resolver, *given: Any, **named: Any) -> Any:
        found = resolve(self, *given, **named)
        entries = [
            {
                "download_info": (chosen.download_info or direct_url_from_link(chosen.link)).to_dict(),
                "metadata": chosen.get_dist().metadata_dict,
                "size": sizes.get(chosen.link.url_without_fragment),
            }
            for chosen in found.requirements_to_install
        ]
        file.write_text(json.dumps(entries), encoding="utf-8")
        return found

    _replace(Link, "from_json", classmethod(note_size))
    _replace(Resolver, "resolve", told)


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
    digest of, or the build of a source distribution.
    """

    def __init__(self) -> None:
        self.pages: dict[str, str | None] = {}
        self.doubt = False
        prepare_metadata: Callable[..., None] = SourceDistribution.prepare_distribution_metadata

        def prepared(source: SourceDistribution, *given: Any, **named: Any) -> None:
            self.doubt = True
            prepare_metadata(source, *given, **named)

        _replace(SourceDistribution, "prepare_distribution_metadata", prepared)

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
        page = once(location.url, lambda: read_page(self, location, **named))
        heard.pages[location.url] = hashlib.sha256(page.content).hexdigest() if page else None
        return page

    def metadata_once(link: Link, *given: Any, **named: Any) -> Any:
        heard.doubt |= not link.has_hash
        if not link.filename.endswith(".metadata"):
            return read_metadata(link, *given, **named)
        return once(link.url, lambda: read_metadata(link, *given, **named))

    def resolved(self: Resolver, root_reqs: Any, *given: Any, **named: Any) -> Any:
        ahead = Ahead(self.factory._finder, self.factory.preparer._download)
        for root in root_reqs:
            if root.req is not None and not root.constraint:
                ahead.follow(Requirement(str(root.req)))
        try:
            return resolve(self, root_reqs, *given, **named)
        finally:
            ahead.stop()

    _replace(LinkCollector, "fetch_response", page_once)
    _replace(prepare, "get_http_url", metadata_once)
    _replace(Resolver, "resolve", resolved)


def cache_nothing() -> None:
    """Let pip keep no answers on disk: each is asked for once, and writing them takes longer than the asking."""
    start: Callable[..., None] = PipSession.__init__

    def without(self: PipSession, *given: Any, **named: Any) -> None:
        start(self, *given, **{**named, "cache": None})

    _replace(PipSession, "__init__", without)


def trust_index_for_hashes(heard: Heard) -> None:
    """Let pip-tools take hashes from the pages that pip reads: no need of pypi.org, nor to download every file.

    A file whose page states no sha256 is still downloaded and hashed.
    """
    from piptools.repositories.pypi import PyPIRepository

    downloaded: Callable[[PyPIRepository, Link], str] = PyPIRepository._get_file_hash

    def stated(self: PyPIRepository, link: Link) -> str:
        if link.hash_name == "sha256":
            return f"sha256:{link.hash}"
        heard.doubt = True
        return downloaded(self, link)

    _replace(PyPIRepository, "_get_file_hash", stated)
    _replace(PyPIRepository, "_get_hashes_from_pypi", lambda *_: {})


def _replace(owner: Any, name: str, stand_in: object) -> None:
    """Set a name that must exist: an absent one means that this release of pip works in another way."""
    getattr(owner, name)
    setattr(owner, name, stand_in)


if __name__ == "__main__":
    _, file, module, *arguments = sys.argv
    environment = json.loads(Path(file).read_text(encoding="utf-8"))
    pose_as(environment)
    if not environment["builds"]:
        build_nothing()
    cache_nothing()
    if module == "piptools":
        heard = Heard()
        trust_index_for_hashes(heard)
        fetch_ahead(heard)
        tell_choices(Path("choices.json").absolute())
        atexit.register(heard.tell, Path("heard.json").absolute())
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
