"""What install.sh needs to install packages out of the bundle, on a machine where nothing serves them yet.

One item says it all, in the manifest: its attributes name the packages that were asked for and the repositories that
they come from, its objects are the closure, the repositories' metadata and the keys. install.sh takes nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from bundler.kinds.rpms.attributes import (
    BootstrapAttributes,
    BootstrapRepository,
    PackageAttributes,
    RepositoryAttributes,
)
from bundler.kinds.rpms.metadata import Chosen
from bundler.model.items import Item
from bundler.model.target import Target


def bootstrap(
    target: Target,
    names: Sequence[str],
    chosen: Collection[Chosen],
    carried: Sequence[Item],
    keys: Iterable[Item],
) -> Item:
    """The item; `carried` are the target's items, `chosen` the closure of `names`, `keys` all that were read."""
    wanted = {(each.repo, str(each.nevra)) for each in chosen}
    repositories = RepositoryAttributes.among(carried)
    packages = [item for item, package in PackageAttributes.among(carried) if (package.repo, package.nevra) in wanted]
    held_to = {key for _, repo in repositories for key in repo.keys}
    signing = [item for item in keys if item.objects[0].path in held_to]
    needed = (*(item for item, _ in repositories), *packages, *signing)
    checked = all(repo.gpgcheck for _, repo in repositories)
    attributes = BootstrapAttributes(
        role="bootstrap" if checked else "bootstrap-unchecked",
        target=target,
        names=tuple(names),
        repositories=tuple(BootstrapRepository.of(repo) for _, repo in repositories),
    )
    objects = tuple(obj for item in needed for obj in item.objects)
    return Item("rpms", "bootstrap", str(target), objects, attributes.as_json())
