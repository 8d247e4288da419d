"""From the profile's `rpms` section to exact packages: metadata is fetched and closures are solved."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bundler.errors import ProfileError
from bundler.kinds.rpms.attributes import AssumedMetadata, RequestAttributes
from bundler.kinds.rpms.bootstrap import bootstrap
from bundler.kinds.rpms.carry import Request, carry
from bundler.kinds.rpms.keys import Keyring
from bundler.kinds.rpms.metadata import Chosen, RepoMetadata
from bundler.kinds.rpms.origin import Origin, open_installed, open_origin
from bundler.kinds.rpms.solve import closure
from bundler.kinds.rpms.spec import Repository, Spec
from bundler.model.items import Item
from bundler.model.target import Target

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream

log = logging.getLogger(__name__)


def resolve(spec: Spec, targets: tuple[Target, ...], upstream: Upstream) -> tuple[Item, ...]:
    """An item for each package, each repository's metadata, each signing key, and each target's request.

    Raises ResolveError for packages that are not to be had, FetchError for a repository that cannot be reached,
    ProfileError for a key that is none or a target that is left without a repository, TrustError for metadata that none
    of the keys signed.
    """
    _refuse_impossible(spec, targets)
    keyring = Keyring(upstream)
    items: list[Item] = []
    for target in targets:
        folder = _release_folder(target, targets)
        origins = [open_origin(repo, target, f"{folder}/{repo.id}", keyring, upstream) for repo in _repos(spec, target)]
        assumed = open_installed(spec.assume_installed, target, upstream)
        request = _solve(spec, target, origins, assumed)
        carried = [item for origin in origins for item in carry(origin, request, keyring, upstream)]
        items += carried
        if request.packages or request.modules:
            items.append(_request_item(request, target, assumed, folder, upstream))
        if first := spec.bootstrap_for(target):
            chosen = _closure(spec, first, (), target, origins, assumed)
            items.append(bootstrap(target, first, chosen, carried, keyring.items))
    return (*items, *keyring.items)


def _refuse_impossible(spec: Spec, targets: Sequence[Target]) -> None:
    """Raise ProfileError for a section that asks for nothing, or for something that is nowhere to be had.

    The spec alone cannot say so: a recipe may add the packages to its repositories.
    """
    wanted = bool(spec.packages or spec.modules)
    if wanted and not spec.repos:
        raise ProfileError(
            "rpms: `packages` are wanted but `repos` names no repository to take them from",
            hint="add the repositories of the targets' distributions under `rpms: repos:`",
        )
    if (wanted or spec.repos) and not targets:
        raise ProfileError(
            "rpms: the profile has no `targets`, so it is not known for which distribution",
            hint='say what the nodes are: `targets: [{distro: rocky, release: "9"}]`',
        )
    for repo in spec.repos:
        if repo.mode == "packages" and not wanted:
            raise ProfileError(
                f"rpms: repository {repo.id} has `mode: packages`, but `packages` lists none",
                hint="name the packages, or take the whole repository with `mode: mirror`",
            )


def _repos(spec: Spec, target: Target) -> tuple[Repository, ...]:
    repos = spec.repos_for(target)
    twice = [id_ for id_, count in Counter(repo.id for repo in repos).items() if count > 1]
    if twice:
        raise ProfileError(
            f"rpms.repos: two repositories for {target} have the id {twice[0]}",
            hint="give them different ids, or limit them to different targets with `for:`",
        )
    if not repos and (spec.packages_for(target) or spec.modules_for(target)):
        raise ProfileError(
            f"rpms: packages are wanted for {target}, and no repository is for it",
            hint="add a repository for this target, or limit the packages to other targets with `for:`",
        )
    return repos


def _release_folder(target: Target, targets: Sequence[Target]) -> str:
    """Where a target's repositories lie in the bundle; by architecture where a release has targets of several."""
    arches = {each.arch for each in targets if (each.distro, each.release) == (target.distro, target.release)}
    by_arch = f"/{target.arch}" if len(arches) > 1 else ""
    return f"rpms/{target.distro}/{target.release}{by_arch}"


def _solve(spec: Spec, target: Target, origins: Sequence[Origin], assumed: RepoMetadata | None) -> Request:
    """The closure over all of the target's repositories; where all are mirrors, a proof that they hold it."""
    packages, modules = spec.packages_for(target), spec.modules_for(target)
    among = tuple(origin.metadata for origin in origins)
    chosen: tuple[Chosen, ...] = ()
    if packages or modules:
        log.info("rpms: solving %d requests for %s", len(packages) + len(modules), target)
        chosen = _closure(spec, packages, modules, target, origins, assumed)
        log.info("rpms: %d packages for %s", len(chosen), target)
    return Request(packages, modules, spec.streams_for(target), spec.weak_deps, chosen, among)


def _closure(
    spec: Spec,
    packages: tuple[str, ...],
    modules: tuple[str, ...],
    target: Target,
    origins: Sequence[Origin],
    assumed: RepoMetadata | None,
) -> tuple[Chosen, ...]:
    return closure(
        tuple(origin.metadata for origin in origins),
        packages=packages,
        modules=modules,
        arch=target.arch,
        weak_deps=spec.weak_deps,
        assume_installed=assumed,
    )


def _request_item(
    request: Request, target: Target, assumed: RepoMetadata | None, folder: str, upstream: Upstream
) -> Item:
    """What was asked for; with the metadata of what nodes are taken to have, without which it could not be solved."""
    files = {"primary": assumed.primary, "filelists": assumed.filelists} if assumed else {}
    kept = {name: upstream.keep(f"{folder}/assumed/{name}", file) for name, file in files.items() if file}
    attributes = RequestAttributes(
        target=target,
        packages=request.packages,
        modules=request.modules,
        weak_deps=request.weak_deps,
        assumed=AssumedMetadata(**{name: obj.path for name, obj in kept.items()}) if kept else None,
    )
    return Item("rpms", "request", str(target), tuple(kept.values()), attributes.as_json())
