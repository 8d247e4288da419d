"""Package groups and environments (comps.xml), read by libcomps and chosen as `dnf group install` does."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import libcomps

from bundler.errors import ResolveError
from bundler.kinds.rpms.metadata import RepoMetadata, opened

# dnf's default `group_package_types`: all but the optional packages.
_TYPES = (libcomps.PACKAGE_TYPE_MANDATORY, libcomps.PACKAGE_TYPE_DEFAULT, libcomps.PACKAGE_TYPE_CONDITIONAL)


@dataclass(frozen=True, slots=True, order=True)
class GroupPackage:
    """A package that a group asks for: `condition` a package it comes along with, `basearch_only` no 32-bit twin."""

    name: str
    condition: str
    basearch_only: bool


class Comps:
    """The groups and environments of some repositories, merged by id as libcomps merges them.

    Raises ResolveError naming a repository whose file is bad.
    """

    def __init__(self, repos: Iterable[RepoMetadata]) -> None:
        self._comps = libcomps.Comps()
        for repo in repos:
            if repo.comps:
                self._comps += _read(repo)

    def packages(self, spec: str) -> tuple[GroupPackage, ...]:
        """The packages of `@spec`: an id, a name or a glob of groups and environments; `@^spec` environments only.

        An environment stands for its mandatory groups. Raises ResolveError when nothing is called so.
        """
        wanted = spec.removeprefix("^")
        environments = _called(wanted, self._comps.environments)
        groups = [] if spec.startswith("^") else _called(wanted, self._comps.groups)
        if not environments and not groups:
            raise ResolveError(f"no repository has a group or environment {spec!r}", hint=self._known())
        ids = {member.name for environment in environments for member in environment.group_ids}
        groups += [group for group in self._comps.groups if group.id in ids]
        return tuple(
            sorted(
                {
                    GroupPackage(package.name, package.requires or "", bool(package.basearchonly))
                    for group in groups
                    for package in group.packages
                    if package.type in _TYPES
                }
            )
        )

    def _known(self) -> str:
        known = [f"@{group.id}" for group in self._comps.groups]
        known += [f"@^{environment.id}" for environment in self._comps.environments]
        return f"there are: {', '.join(sorted(known))}" if known else "no repository of the profile has comps metadata"


def _read(repo: RepoMetadata) -> Any:
    assert repo.comps is not None
    comps = libcomps.Comps()
    with opened(repo, repo.comps, "group") as plain:
        try:
            comps.fromxml_str(plain.read().decode())
        except (libcomps.ParserError, UnicodeDecodeError, TypeError) as error:  # TypeError: of a text with a NUL in it
            why = " ".join(comps.get_last_errors()) or error
            raise ResolveError(
                f"repository {repo.id}: {repo.comps.name} is no comps.xml: {why}",
                hint="tell whoever runs the repository",
            ) from error
    return comps


def _called(wanted: str, things: Iterable[Any]) -> list[Any]:
    """Those whose id or name is `wanted`, else those whose id or name, translated or not, it matches as a glob."""
    things = list(things)
    exact = [thing for thing in things if wanted in (thing.id, thing.name)]
    matches = re.compile(fnmatch.translate(wanted), re.IGNORECASE).match
    return exact or [thing for thing in things if matches(thing.id) or (thing.name and matches(thing.name))]
