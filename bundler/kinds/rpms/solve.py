"""The closure of packages: exactly the packages that dnf would install, computed by libsolv without dnf.

dnf's steps, in dnf's order: load the repositories, hide what is excluded and what the modules rule hides, turn every
word of the request into a libsolv job, solve with libdnf's flags. What a word means is sack.py, the modules rule is
modules.py, groups are comps.py.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import solv

from bundler.errors import ResolveError
from bundler.kinds.rpms.comps import Comps, GroupPackage
from bundler.kinds.rpms.decided import decided
from bundler.kinds.rpms.metadata import Chosen, RepoMetadata
from bundler.kinds.rpms.modulemd import ModuleIndex, Stream, read_modules
from bundler.kinds.rpms.modules import ModularFilter, ModuleSpec, active_streams, choose_streams, modular_filter
from bundler.kinds.rpms.sack import Package, Sack, is_glob, new_solver, reasons

_log = logging.getLogger(__name__)

# Packages of which several versions are installed side by side (libdnf's default `installonlypkgs`).
_INSTALL_ONLY = (
    "kernel",
    "kernel-PAE",
    "installonlypkg(kernel)",
    "installonlypkg(kernel-module)",
    "installonlypkg(vm)",
    "multiversion(kernel)",
)
_PLATFORM = re.compile(r"base-module\(platform:(.+)\)")


def closure(
    repos: Sequence[RepoMetadata],
    *,
    packages: Sequence[str],
    modules: Sequence[str],
    arch: str,
    weak_deps: bool,
    assume_installed: RepoMetadata | None,
    exclude: Sequence[str] = (),
) -> tuple[Chosen, ...]:
    """The packages that `dnf install` of `packages` would bring onto a system of `arch`, sorted.

    `packages` are words as dnf takes them: names, NEVRA forms, globs, provides, paths, `@group`, `@^environment`,
    `@module:stream/profile`. `modules` are enabled beforehand (`nodejs:20`; with `/profile` its packages are installed
    too). `exclude` are NEVRA forms that must not be used. The system is empty, or has exactly the packages of
    `assume_installed`, which are not in the answer. Where repositories offer the same package, the lower `priority`
    wins, then the earlier repository.

    Raises ResolveError when a repository's metadata is missing or damaged, when a word matches nothing, when a module
    or stream is not there, and when the request cannot be satisfied.
    """
    sack = Sack(repos, installed=assume_installed, arch=arch)
    sack.hide(package.id for word in exclude for package in sack.find_nevra(word).packages)

    index = read_modules(repos)
    groups, profiled = _split_at_words(index, packages)
    module_specs = [ModuleSpec.parse(text) for text in modules]
    enabled = choose_streams(index, [*module_specs, *profiled])
    active = active_streams(index, enabled, arch=arch, platforms=_platforms(sack, index))
    _hide_modular(sack, modular_filter(index, active), repos)

    profiled += [spec for spec in module_specs if spec.profile]
    wanted = [ids for spec in profiled for ids in _profile(sack, index, spec, active)]
    wanted += [ids for word in dict.fromkeys(packages) if not word.startswith("@") for ids in _word(sack, index, word)]
    jobs = [_install(sack, ids) for ids in wanted]
    if groups:
        comps = Comps(repos)
        asked = sorted({package for group in groups for package in comps.packages(group)})
        jobs += [job for package in asked for job in _group_package(sack, package)]
    return tuple(sorted(sack.chosen(package) for package in _solve(sack, jobs, weak_deps=weak_deps)))


def _solve(sack: Sack, jobs: Sequence[Any], *, weak_deps: bool) -> list[Package]:
    """The new packages after `jobs`; as in dnf's defaults, a newest package that cannot be installed is passed over."""
    pool = sack.pool
    terms = [
        pool.Job(solv.Job.SOLVER_MULTIVERSION | solv.Job.SOLVER_SOLVABLE_PROVIDES, pool.Dep(name).id)
        for name in _INSTALL_ONLY
    ]
    if weak_deps:
        how = solv.Job.SOLVER_SOLVABLE | solv.Job.SOLVER_EXCLUDEFROMWEAK
        terms += [pool.Job(how, number) for number in sorted(_declined(sack))]

    def solved() -> tuple[str, str, list[int]]:
        """What stands in the way; else what stands in the way of the newest, and the ids of what is installed."""
        solver = new_solver(pool, weak_deps=weak_deps)
        if problems := solver.solve([*jobs, *terms]):
            return reasons(problems), "", []
        strict = new_solver(pool, weak_deps=weak_deps)
        newest = [pool.Job(job.how | solv.Job.SOLVER_FORCEBEST, job.what) for job in jobs]
        older = reasons(strict.solve([*newest, *terms]))
        return "", older, [solvable.id for solvable in solver.transaction().newsolvables()]

    unsolved, older, chosen = decided(solved, f"the dependencies of the packages for {sack.arch}")
    if unsolved:
        raise ResolveError(
            f"the packages cannot be installed together on {sack.arch}: {unsolved}",
            hint="add the repository or the module stream that has what is missing, or drop one of the packages",
        )
    if older:
        _log.warning("not the newest of every package: %s", older)
    return [sack.packages[number] for number in chosen]


