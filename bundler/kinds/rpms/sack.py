"""The packages of some repositories in a libsolv pool, and which of them a word means, by dnf's rules.

What dnf 4 does is spread over hawkey's Subject and Query and libdnf's sack; the functions are named where they are
followed step by step, since only the same steps give the same packages.
"""

from __future__ import annotations

import difflib
import fnmatch
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import solv

from bundler.errors import ResolveError
from bundler.kinds.rpms.metadata import NEVRA, Chosen, RepoMetadata, opened

_NAME, _EPOCH, _VERSION, _ARCH = r"(?P<n>[^:(/=<> ]+)", r"(?:(?P<e>\d+):)?", r"[^-:(/=<> ]+", r"(?P<a>[^-:.(/=<> ]+)"
# The forms a package can be named in, in the order dnf tries them (HY_FORMS_MOST_SPEC): NEVRA, NA, N, NEVR, NEV.
_FORMS = tuple(
    re.compile(form)
    for form in (
        rf"{_NAME}-{_EPOCH}(?P<v>{_VERSION})-(?P<r>{_VERSION})\.{_ARCH}",
        rf"{_NAME}\.{_ARCH}",
        _NAME,
        rf"{_NAME}-{_EPOCH}(?P<v>{_VERSION})-(?P<r>{_VERSION})",
        rf"{_NAME}-{_EPOCH}(?P<v>{_VERSION})",
    )
)
_REASONS = 6
SOURCE_ARCHES = frozenset({"src", "nosrc"})
_RELATION = re.compile(r"(?P<name>\S+)\s*(?P<op><=|>=|==|<|>|=)\s*(?P<evr>\S+)")
_RELATIONS = {"<": solv.REL_LT, "=": solv.REL_EQ, "==": solv.REL_EQ, ">": solv.REL_GT}
_RELATIONS |= {"<=": solv.REL_LT | solv.REL_EQ, ">=": solv.REL_GT | solv.REL_EQ}


@dataclass(frozen=True, slots=True)
class Package:
    """A package of a pool. `id` is libsolv's and grows in the order of repositories and of their metadata."""

    id: int
    repo: str
    installed: bool
    nevra: NEVRA


@dataclass(frozen=True, slots=True)
class Match:
    """The packages a word means, by ascending id; `form` the parts of its NEVRA, where it was read as one."""

    packages: tuple[Package, ...]
    form: dict[str, str]

    @property
    def just_name(self) -> bool:
        return self.form.keys() == {"n"}


def new_pool(arch: str) -> Any:
    """A libsolv pool for RPMs as libdnf sets it up (dnf_sack_init, dnf_sack_set_arch).

    Packages of one name replace each other only within an architecture's colour, so that glibc.i686 goes beside
    glibc.x86_64: the libsolv of Fedora and its kin is built so, the one on PyPI has to be told.
    """
    pool = solv.Pool()
    pool.setdisttype(solv.Pool.DISTTYPE_RPM)
    pool.setarch(arch)
    pool.set_flag(solv.Pool.POOL_FLAG_WHATPROVIDESWITHDISABLED, 1)
    pool.set_flag(solv.Pool.POOL_FLAG_IMPLICITOBSOLETEUSESCOLORS, 1)
    return pool


def new_solver(pool: Any, *, weak_deps: bool = True) -> Any:
    """A solver with libdnf's flags for an install (Goal::Impl::initSolver, solve)."""
    solver = pool.Solver()
    for flag in (
        solver.SOLVER_FLAG_ALLOW_VENDORCHANGE,
        solver.SOLVER_FLAG_DUP_ALLOW_VENDORCHANGE,
        solver.SOLVER_FLAG_KEEP_ORPHANS,
        solver.SOLVER_FLAG_BEST_OBEY_POLICY,
        solver.SOLVER_FLAG_YUM_OBSOLETES,
        solver.SOLVER_FLAG_ALLOW_DOWNGRADE,
    ):
        solver.set_flag(flag, 1)
    solver.set_flag(solver.SOLVER_FLAG_IGNORE_RECOMMENDED, not weak_deps)
    return solver


def reasons(problems: Iterable[Any]) -> str:
    """libsolv's own words for what stands in the way, the first few. The problems' solver must still be alive."""
    told = dict.fromkeys(rule.info().problemstr() for problem in problems for rule in problem.findallproblemrules())
    more = [f"and {len(told) - _REASONS} reasons more"] if len(told) > _REASONS else []
    return "; ".join([*list(told)[:_REASONS], *more])


