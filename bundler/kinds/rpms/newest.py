"""The newest packages of a repository, as `dnf reposync --newest-only` chooses them.

Source: RepoSyncCommand._get_latest in dnf-plugins-core. Of packages outside modules, the highest version of each name
and architecture. Of each module stream, all of its newest build, and of older builds those that hold a package newer
than the newest build's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import solv

from bundler.kinds.rpms.metadata import NEVRA, RepoMetadata
from bundler.kinds.rpms.modulemd import Stream, read_modules
from bundler.kinds.rpms.primary import Package


def newest(metadata: RepoMetadata, packages: Sequence[Package]) -> tuple[Package, ...]:
    """Those of `packages`, all that `metadata` lists, which `--newest-only` takes, in the same order."""
    streams = read_modules([metadata]).streams
    modular = frozenset().union(*(stream.artifacts for stream in streams))
    nevras = {package.nevra for package in packages}
    kept = set(_latest(nevras - modular))
    for builds in _by_stream(streams).values():
        kept |= _of_stream(builds, nevras)
    return tuple(package for package in packages if package.nevra in kept)


def _of_stream(builds: Sequence[Stream], nevras: set[NEVRA]) -> frozenset[NEVRA]:
    versions = {max(build.version for build in builds)}
    artifacts = frozenset().union(*(build.artifacts for build in builds))
    for nevra in _latest(nevras & artifacts):
        versions.add(max(build.version for build in builds if nevra in build.artifacts))
    return frozenset().union(*(build.artifacts for build in builds if build.version in versions))


def _by_stream(streams: Iterable[Stream]) -> dict[str, list[Stream]]:
    found: dict[str, list[Stream]] = {}
    for stream in streams:
        found.setdefault(stream.name_stream, []).append(stream)
    return found


def _latest(nevras: Iterable[NEVRA]) -> Iterable[NEVRA]:
    """The highest of each name and architecture."""
    order = _RpmOrder()
    highest: dict[tuple[str, str], NEVRA] = {}
    for nevra in nevras:
        place = (nevra.name, nevra.arch)
        if place not in highest or order.higher(nevra, highest[place]):
            highest[place] = nevra
    return highest.values()


class _RpmOrder:
    """rpm's order of versions, as libsolv has it: it compares objects of its own only, and these live in a pool."""

    def __init__(self) -> None:
        self._pool = solv.Pool()
        self._pool.setdisttype(solv.Pool.DISTTYPE_RPM)
        self._repo = self._pool.add_repo("versions")
        self._known: dict[str, Any] = {}

    def higher(self, one: NEVRA, another: NEVRA) -> bool:
        return bool(self._solvable(one.evr).evrcmp(self._solvable(another.evr)) > 0)

    def _solvable(self, evr: str) -> Any:
        if evr not in self._known:
            self._known[evr] = self._repo.add_solvable()
            self._known[evr].evr = evr
        return self._known[evr]
