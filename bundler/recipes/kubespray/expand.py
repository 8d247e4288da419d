"""The recipe's section in the words of the kinds: what Ansible would take a minute to find out, read from the tree."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bundler.errors import ProfileError
from bundler.kinds.files.place import place_of, place_of_local
from bundler.model.items import Item, Json
from bundler.model.target import Target
from bundler.recipes.base import Expansion
from bundler.recipes.kubespray import needs, offline
from bundler.recipes.kubespray.attributes import CarriedChart, KubesprayAttributes
from bundler.recipes.kubespray.machine import facts, takes_rpms
from bundler.recipes.kubespray.needs import File, Image
from bundler.recipes.kubespray.public import Public
from bundler.recipes.kubespray.spec import RELEASE, Spec
from bundler.recipes.kubespray.tree import (
    DEFAULTS,
    FURTHER_DEFAULTS,
    PACKAGES,
    PACKED,
    ROLE_VARS,
    Tree,
    parse_variables,
    read_archive,
    read_folder,
    unknown_layout,
)
from bundler.recipes.kubespray.variables import Variables

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream

log = logging.getLogger(__name__)

_INVENTORY_LIMIT = 4 << 20


@dataclass(frozen=True, slots=True)
class Platform:
    """What one target needs."""

    target: Target
    files: tuple[File, ...]
    images: tuple[Image, ...]
    packages: tuple[str, ...]


def expand(spec: Spec, targets: tuple[Target, ...], upstream: Upstream) -> Expansion:
    """Files, images, RPMs and wheels of the cluster that `spec` describes on `targets`, and Kubespray's tree itself.

    Raises ProfileError for a tree that is none or not of the version, for variables that cannot be evaluated, and for
    choices that bundler cannot serve; FetchError, IntegrityError for a source that does not arrive.
    """
    if not targets:
        raise ProfileError(
            "kubespray: the profile has no `targets`, so it is not known what the nodes are",
            hint='say what they are: `targets: [{distro: rocky, release: "9"}]`',
        )
    tree, source = _tree(spec, upstream)
    own = _own_variables(spec, upstream)
    layers, public = Layers(tree, own), Public(tree.origin, own)
    platforms = [_platform(layers, public, target, tree, everything=spec.select == "all") for target in targets]
    variables = _site_variables(layers, platforms, everything=spec.select == "all")
    chart = needs.cilium_chart(layers.of(targets[0]), everything=spec.select == "all")
    images = _unique(image.reference for platform in platforms for image in platform.images)
    sections: dict[str, Json] = {
        "rpms": _rpms(platforms),
        "images": [image if public.says(image) else {"ref": image, "anonymous": True} for image in images],
        "wheels": {"python": [*spec.python], "requirements": [*public.requirements(tree.requirements)]},
        "files": [source, *_files(platforms), *([public.url(chart.url)] if chart else [])],
    }
    attributes = KubesprayAttributes(
        tree=_place(source),
        vars=own,
        python=spec.python,
        variables=variables,
        images=tuple(images),
        files=tuple(_unique(file.url for platform in platforms for file in platform.files)),
        packages={str(platform.target): platform.packages for platform in platforms},
        charts=(CarriedChart(name=chart.name, version=chart.version, path=place_of(chart.url)),) if chart else (),
    )
    purl = f"pkg:github/kubernetes-sigs/kubespray@{spec.version}"
    item = Item("kubespray", "kubespray", spec.version, (), attributes.as_json(), purl, "Apache-2.0")
    return Expansion({name: section for name, section in sections.items() if section}, item)


def _tree(spec: Spec, upstream: Upstream) -> tuple[Tree, dict[str, Json]]:
    """The tree, and the entry of `files` that carries it."""
    location = spec.location
    source: dict[str, Json]
    if location.startswith(("http://", "https://")):
        archive = upstream.scratch / "kubespray.tar.gz"
        upstream.download(location, archive, sha256=spec.sha256, limit=PACKED)
        found = upstream.digests(str(archive))
        tree = read_archive(archive, location)
        source = {"url": location, "sha256": found.sha256, "size": found.size}
    elif folder := upstream.folder(location):
        if spec.sha256:
            raise ProfileError("kubespray: `sha256` is of a tarball, and the source is a folder", hint="leave it out")
        tree = read_folder(folder, location)
        source = {"path": location, "name": f"kubespray-{spec.version}.tar"}
    else:
        tree = read_archive(upstream.local(location), location)
        source = {"path": location, "sha256": spec.sha256} if spec.sha256 else {"path": location}
    if RELEASE.fullmatch(spec.version) and tree.version not in (None, spec.version.removeprefix("v")):
        raise ProfileError(
            f"kubespray: {location} is version {tree.version}, and the profile says {spec.version}",
            hint="correct `version`, or `source`",
        )
    return tree, source


def _place(source: Mapping[str, Any]) -> str:
    if "url" in source:
        return place_of(source["url"])
    return place_of_local(source["path"], source.get("name"))


def _own_variables(spec: Spec, upstream: Upstream) -> dict[str, Any]:
    """The variables of the profile's author: those of the inventory files, and over them `vars`."""
    found: dict[str, Any] = {}
    for path in spec.inventory:
        found.update(parse_variables(upstream.read(path, limit=_INVENTORY_LIMIT), path))
    return found | spec.vars


