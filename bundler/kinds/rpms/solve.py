"""The closure of packages: exactly the packages that dnf would install, computed by libsolv without dnf.

dnf's steps, in dnf's order: load the repositories, hide what is excluded and what the modules rule hides, turn every word
of the request into a libsolv job, solve with libdnf's flags. What a word means is sack.py, the modules rule is
modules.py, groups are comps.py.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import solv  # type: ignore[import-untyped]

from bundler.errors import ResolveError
from bundler.kinds.rpms.comps import Comps, GroupPackage
from bundler.kinds.rpms.metadata import Chosen, RepoMetadata
from bundler.kinds.rpms.modules import (
    ModularFilter,
    ModuleIndex,
    ModuleSpec,
    Stream,
    active_streams,
    choose_streams,
    modular_filter,
    read_modules,
)
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
    `@module:stream/profile`. `modules` are enabled beforehand (`nodejs:20`; with `/profile` its packages are installed).
    `exclude` are NEVRA forms that must not be used. The system is empty, or has exactly the packages of
    `assume_installed`, which are not in the answer. Where repositories offer the same package, the lower `priority` wins,
    then the earlier repository.

    Raises ResolveError when a repository's metadata is missing or damaged, when a word matches nothing, when a module or
    stream is not there, and when the request cannot be satisfied.
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
    """The new packages after `jobs`: with the best candidate for each, or, where that is impossible, with the best possible."""
    pool = sack.pool
    install_only = [
        pool.Job(solv.Job.SOLVER_MULTIVERSION | solv.Job.SOLVER_SOLVABLE_PROVIDES, pool.Dep(name).id)
        for name in _INSTALL_ONLY
    ]
    for best in (solv.Job.SOLVER_FORCEBEST, 0):
        solver = new_solver(pool, weak_deps=weak_deps)
        tried = [pool.Job(job.how | best, job.what) for job in jobs]
        problems = solver.solve(tried + install_only)
        if not problems:
            return [sack.packages[solvable.id] for solvable in solver.transaction().newsolvables()]
        if best:
            _log.warning("the best candidates do not go together, trying others: %s", reasons(problems))
    raise ResolveError(
        f"the packages cannot be installed together on {sack.arch}: {reasons(problems)}",
        hint="add the repository or the module stream that has what is missing, or drop one of the packages",
    )
