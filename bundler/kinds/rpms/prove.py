"""Whether packages can be installed from the bundle alone: as a node's dnf, their signatures checked and all solved."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.errors import BundleError, ResolveError, TrustError
from bundler.kinds.rpms.attributes import (
    AssumedMetadata,
    BootstrapAttributes,
    BootstrapRepository,
    PackageAttributes,
    RepositoryAttributes,
    RequestAttributes,
)
from bundler.kinds.rpms.keys import takes_sha1
from bundler.kinds.rpms.metadata import Chosen, RepoMetadata
from bundler.kinds.rpms.openpgp import Keys, SignatureError
from bundler.kinds.rpms.records import COMPS
from bundler.kinds.rpms.repodata import file_path, parse_repomd
from bundler.kinds.rpms.signed import check_package
from bundler.kinds.rpms.solve import closure
from bundler.limits import Limit, LimitExceeded
from bundler.model.items import Item, Object, objects_of

if TYPE_CHECKING:
    from bundler.bundle.content import Content

log = logging.getLogger(__name__)

_AT_ONCE = 4
_WHOLE = Limit("a repomd.xml or a key in a bundle", 4 << 20)
_SHOWN = 10
# What a URL starts with that nobody will ask: paths alone count.
_ROOT = "https://bundle.invalid/"


def prove(items: tuple[Item, ...], content: Content) -> Iterator[str]:
    """Each target's packages resolve in its repositories, and what they resolve to is there, keys too.

    Raises TrustError for packages that nodes would refuse as nobody's: those of a repository with `gpgcheck` are
    checked with its keys. BundleError when an item does not hold together.
    """
    with tempfile.TemporaryDirectory(prefix="bundler-prove-") as scratch:
        bundle = _Bundle({obj.path: obj for obj in objects_of(items)}, content, Path(scratch))
        repos = RepositoryAttributes.among(items)
        for item, repo in repos:
            lost = [key for key in repo.keys if key not in bundle.objects]
            yield from (f"rpms {item.name} for {repo.target}: its key {key} is not in the bundle" for key in lost)
            if repo.gpgcheck and not lost:
                _check_signatures(repo, items, bundle)
        requests = [request for _, request in RequestAttributes.among(items)]
        for item, first in BootstrapAttributes.among(items):
            yield from _bootstrap_problems(item, first, [repo for _, repo in repos], requests, bundle)
        for request in requests:
            try:
                chosen = _solve(request, [repo for _, repo in repos if repo.target == request.target], bundle)
            except ResolveError as error:
                yield f"rpms for {request.target}: {error.message}"
                continue
            for each, path in chosen.items():
                held = bundle.objects.get(path)
                if held is None or (each.checksum_type == "sha256" and each.checksum != held.sha256):
                    yield f"rpms for {request.target}: {each.nevra} is needed, and {path} is not in the bundle"


def _bootstrap_problems(
    item: Item,
    first: BootstrapAttributes,
    repos: Sequence[RepositoryAttributes],
    requests: Sequence[RequestAttributes],
    bundle: _Bundle,
) -> Iterator[str]:
    """What keeps install.sh from installing its packages, or makes it trust others than nodes do."""
    own = [repo for repo in repos if repo.target == first.target]
    if first.repositories != tuple(BootstrapRepository.of(repo) for repo in own):
        yield f"rpms for {first.target}: install.sh would use other repositories than nodes"
        return
    asked = next((request for request in requests if request.target == first.target), None)
    if asked is None:
        yield f"rpms for {first.target}: install.sh would install packages that nobody asked for"
        return
    try:
        chosen = _solve(asked.model_copy(update={"packages": first.names, "modules": ()}), own, bundle)
    except ResolveError as error:
        yield f"rpms for {first.target}: for install.sh, {error.message}"
        return
    lost = sorted(set(chosen.values()) - {obj.path for obj in item.objects})
    yield from (f"rpms for {first.target}: install.sh needs {path}, and its item does not list it" for path in lost)


def _check_signatures(repo: RepositoryAttributes, items: Sequence[Item], bundle: _Bundle) -> None:
    """What a delta leaves out was checked when it was first carried."""
    keys = Keys((bundle.read(key) for key in repo.keys), sha1=takes_sha1(repo.target))
    packages = [
        obj
        for item, package in PackageAttributes.among(items)
        if (package.repo, package.target) == (repo.repo, str(repo.target))
        for obj in item.objects
        if bundle.content.carries(obj)
    ]
    log.info("rpms: checking the signatures of %d packages of %s for %s", len(packages), repo.repo, repo.target)

    def problem(obj: Object) -> str | None:
        try:
            check_package(bundle.content.stream(obj), keys)
        except SignatureError as error:
            return f"{obj.path}: its signature {error}"
        return None

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="signatures") as pool:
        problems = [found for found in pool.map(problem, packages) if found]
    if problems:
        more = [f"  and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        lines = [f"repository {repo.repo} for {repo.target}:", *(f"  {each}" for each in problems[:_SHOWN]), *more]
        raise TrustError(
            *(lines if len(problems) > 1 else [f"{lines[0]} {problems[0]}"]),
            hint="name the key that signs them in the repository's `gpgkey` once you trust it; or say `gpgcheck: "
            "false`, and nodes will install its packages unchecked",
        )


class _Bundle:
    """The objects of this kind by their path; metadata is put into `scratch`, where libsolv can read it."""

    def __init__(self, objects: Mapping[str, Object], content: Content, scratch: Path) -> None:
        self.objects, self.content = objects, content
        self._scratch = scratch

    def read(self, path: str) -> bytes:
        obj = self._object(path)
        try:
            _WHOLE.check(obj.size)
        except LimitExceeded as error:
            raise error.of(BundleError, path) from None
        return self.content.read(obj)

    def file(self, path: str) -> Path:
        obj = self._object(path)
        file = self._scratch / obj.sha256
        if not file.exists():
            with file.open("wb") as stream:
                stream.writelines(self.content.stream(obj))
        return file

    def _object(self, path: str) -> Object:
        if path not in self.objects:
            raise ResolveError(f"{path} is not in the bundle", hint="build it again")
        return self.objects[path]


def _solve(request: RequestAttributes, repos: list[RepositoryAttributes], bundle: _Bundle) -> dict[Chosen, str]:
    """The closure, each package with its path in the bundle. Raises ResolveError.

    BundleError for one that the metadata has elsewhere: nodes would fetch it there.
    """
    folders = {repo.repo: repo.path for repo in repos}
    chosen = closure(
        [_metadata(repo, bundle) for repo in repos],
        packages=request.packages,
        modules=request.modules,
        arch=request.target.arch,
        weak_deps=request.weak_deps,
        assume_installed=_assumed(request.assumed, bundle) if request.assumed else None,
    )
    if led := next((each for each in chosen if each.base is not None), None):
        raise _elsewhere(f"{led.nevra} of repository {led.repo}")
    return {each: f"{folders[each.repo]}/{_located(each)}" for each in chosen}


def _metadata(repo: RepositoryAttributes, bundle: _Bundle) -> RepoMetadata:
    what = f"repository {repo.repo}"
    repomd = parse_repomd(bundle.read(f"{repo.path}/repodata/repomd.xml"), f"{_ROOT}{repo.path}/", what)

    def file(*types: str) -> Path | None:
        record = next((repomd.records[type_] for type_ in types if type_ in repomd.records), None)
        if record and record.elsewhere:
            raise _elsewhere(f"{record.path} of {what}")
        # A mirror goes without what upstream lists and lost.
        path = f"{repo.path}/{record.path}" if record else None
        return bundle.file(path) if path and (path in bundle.objects or types == ("primary",)) else None

    primary = file("primary")
    assert primary is not None, "parse_repomd sees to it"
    return RepoMetadata(
        id=repo.repo,
        primary=primary,
        filelists=file("filelists"),
        comps=file(*COMPS),
        modules=file("modules"),
        priority=repo.priority,
        module_hotfixes=repo.module_hotfixes,
    )


def _elsewhere(what: str) -> BundleError:
    return BundleError(
        f"rpms: {what} is to be fetched from elsewhere than the bundle (xml:base)",
        hint="the bundle was not made by bundler; ask where it comes from",
    )


def _assumed(assumed: AssumedMetadata, bundle: _Bundle) -> RepoMetadata:
    filelists = bundle.file(assumed.filelists) if assumed.filelists else None
    return RepoMetadata("assumed", bundle.file(assumed.primary), filelists)


def _located(chosen: Chosen) -> str:
    try:
        return file_path(chosen.location)
    except ValueError as error:
        raise ResolveError(f"{chosen.nevra}: {error}", hint="build it again") from None
