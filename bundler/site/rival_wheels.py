"""Which wheels a node's pip could take in place of others: same project, same version, another file.

The file's name decides (binary distribution format specification): project and version are compared as pip compares
them, and a build number makes no other wheel. Which one pip takes then depends on tags alone, not on who brought it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from bundler.model.target import OCI_ARCHITECTURES


def rivals(mine: Mapping[str, str], theirs: Mapping[str, str]) -> Iterator[str]:
    """The files of `mine`, sha256 by file name, that a node could take in place of one of `theirs`, or the other way.

    Wheels for different Pythons or machines are none: no node could use both. Nor is a file that both have.
    """
    others: dict[object, list[tuple[str, frozenset[Tag]]]] = defaultdict(list)
    for file, sha256 in theirs.items():
        what, tags = _parsed(file)
        others[what].append((sha256, tags))
    for file, sha256 in mine.items():
        what, tags = _parsed(file)
        same = others.get(what, [])
        if sha256 not in {each for each, _ in same} and any(_meet(tags, more) for _, more in same):
            yield file


def _parsed(file: str) -> tuple[object, frozenset[Tag]]:
    try:
        project, version, _, tags = parse_wheel_filename(file)
    except InvalidWheelFilename:  # pip would not take it
        return file, frozenset({Tag("py3", "none", "any")})
    return (project, version), tags


def _meet(one: Iterable[Tag], other: Iterable[Tag]) -> bool:
    """Whether one node could use wheels with these tags, the one as well as the other."""
    other = tuple(other)
    return any(_same_python(a, b) and _same_machine(a, b) for a in one for b in other)


def _same_python(one: Tag, other: Tag) -> bool:
    pythons = {tag.interpreter for tag in (one, other) if tag.interpreter.startswith("cp") and tag.abi != "abi3"}
    return len(pythons) < 2


def _same_machine(one: Tag, other: Tag) -> bool:
    machines = {arch for tag in (one, other) for arch in OCI_ARCHITECTURES if tag.platform.endswith(f"_{arch}")}
    return len(machines) < 2
