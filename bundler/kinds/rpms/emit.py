"""The .repo files for dnf and yum, and the checks that they work.

Source: dnf.conf(5), "Repo Options". A node gets one .repo file, called after the release. With targets of several
distributions or releases there is one for each, and setup.sh picks by /etc/os-release: $releasever in one file for all
would do for some nodes only (it is `9` on one, `9.4` on another).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence

from bundler.kinds.rpms.attributes import BootstrapAttributes, PackageAttributes, RepositoryAttributes
from bundler.model.items import Item
from bundler.model.node_files import PASSWORD, NodeCheck, NodeFile, NodeFiles
from bundler.model.site import Served
from bundler.model.target import Target

_STOCK = "/etc/yum.repos.d/*.repo"


def emit(items: tuple[Item, ...], served: Served) -> NodeFiles:
    """A .repo file per target, module streams to enable, and checks. Raises BundleError for items of another make."""
    BootstrapAttributes.among(items)  # nothing for nodes, but all that does not hold together is refused
    repos = [repo for _, repo in RepositoryAttributes.among(items)]
    targets = sorted({repo.target for repo in repos}, key=str)
    files = list(_password(served)) if repos else []
    for target in targets:
        own = sorted((repo for repo in repos if repo.target == target), key=lambda repo: repo.repo)
        files += _files(target, own, targets, served)
    return NodeFiles(tuple(files), tuple(_checks(items, repos, targets, served)))


def _password(served: Served) -> Iterator[NodeFile]:
    """The log-in's, as a variable of dnf.conf(5): the .repo files stay readable for everybody."""
    if served.login(served.site.web):
        yield NodeFile(
            path="login/dnf-password",
            content=f"{PASSWORD}\n",
            destination=f"/etc/dnf/vars/{_variable(served)}",
            mode=0o600,
            only_where="/etc/dnf",
            secret=True,
        )


def _variable(served: Served) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", served.name) + "_password"


def _files(
    target: Target, repos: Sequence[RepositoryAttributes], targets: Sequence[Target], served: Served
) -> Iterator[NodeFile]:
    label = _label(target, targets)
    condition = _condition(target, targets)
    yield NodeFile(
        path=f"yum.repos.d/{served.name}{label}.repo",
        content=_repo_file(repos, target, served),
        destination=f"/etc/yum.repos.d/{served.name}.repo",
        only_where="/etc/yum.repos.d",
        only_if=condition,
        displaces=(_STOCK,),
    )
    for module, stream in sorted({_split(stream) for repo in repos for stream in repo.modules}):
        yield NodeFile(
            path=f"modules.d{label}/{module}.module",
            content=f"[{module}]\nname={module}\nstream={stream}\nprofiles=\nstate=enabled\n",
            destination=f"/etc/dnf/modules.d/{module}.module",
            only_where="/etc/dnf",
            only_if=condition,
        )


def _split(stream: str) -> tuple[str, str]:
    module, _, name = stream.partition(":")
    return module, name


# Telling targets apart


def _label(target: Target, targets: Sequence[Target]) -> str:
    """What sets this target's files apart by name: nothing where it is alone."""
    if len(targets) == 1:
        return ""
    alike = [each for each in targets if (each.distro, each.release) == (target.distro, target.release)]
    return f"-{target.distro}{target.release}" + (f"-{target.arch}" if len(alike) > 1 else "")


def _condition(target: Target, targets: Sequence[Target]) -> str | None:
    """A shell condition, /etc/os-release read, for what sets the target apart; what all have in common is not asked.

    A target of release 9 stands for 9.4 too, unless that is a target of its own.
    """
    tests = []
    if len({each.distro for each in targets}) > 1:
        tests.append(f'[ "$ID" = {shlex.quote(target.distro)} ]')
    if len({each.release for each in targets}) > 1:
        tests.append(_release_test(target.release, {each.release for each in targets}))
    if len({each.arch for each in targets}) > 1:
        tests.append(f'[ "$(uname -m)" = {shlex.quote(target.arch)} ]')
    return " && ".join(tests) or None


def _release_test(release: str, releases: Iterable[str]) -> str:
    finer = sorted(each for each in releases if each.startswith(f"{release}."))
    others = f"{'|'.join(f'{each}|{each}.*' for each in finer)}) false ;; " if finer else ""
    return f'case "$VERSION_ID" in {others}{release}|{release}.*) true ;; *) false ;; esac'


# The .repo file


def _repo_file(repos: Iterable[RepositoryAttributes], target: Target, served: Served) -> str:
    head = f"# {served.name} {served.version} for {target.distro} {target.release} {target.arch}\n"
    return head + "".join("\n" + _section(repo, served) for repo in repos)


def _section(repo: RepositoryAttributes, served: Served) -> str:
    options: dict[str, str | int] = {
        "name": f"{served.name} {repo.repo}",
        "baseurl": f"{served.url}/{repo.path}/",
        "enabled": 1,
        "gpgcheck": int(repo.gpgcheck),
        "repo_gpgcheck": 0,
        # A new release appears at the same URL: a node must not live on what it remembers of the last one for two days.
        "metadata_expire": 300,
        "countme": 0,
    }
    if ca := served.ca_file(served.site.web):
        options["sslcacert"] = ca
    if user := served.login(served.site.web):
        options |= {"username": user, "password": f"${_variable(served)}"}
    if repo.keys:
        options["gpgkey"] = " ".join(f"{served.url}/{key}" for key in repo.keys)
    if repo.priority != 99:
        options["priority"] = repo.priority
    if repo.module_hotfixes:
        options["module_hotfixes"] = 1
    lines = [f"[{_section_id(repo, served)}]", *(f"{option}={value}" for option, value in options.items())]
    return "".join(f"{line}\n" for line in lines)


def _section_id(repo: RepositoryAttributes, served: Served) -> str:
    """With the release's name before it: several releases may be in use on one node."""
    return f"{served.name}-{repo.repo}"


# Checks


def _checks(
    items: Iterable[Item], repos: Sequence[RepositoryAttributes], targets: Sequence[Target], served: Served
) -> Iterator[NodeCheck]:
    if not repos:
        return
    prefix = f"{served.name}-"
    dnf = f"dnf --disablerepo='*' --enablerepo={shlex.quote(prefix + '*')}"
    listed = f"dnf -q repolist | grep -q {shlex.quote('^' + prefix.replace('.', '[.]'))}"
    yield NodeCheck("dnf lists the site's repositories", "dnf", listed)
    yield NodeCheck("dnf reads their metadata", "dnf", f"{dnf} makecache")
    if sample := _common_sample(items, repos, targets):
        package = shlex.quote(sample)
        # By the node's own configuration: the last column is the repository's id, with @ once installed.
        found = f"dnf -q --showduplicates list {package} | grep -q {shlex.quote('[ @]' + prefix.replace('.', '[.]'))}"
        yield NodeCheck(f"dnf finds {sample} at the site", "dnf", found)
        # tsflags=test: dependencies, download, signatures and rpm's own test, but no change to the node.
        yield NodeCheck(f"dnf could install {sample}", "dnf", f"{dnf} -y --setopt=tsflags=test install {package}")


def _common_sample(
    items: Iterable[Item], repos: Iterable[RepositoryAttributes], targets: Sequence[Target]
) -> str | None:
    """A package that every target has: the checks are the same on all nodes."""
    names: dict[str, set[str]] = {str(target): set() for target in targets}
    for item, package in PackageAttributes.among(items):
        names.setdefault(package.target, set()).add(item.name)
    common = set.intersection(*names.values())
    return next((repo.sample for repo in repos if repo.sample in common), None)
