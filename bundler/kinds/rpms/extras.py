"""What of a repository's comps.xml and updateinfo.xml concerns a subset of its packages.

Formats: https://github.com/rpm-software-management/libcomps (comps.rng) and the updateinfo.xml that createrepo_c reads.
Both are cut on the XML tree, so that all they say of what stays (translations, references) stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from typing import BinaryIO
from xml.etree import ElementTree as ET

from bundler.errors import ResolveError
from bundler.kinds.rpms.metadata import NEVRA
from bundler.limits import Limit, LimitExceeded

_ADVISORY = Limit("one advisory", 500_000, "elements")  # those of whole distributions have some 10,000
_GROUP_LISTS = ("grouplist", "optionlist")
_HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n'


def comps_for(comps: BinaryIO, names: Container[str], what: str) -> bytes | None:
    """The groups that have packages called `names`, with these alone, and the environments and categories they are in.

    None when there is no such group. Raises ResolveError when `comps` is no comps.xml.
    """
    try:
        root = ET.parse(comps).getroot()  # noqa: S314 - expat from 2.4.1 on limits what entities may grow to
    except ET.ParseError as error:
        raise _unreadable(what, "comps.xml", error) from None
    kept: set[str] = set()
    for group in root.findall("group"):
        if _keep(group, "packagelist", lambda requirement: (requirement.text or "").strip() in names):
            kept.add(_id(group))
        else:
            root.remove(group)
    for section in root.findall("environment") + root.findall("category"):
        lists = [_keep(section, name, lambda group: (group.text or "").strip() in kept) for name in _GROUP_LISTS]
        if not any(lists):
            root.remove(section)
    _keep(root, "langpacks", lambda match: match.get("name", "") in names)
    return _HEAD + ET.tostring(root, encoding="utf-8") + b"\n" if kept else None


def _id(element: ET.Element) -> str:
    return (element.findtext("id") or "").strip()


def _keep(parent: ET.Element, name: str, wanted: Callable[[ET.Element], bool]) -> bool:
    """Drop from the list `name` of `parent` what is not wanted; say whether anything is left."""
    found = parent.find(name)
    if found is None:
        return False
    for child in list(found):
        if not wanted(child):
            found.remove(child)
    return len(found) > 0


def updateinfo_for(updateinfo: BinaryIO, nevras: Container[NEVRA], what: str) -> Iterator[bytes]:
    """The advisories about `nevras`, with these packages alone, as an updateinfo.xml in pieces: flat in memory.

    Nothing at all when there is no such advisory. Raises ResolveError when `updateinfo` is no updateinfo.xml.
    """
    started, elements = False, 0
    try:
        events = ET.iterparse(updateinfo, events=("start", "end"))  # noqa: S314 - as above
        root = next(events)[1]
        for event, element in events:
            elements += event == "start"
            _ADVISORY.check(elements)
            if event == "end" and element.tag == "update":
                if _cut_advisory(element, nevras):
                    if not started:
                        yield _HEAD + b"<updates>\n"
                        started = True
                    element.tail = "\n"
                    yield ET.tostring(element, encoding="utf-8")
                root.clear()
                elements = 0
    except LimitExceeded as error:
        raise error.of(ResolveError, f"{what}: updateinfo.xml") from None
    except ET.ParseError as error:
        raise _unreadable(what, "updateinfo.xml", error) from None
    if started:
        yield b"</updates>\n"


def _cut_advisory(advisory: ET.Element, nevras: Container[NEVRA]) -> bool:
    """Drop the packages that are not among `nevras`, and collections left empty; say whether any package is left."""
    for pkglist in advisory.findall("pkglist"):
        for collection in pkglist.findall("collection"):
            for package in collection.findall("package"):
                if _nevra(package) not in nevras:
                    collection.remove(package)
            if collection.find("package") is None:
                pkglist.remove(collection)
    return advisory.find("pkglist/collection/package") is not None


def _nevra(package: ET.Element) -> NEVRA:
    name, version, release, arch = (package.get(part, "") for part in ("name", "version", "release", "arch"))
    epoch = package.get("epoch", "0")  # some writers leave it out, or write None
    return NEVRA(name, int(epoch) if epoch.isdecimal() else 0, version, release, arch)


def _unreadable(what: str, file: str, error: ET.ParseError) -> ResolveError:
    return ResolveError(f"{what}: {file} cannot be parsed: {error}", hint="ask who runs the repository")