class Sack:
    """All packages of `repos`, and of the repository taken as installed, for one architecture.

    Raises ResolveError, naming the repository, when its metadata cannot be read.
    """

    def __init__(self, repos: Sequence[RepoMetadata], *, installed: RepoMetadata | None, arch: str) -> None:
        self.arch = arch
        self.pool = new_pool(arch)
        if installed:
            self.pool.installed = self._load(installed)
        for repo in repos:
            self._load(repo)
        self.pool.addfileprovides()
        self.pool.createwhatprovides()
        base = self.pool.installed
        self.packages = {
            solvable.id: Package(solvable.id, solvable.repo.name, solvable.repo == base, _nevra(solvable))
            for solvable in self.pool.solvables_iter()
        }
        self._hidden: set[int] = set()

    def _load(self, repo: RepoMetadata) -> Any:
        target = self.pool.add_repo(repo.id)
        target.priority = -repo.priority  # dnf: the lower number wins; libsolv: the higher
        self._add(target, repo, "primary", repo.primary, None, 0)
        if repo.filelists:
            self._add(target, repo, "filelists", repo.filelists, "FL", target.REPO_EXTEND_SOLVABLES)
        return target

    def _add(self, target: Any, repo: RepoMetadata, type_: str, path: Path, language: str | None, flags: int) -> None:
        with opened(repo, path, type_) as plain:
            # libsolv closes the descriptor it is given. Given None in place of a file it would crash the process.
            stream = solv.xfopen_fd(None, os.dup(plain.fileno()))
            if stream is None or not target.add_rpmmd(stream, language, flags):
                raise ResolveError(
                    f"repository {repo.id}: {path.name} is no rpm-md metadata: {self.pool.errstr}",
                    hint="tell whoever runs the repository; createrepo_c writes it anew",
                )
            stream.close()

    def hide(self, ids: Iterable[int]) -> None:
        """Take packages out of play, as dnf's excludes do: they match nothing and are never installed."""
        self._hidden.update(ids)
        self.pool.set_disabled_list(sorted(self._hidden))

    @property
    def hidden(self) -> Collection[int]:
        return self._hidden

    def providers(self, dependency: str) -> tuple[Package, ...]:
        """The packages in play that provide `name`, `name op evr`, a path or a rich dependency."""
        dep = self._dependency(dependency)
        return self._visible(solvable.id for solvable in self.pool.whatprovides(dep)) if dep else ()

    def find(self, word: str) -> Match:
        """What a word on dnf's command line means: a NEVRA form, else a provide, else a path (Query::filterSubject)."""
        match = self.find_nevra(word)
        if match.packages:
            return match
        by_provide = self._find_provide(word)
        if by_provide or not word.startswith(("/", "*/")):
            return Match(by_provide, {})
        return Match(self._find_file(word), {})

    def find_nevra(self, word: str) -> Match:
        """What `word` means as a NEVRA form alone; its parts may be globs."""
        for pattern in _FORMS:
            parsed = pattern.fullmatch(word)
            if parsed is None:
                continue
            form = {part: text for part, text in parsed.groupdict().items() if text is not None}
            ids = self.packages if is_glob(form["n"]) else self._by_name.get(form["n"], ())
            packages = tuple(p for p in self._visible(ids) if p.nevra.arch != "src" and _fits(p.nevra, form))
            if packages:
                return Match(packages, form)
        if not is_glob(word) or set(word) & set("(/=<> "):
            return Match((), {})
        spelled = ((p, _spelled(p.nevra, epoch=":" in word)) for p in self._visible(self.packages))
        return Match(tuple(p for p, nevra in spelled if p.nevra.arch != "src" and _same(word, nevra)), {})

    def named(self, name: str) -> tuple[Package, ...]:
        """The packages in play of that name, source packages left out."""
        return tuple(p for p in self._visible(self._by_name.get(name, ())) if p.nevra.arch not in SOURCE_ARCHES)

    def dependencies(self, package: Package, key: int) -> list[str]:
        """A package's dependencies of one sort (`solv.SOLVABLE_PROVIDES` …), as it words them."""
        return [dep.str() for dep in self.pool.id2solvable(package.id).lookup_deparray(key)]

    def obsoleting(self, targets: Iterable[Package]) -> tuple[Package, ...]:
        """The packages in play that obsolete one of `targets` by its name and version."""
        ids = {target.id: target.nevra.name for target in targets}
        return self._visible(
            obsoleter
            for name in set(ids.values())
            for obsoleter, dep in self._obsoletes.get(name, ())
            if any(ids.get(solvable.id) == name for solvable in self.pool.whatprovides(dep))
        )

    def suggestions(self, word: str) -> list[str]:
        """Names in play that look like `word`, the closest first."""
        names = {package.nevra.name for package in self._visible(self.packages)}
        return difflib.get_close_matches(word, sorted(names), n=5, cutoff=0.7)

    def chosen(self, package: Package) -> Chosen:
        """What the package's repository says of its file."""
        solvable = self.pool.id2solvable(package.id)
        checksum = solvable.lookup_checksum(solv.SOLVABLE_CHECKSUM)
        location, _ = solvable.lookup_location()
        if checksum is None or location is None:
            raise ResolveError(
                f"repository {package.repo}: its metadata gives no location or checksum for {package.nevra}",
                hint="tell whoever runs the repository; createrepo_c writes it anew",
            )
        return Chosen(
            repo=package.repo,
            nevra=package.nevra,
            location=location,
            checksum_type=checksum.typestr(),
            checksum=checksum.hex(),
            size=solvable.lookup_num(solv.SOLVABLE_DOWNLOADSIZE),
            base=solvable.lookup_str(solv.SOLVABLE_MEDIABASE),
        )

    def _visible(self, ids: Iterable[int]) -> tuple[Package, ...]:
        return tuple(self.packages[number] for number in sorted(set(ids) - self._hidden))

    def _find_provide(self, word: str) -> tuple[Package, ...]:
        if not is_glob(word):
            return tuple(package for package in self.providers(word) if package.nevra.arch != "src")
        relation = _RELATION.fullmatch(word)
        name = relation["name"] if relation else word
        rest = word.removeprefix(name)
        # libdnf matches the glob against every string there is, not the provides alone (addReldepWithGlob).
        flags = solv.Dataiterator.SEARCH_STRING | solv.Dataiterator.SEARCH_GLOB
        names = {entry.str for entry in self.pool.Dataiterator(0, name, flags)}
        found = {package for match in names for package in self.providers(match + rest)}
        return tuple(sorted((p for p in found if p.nevra.arch != "src"), key=lambda package: package.id))

    def _find_file(self, word: str) -> tuple[Package, ...]:
        flags = solv.Dataiterator.SEARCH_FILES | solv.Dataiterator.SEARCH_COMPLETE_FILELIST
        flags |= solv.Dataiterator.SEARCH_GLOB if is_glob(word) else solv.Dataiterator.SEARCH_STRING
        entries = self.pool.Dataiterator(solv.SOLVABLE_FILELIST, word, flags)
        return tuple(p for p in self._visible(entry.solvid for entry in entries) if p.nevra.arch != "src")

    def _dependency(self, text: str) -> Any:
        if text.startswith("("):
            return self.pool.parserpmrichdep(text)
        relation = _RELATION.fullmatch(text)
        if relation is None:
            return self.pool.Dep(text)
        return self.pool.Dep(relation["name"]).Rel(_RELATIONS[relation["op"]], self.pool.Dep(relation["evr"]))

    @cached_property
    def _by_name(self) -> dict[str, list[int]]:
        index = defaultdict(list)
        for package in self.packages.values():
            index[package.nevra.name].append(package.id)
        return dict(index)

    @cached_property
    def _obsoletes(self) -> dict[str, list[tuple[int, Any]]]:
        """By the name they obsolete: packages' ids and the dependency."""
        index = defaultdict(list)
        for solvable in self.pool.solvables_iter():
            for dep in solvable.lookup_deparray(solv.SOLVABLE_OBSOLETES):
                index[dep.str().split(" ", 1)[0]].append((solvable.id, dep))
        return dict(index)


def is_glob(word: str) -> bool:
    return bool(set(word) & set("*[?"))


def _nevra(solvable: Any) -> NEVRA:
    epoch, _, version_release = solvable.evr.rpartition(":")
    version, _, release = version_release.rpartition("-")
    return NEVRA(solvable.name, int(epoch or 0), version, release, solvable.arch)


def _spelled(nevra: NEVRA, *, epoch: bool) -> str:
    prefix = f"{nevra.epoch}:" if epoch else ""
    return f"{nevra.name}-{prefix}{nevra.version}-{nevra.release}.{nevra.arch}"


def _fits(nevra: NEVRA, form: dict[str, str]) -> bool:
    return (
        _same(form["n"], nevra.name)
        and _same(form.get("v", "*"), nevra.version)
        and _same(form.get("r", "*"), nevra.release)
        and _same(form.get("a", "*"), nevra.arch)
        and int(form.get("e", nevra.epoch)) == nevra.epoch
    )


def _same(pattern: str, text: str) -> bool:
    return fnmatch.fnmatchcase(text, pattern) if is_glob(pattern) else text == pattern