class Layers:
    """The tree's variables and the author's, in the order in which Ansible lets them win, for any target.

    Role vars stand over the inventory's, https://docs.ansible.com/ansible/latest/playbook_guide/playbooks_variables.html
    """

    def __init__(self, tree: Tree, own: Mapping[str, Any]) -> None:
        self.origin = tree.origin
        self._vars, self._own = tree.variables(*ROLE_VARS), own
        self._defaults = tree.variables(*DEFAULTS, *FURTHER_DEFAULTS)
        for name in ("downloads", "kube_version", "kube_image_repo", "image_arch"):
            if name not in {**self._defaults, **self._vars}:
                raise unknown_layout(self.origin, f"it has no variable {name}")

    def of(self, target: Target, overrides: Mapping[str, str] | None = None) -> Variables:
        """The variables on a node like `target`, with `overrides` in the inventory."""
        return Variables((self._vars, overrides or {}, self._own, facts(target), self._defaults), self.origin)


def _platform(layers: Layers, public: Public, target: Target, tree: Tree, *, everything: bool) -> Platform:
    variables = layers.of(target)
    needs.refuse_what_is_not_carried(variables)
    for warning in needs.warnings(variables):
        log.warning("kubespray: %s", warning)
    listed = tree.variables(PACKAGES).get("pkgs", {})
    names = needs.packages(variables, listed) if takes_rpms(target) else []
    files, images = _collect(variables, everything=everything)
    for file in files:
        public.url(file.url)
    for image in images:
        public.image(image.reference)
    return Platform(target, files, images, tuple(names))


def _collect(variables: Variables, *, everything: bool) -> tuple[tuple[File, ...], tuple[Image, ...]]:
    return (
        tuple(needs.files(variables, everything=everything)),
        tuple(needs.images(variables, everything=everything)),
    )


def _site_variables(layers: Layers, platforms: Sequence[Platform], *, everything: bool) -> dict[str, str]:
    """The variables that lead every platform to the site. Raises ProfileError where one would need two values."""
    found: dict[str, str] = offline.roots(layers.of(platforms[0].target))
    for platform in platforms:
        variables = offline.lead_to_site(
            partial(layers.of, platform.target),
            partial(_collect, everything=everything),
            (platform.files, platform.images),
            found,
        )
        for name, value in variables.items():
            if found.setdefault(name, value) != value:
                raise ProfileError(
                    f"kubespray: {name} would need two values for nodes of two architectures",
                    hint="make a bundle for each architecture",
                )
    return dict(sorted(found.items()))


def _rpms(platforms: Sequence[Platform]) -> Json:
    """Packages by target; targets that need the same share an entry."""
    by_names: dict[tuple[str, ...], list[Json]] = {}
    for platform in platforms:
        if platform.packages:
            by_names.setdefault(platform.packages, []).append(str(platform.target))
    return (
        {"packages": [{"names": list(names), "for": targets} for names, targets in by_names.items()]}
        if by_names
        else {}
    )


def _files(platforms: Iterable[Platform]) -> list[Json]:
    """The files of all platforms by URL, each once."""
    found: dict[str, Json] = {}
    for file in (file for platform in platforms for file in platform.files):
        entry: dict[str, Json] = {"url": file.url, file.algorithm: file.digest, "mode": file.mode}
        found[file.url] = entry
    return list(found.values())


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
