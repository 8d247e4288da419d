"""What a cluster with given variables needs, one node's platform at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from bundler.errors import ProfileError
from bundler.recipes.kubespray import further
from bundler.recipes.kubespray.variables import Variables

_CHECKSUM = re.compile(r"(?:(sha256):)?([0-9a-f]{64})|(sha512):([0-9a-f]{128})")
_KUBEADM = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")


@dataclass(frozen=True, slots=True)
class File:
    """A file that nodes download: `algorithm` is sha256 or sha512, `mode` four octal digits."""

    entry: str  # of `downloads`
    url: str
    algorithm: str
    digest: str
    mode: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image that nodes pull; `entry` is that of `downloads`, or says where else it comes from."""

    entry: str
    reference: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A Helm chart that something fetches by name and version."""

    name: str
    version: str
    url: str


def files(variables: Variables, *, everything: bool) -> Iterator[File]:
    """The files in `downloads`: the enabled ones, or all of them. Raises ProfileError."""
    for name, entry in _downloads(variables):
        if "url" not in entry or not (everything or _enabled(variables, entry, "file")):
            continue
        url = variables.evaluate(entry["url"])
        checksum = str(variables.evaluate(entry.get("checksum", "")) or "")
        found = _CHECKSUM.fullmatch(checksum)
        if found is None:
            _refuse(variables, name, f"{checksum!r} is no checksum of sha256 or sha512, so {url} cannot be verified")
        sha256, sha512 = found[2], found[4]
        yield File(name, str(url), "sha256" if sha256 else "sha512", sha256 or sha512, _mode(entry.get("mode")))


def images(variables: Variables, *, everything: bool) -> Iterator[Image]:
    """The images in `downloads`, those that kubeadm pulls, and those that roles use beside. Raises ProfileError."""
    for name, entry in _downloads(variables):
        if "repo" not in entry or not (everything or _enabled(variables, entry, "container")):
            continue
        reference = f"{variables.evaluate(entry['repo'])}:{variables.evaluate(entry['tag'])}"
        digest = variables.evaluate(entry.get("checksum", "")) if "url" not in entry else ""
        yield Image(name, f"{reference}@sha256:{digest}" if digest else reference)
    repository = variables["kubeadm_image_repo" if "kubeadm_image_repo" in variables else "kube_image_repo"]
    for component in _KUBEADM:
        yield Image("kubeadm", f"{repository}/{component}:v{variables['kube_version']}")
    for rule in further.IMAGES:
        if _has(variables, rule.what) and (everything or variables.holds(rule.when)):
            yield Image("roles", str(variables.evaluate(rule.what)))


def packages(variables: Variables, raw: Mapping[str, Any]) -> list[str]:
    """The names of the RPMs in `raw`, the `pkgs` of roles/system_packages, whose conditions hold, and further ones."""
    listed = [
        name for name, conditions in raw.items() if all(variables.evaluate(condition) for condition in conditions or ())
    ]
    return listed + [rule.what for rule in further.PACKAGES if rule.what not in listed and variables.holds(rule.when)]


def refuse_what_is_not_carried(variables: Variables) -> None:
    """Raise ProfileError for a choice that needs what bundler cannot know of."""
    for rule in further.REFUSED:
        if variables.holds(rule.when):
            raise ProfileError(f"kubespray: {rule.what}", hint="change that variable under `kubespray: vars:`")


def warnings(variables: Variables) -> Iterator[str]:
    """What the profile's author has to add by hand."""
    return (rule.what for rule in further.WARNINGS if variables.holds(rule.when))


def cilium_chart(variables: Variables, *, everything: bool) -> Chart | None:
    """Cilium's Helm chart, where it is needed."""
    rule = further.CILIUM_CHART
    if not _has(variables, rule.what) or not (everything or variables.holds(rule.when)):
        return None
    return Chart("cilium", str(variables["cilium_version"]), str(variables.evaluate(rule.what)))


def _downloads(variables: Variables) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The entries of `downloads` as written: most of them are not wanted, and some could not be evaluated."""
    downloads = variables.raw("downloads")
    if not isinstance(downloads, dict):
        _refuse(variables, "downloads", "it is no mapping of entries")
    for name, entry in downloads.items():
        if not isinstance(entry, dict):
            _refuse(variables, str(name), "it is no mapping")
        yield name, entry


def _enabled(variables: Variables, entry: Mapping[str, Any], kind: str) -> bool:
    return bool(variables.evaluate(entry.get("enabled", False)) and variables.evaluate(entry.get(kind, False)))


def _has(variables: Variables, template: str) -> bool:
    """Whether every variable that `template` cannot do without is there."""
    needed = re.findall(r"\{\{ ([a-z0-9_]+) \}\}", template)
    return all(name in variables for name in needed)


def _mode(value: Any) -> str:
    """Permission bits as four octal digits; Kubespray writes "0755" and, for some, the number 755 for the same."""
    text = str(value if value is not None else "0644")
    return text.zfill(4) if re.fullmatch(r"0?[0-7]{3}", text) else "0644"


def _refuse(variables: Variables, name: str, why: str) -> NoReturn:
    raise ProfileError(
        f"{variables.origin}: downloads: {name}: {why}",
        hint="a version set under `kubespray: vars:` needs a checksum there too; else leave the version to the tree",
    )
