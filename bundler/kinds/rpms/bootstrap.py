"""What install.sh needs to install packages out of the bundle, on a machine where nothing serves them yet.

bootstrap.names     the packages that were asked for
bootstrap.members   the bundle's paths of their closure, of its repositories' metadata and of the keys
bootstrap.repo      a .repo file over them; @HERE@ stands for the folder they were extracted to

What each of them is held to, and its size, stands in the manifest.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from bundler.kinds.rpms.attributes import BootstrapAttributes, PackageAttributes, RepositoryAttributes
from bundler.kinds.rpms.metadata import Chosen
from bundler.model.items import Item
from bundler.model.target import Target

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream


def bootstrap(
    target: Target,
    names: Sequence[str],
    chosen: Collection[Chosen],
    carried: Sequence[Item],
    folder: str,
    upstream: Upstream,
) -> Item:
    """The item of these files, in `folder`; `carried` are the target's items, `chosen` the closure of `names`."""
    wanted = {(each.repo, str(each.nevra)) for each in chosen}
    repositories = RepositoryAttributes.among(carried)
    repos = [repo for _, repo in repositories]
    packages = [item for item, package in PackageAttributes.among(carried) if (package.repo, package.nevra) in wanted]
    objects = [obj for item in (*(item for item, _ in repositories), *packages) for obj in item.objects]
    keys = dict.fromkeys(key for repo in repos for key in repo.keys)
    members = "".join(f"{path}\n" for path in (*(obj.path for obj in objects), *keys))
    texts = {
        "names": "".join(f"{name}\n" for name in names),
        "members": members,
        "repo": "\n".join(map(_section, repos)),
    }
    kept = tuple(upstream.keep(f"{folder}/bootstrap.{name}", text.encode()) for name, text in texts.items())
    return Item("rpms", "bootstrap", str(target), kept, BootstrapAttributes(target=str(target)).as_json())


def _section(repo: RepositoryAttributes) -> str:
    options: dict[str, str | int] = {
        "name": repo.repo,
        "baseurl": f"file://@HERE@/{repo.path}/",
        "gpgcheck": int(repo.gpgcheck),
        "priority": repo.priority,
        "module_hotfixes": int(repo.module_hotfixes),
    }
    if repo.keys:
        options["gpgkey"] = " ".join(f"file://@HERE@/{key}" for key in repo.keys)
    return f"[bundle-{repo.repo}]\n" + "".join(f"{option}={value}\n" for option, value in options.items())