def _word(sack: Sack, index: ModuleIndex, word: str) -> list[list[int]]:
    """The candidates for each package that a word asks for (Base.install, Subject._get_best_selectors)."""
    match = sack.find(word)
    if not match.packages:
        raise _nothing_provides(sack, index, word)
    available = [package for package in match.packages if not package.installed]
    if is_glob(match.form.get("a", "")):
        present = {(p.nevra.name, p.nevra.arch) for p in match.packages if p.installed}
        each = _grouped((p.nevra.name, p.nevra.arch, p) for p in available)
        return [_candidates(sack, group, obsoleting=True) for key, group in each.items() if key not in present]
    if is_glob(word) and not word.startswith(("/", "*/")):
        names = {package.nevra.name for package in available}
        by_name = _grouped((p.nevra.name, "", p) for p in match.packages if p.nevra.name in names)
        return [_candidates(sack, group, obsoleting=match.just_name) for group in by_name.values()]
    return [_candidates(sack, match.packages, obsoleting=match.just_name)]


def _group_package(sack: Sack, package: GroupPackage) -> Iterator[Any]:
    """The job for a group's package; none where no repository has it, which dnf lets pass too."""
    named = [p for p in sack.named(package.name) if not package.basearch_only or p.nevra.arch == sack.arch]
    if not named:
        _log.warning("no repository has the group package %s for %s", package.name, sack.arch)
    elif package.condition:
        rich = sack.pool.Dep(package.name).Rel(solv.REL_COND, sack.pool.Dep(package.condition))
        yield sack.pool.Job(solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE_PROVIDES, rich.id)
    else:
        yield _install(sack, _candidates(sack, named, obsoleting=True))


def _profile(sack: Sack, index: ModuleIndex, spec: ModuleSpec, active: Iterable[Stream]) -> Iterator[list[int]]:
    """The candidates for each package of a module's profile (dnf's ModuleBase.install)."""
    builds = [stream for stream in active if stream.name == spec.name]
    latest = max(builds, key=lambda stream: stream.version)
    defaults = index.defaults.get(spec.name)
    profiles = [spec.profile] if spec.profile else (defaults.profiles.get(latest.stream, ()) if defaults else ())
    if not profiles or not set(profiles) <= latest.profiles.keys():
        raise ResolveError(
            f"module {latest.name_stream} has no {'profile ' + ', '.join(profiles) if profiles else 'default profile'}",
            hint=f"its profiles are: {', '.join(sorted(latest.profiles))}",
        )
    artifacts = {nevra for stream in builds for nevra in stream.artifacts}
    for name in sorted({name for profile in profiles for name in latest.profiles[profile]}):
        named = sack.named(name)
        if not named:
            raise _nothing_provides(sack, index, name)
        yield [p.id for p in named if p.nevra in artifacts] or [p.id for p in named]


