"""Which of Kubespray's variables have to change so that a cluster takes everything from the site; and the proof.

The variables are not listed here but found: those that hold nothing but a host are the roots of URLs and image names.
Then everything is evaluated once more, with these set to a site, and must lead to where the site will have it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from bundler.errors import ProfileError
from bundler.kinds.files.place import place_of, served_name
from bundler.kinds.images.reference import Reference
from bundler.recipes.kubespray.attributes import FILES, REGISTRY
from bundler.recipes.kubespray.needs import File, Image
from bundler.recipes.kubespray.tree import DOWNLOADS
from bundler.recipes.kubespray.variables import Variables

_URL_ROOT = re.compile(r"https?://([A-Za-z0-9.-]+)/?")
_IMAGE_ROOT = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?(/[a-z0-9._/-]+)?")
_LONE_NAME = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_HELPER = "local_path_provisioner_helper_image_repo"


def roots(variables: Variables) -> dict[str, str]:
    """The variables that hold just a host, each with what it is at the site (FILES, REGISTRY)."""
    found: dict[str, str] = {}
    for name in variables:
        raw = variables.raw(name)
        if not isinstance(raw, str):
            continue
        if name.endswith("_url") and (url := _URL_ROOT.fullmatch(raw)):
            found[name] = f"{FILES}/{url[1]}"
        elif name.endswith("_image_repo") and _IMAGE_ROOT.fullmatch(raw):
            found[name] = _at_site(raw)
    # A name without a host is docker.io's; the role's default need not be in the tree.
    helper = variables.raw(_HELPER) if _HELPER in variables else "busybox"
    if isinstance(helper, str) and "{" not in helper:
        found[_HELPER] = _at_site(helper)
    return found


def lead_to_site(
    evaluate: Callable[[Mapping[str, str]], Variables],
    collect: Callable[[Variables], tuple[Sequence[File], Sequence[Image]]],
    original: tuple[Sequence[File], Sequence[Image]],
    overrides: Mapping[str, str],
) -> dict[str, str]:
    """`overrides`, and more where those do not do: then every file and image of `original` leads to the site.

    `evaluate` gives the variables with overrides, `collect` what is needed with them. Raises ProfileError, naming it,
    for what no variable can move.
    """
    files, _ = original
    found = dict(overrides)
    moved_files, _ = collect(evaluate(found))
    for before, after in zip(files, moved_files, strict=True):
        if after.url != _file_at_site(before):
            found[_variable_of(evaluate({}), before)] = _file_at_site(before)
    _prove(original, collect(evaluate(found)))
    return found


def _prove(original: tuple[Sequence[File], Sequence[Image]], moved: tuple[Sequence[File], Sequence[Image]]) -> None:
    astray = [
        f"{before.url} ({before.entry}) would be asked for at {after.url}"
        for before, after in zip(original[0], moved[0], strict=True)
        if after.url != _file_at_site(before)
    ] + [
        f"{before.reference} ({before.entry}) would be pulled as {after.reference}"
        for before, after in zip(original[1], moved[1], strict=True)
        if after.reference != _image_at_site(before)
    ]
    if astray:
        raise ProfileError(
            "kubespray: no variable leads these to the site:",
            *(f"  {line}" for line in astray),
            hint="set the variables they come from under `kubespray: vars:` to upstream's names, or leave them out",
        )


def _variable_of(variables: Variables, file: File) -> str:
    """The variable that alone makes a file's URL."""
    url = variables.raw("downloads")[file.entry]["url"]
    lone = _LONE_NAME.fullmatch(url.strip())
    if lone is None:
        raise ProfileError(
            f"kubespray: {file.url} of downloads.{file.entry} stands in no variable of its own, so no offline.yml can "
            "lead it to the site",
            hint=f"report it to Kubespray: {DOWNLOADS} should take it from a variable",
        )
    return lone[1]


def _at_site(name: str) -> str:
    """The head of an image's name at the site: without its host, and with the folder that docker.io leaves out."""
    if name.count("/") == 0 and _looks_like_host(name):
        return REGISTRY
    return f"{REGISTRY}/{Reference.parse(name).repository}"


def _looks_like_host(name: str) -> bool:
    return "." in name or ":" in name


def _file_at_site(file: File) -> str:
    return f"{FILES}/{served_name(place_of(file.url)).removeprefix('files/')}"


def _image_at_site(image: Image) -> str:
    reference = Reference.parse(image.reference)
    tag = f":{reference.tag}" if reference.tag else ""
    digest = f"@{reference.digest}" if reference.digest else ""
    return f"{REGISTRY}/{reference.repository}{tag}{digest}"