def _declined(sack: Sack) -> set[int]:
    """What the installed packages do without, though they recommend it or it supplements them.

    dnf brings no such package in for another's weak dependency either (Goal::exclude_from_weak_autodetect).
    """
    installed = [package for package in sack.packages.values() if package.installed]
    names = {package.nevra.name for package in installed}
    declined: set[int] = set()
    for package in installed:
        for dep in sack.dependencies(package, solv.SOLVABLE_RECOMMENDS):
            providers = () if dep.startswith("(") else sack.providers(dep.split(" ", 1)[0])
            if not any(provider.installed for provider in providers):
                declined.update(provider.id for provider in providers)
    for package in sack.packages.values() if installed else ():
        if package.id not in sack.hidden and package.nevra.name not in names:
            words = (dep for dep in sack.dependencies(package, solv.SOLVABLE_SUPPLEMENTS) if not dep.startswith("("))
            if any(provider.installed for dep in words for provider in sack.providers(dep)):
                declined.add(package.id)
    return declined


def _install(sack: Sack, candidates: Iterable[int]) -> Any:
    how = solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE_ONE_OF | solv.Job.SOLVER_SETARCH | solv.Job.SOLVER_SETEVR
    return sack.pool.Job(how, sack.pool.towhatprovides(sorted(set(candidates))))


def _candidates(sack: Sack, packages: Sequence[Package], *, obsoleting: bool) -> list[int]:
    """The ids of `packages`, and of what obsoletes them: dnf installs a replacement where only a name was asked for."""
    return [package.id for package in (*packages, *(sack.obsoleting(packages) if obsoleting else ()))]


def _grouped(entries: Iterable[tuple[str, str, Package]]) -> dict[tuple[str, str], list[Package]]:
    groups: dict[tuple[str, str], list[Package]] = defaultdict(list)
    for name, arch, package in entries:
        groups[name, arch].append(package)
    return dict(groups)


def _split_at_words(index: ModuleIndex, packages: Iterable[str]) -> tuple[list[str], list[ModuleSpec]]:
    """The `@` words: groups, and modules to install a profile of. A module goes before a group of its name."""
    modules = {stream.name for stream in index.streams}
    groups: list[str] = []
    profiled: list[ModuleSpec] = []
    for word in dict.fromkeys(packages):
        spec = word.removeprefix("@")
        if spec == word:
            continue
        if re.split("[:/]", spec, maxsplit=1)[0] in modules:
            profiled.append(ModuleSpec.parse(spec))
        else:
            groups.append(spec)
    return groups, profiled


def _platforms(sack: Sack, index: ModuleIndex) -> set[str]:
    """The platform's stream as the release package provides it; without one, every platform that a stream asks for."""
    provides = {
        dep
        for package in sack.providers("system-release")
        for dep in sack.dependencies(package, solv.SOLVABLE_PROVIDES)
    }
    platforms = {found[1] for dep in provides if (found := _PLATFORM.fullmatch(dep))}
    requirements = (streams for one in index.streams for module, streams in one.requires if module == "platform")
    return platforms or {stream for streams in requirements for stream in streams if not stream.startswith("-")}


def _hide_modular(sack: Sack, rule: ModularFilter, repos: Iterable[RepoMetadata]) -> None:
    """Apply the modules rule (libdnf's setModuleExcludes), from which installed and hotfix packages are exempt."""
    hotfixes = {repo.id for repo in repos if repo.module_hotfixes}
    provided = {package.id for name in rule.names for package in sack.providers(name)}
    sack.hide(
        package.id
        for package in sack.packages.values()
        if not package.installed
        and package.repo not in hotfixes
        and package.nevra not in rule.shown
        and (package.nevra in rule.hidden or package.nevra.name in rule.names or package.id in provided)
    )


def _nothing_provides(sack: Sack, index: ModuleIndex, word: str) -> ResolveError:
    hidden = {package.nevra for package in map(sack.packages.__getitem__, sack.hidden) if package.nevra.name == word}
    streams = sorted({stream.name_stream for stream in index.streams if not stream.artifacts.isdisjoint(hidden)})
    close = sack.suggestions(word)
    if streams:
        hint = f"it is in module streams that are not enabled: add one of {', '.join(streams)} to modules"
    elif hidden:
        hint = "an exclude, or an enabled module stream, hides it"
    elif close:
        hint = f"there are: {', '.join(close)}"
    else:
        hint = "check the spelling, or add the repository that has it"
    return ResolveError(f"nothing provides {word} for {sack.arch}", hint=hint)
