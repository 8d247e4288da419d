"""What to lock, as pip reads it: the entries of a profile, and the requirements files they name."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from bundler.errors import ProfileError
from bundler.kinds.wheels.source import origin
from bundler.kinds.wheels.spec import PLACES, check_requirement, names_file

LIMIT = 4 << 20  # bytes of one requirements file
_COMMENT = re.compile(r"(^|\s+)#.*$")
_INCLUDE = re.compile(r"^(?P<option>-r|--requirement|-c|--constraint)(\s+|=|(?<=^-[rc]))(?P<location>\S+)$")
# Whole lines: pip would take further options behind the first one.
_PASSED_ON = re.compile(r"--pre|--prefer-binary|--(only|no)-binary(=|\s+)[A-Za-z0-9._:,-]+")
_WITHOUT_MEANING = "--require-hashes"  # every hash is checked, whatever a file says
_LINE_OPTION = re.compile(r"\s+--\w")
_HASHES = re.compile(r"(\s+--hash[=\s]\s*\w+:[0-9a-f]+)*\s*")


@dataclass(slots=True)
class Inputs:
    """Lines for pip, each a requirement (or an option it takes in a requirements file).

    `named` has the URLs in them, without fragments, each with the URL of the file that names it, or with itself where
    the profile or a file of this machine does: that may lead anywhere, and a file that was fetched not to this machine.
    """

    requirements: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    named: dict[str, str] = field(default_factory=dict)

    def add(self, lines: list[str], line: str, author: str | None = None) -> None:
        """Put `line` at the end of `lines`, which are of these; `author` is the URL that it comes from, if any."""
        lines.append(line)
        _, url = _place(_LINE_OPTION.split(line)[0].strip())
        if url is not None:
            url = urldefrag(url).url
            if author is None or url not in self.named:
                self.named[url] = author or url


def gather(requirements: Iterable[str], constraints: Iterable[str], read: Callable[[str], bytes]) -> Inputs:
    """Every line of `requirements` and `constraints`, of the files they name, and of those these name, read by `read`.

    Raises ProfileError for a line that cannot be locked, naming the file and the line; whatever `read` raises.
    """
    inputs = Inputs()
    for entries, lines in ((requirements, inputs.requirements), (constraints, inputs.constraints)):
        for entry in entries:
            if names_file(entry):
                _file(entry, lines, inputs, read, set())
            else:
                inputs.add(lines, entry)
    return inputs


def asked(inputs: Inputs) -> tuple[str, ...]:
    """The requirements alone, without options, and without URLs: a site has what was there by its project's name."""
    found: list[str] = []
    for line in inputs.requirements:
        requirement = _LINE_OPTION.split(line)[0].strip()
        if requirement.startswith(PLACES):
            file_name = unquote(urlsplit(requirement).path.rpartition("/")[2])
            if file_name.endswith(".whl"):
                found.append(parse_wheel_filename(file_name)[0])
        elif not requirement.startswith("-"):
            parsed = Requirement(requirement)
            parsed.url = None
            found.append(str(parsed))
    return tuple(dict.fromkeys(found))


def refuse_sources(inputs: Inputs, sources: frozenset[str] | None) -> None:
    """Raise ProfileError for a URL of anything but a wheel, unless its project is one of `sources` (None: any)."""
    for line in (*inputs.requirements, *inputs.constraints):
        name, url = _place(_LINE_OPTION.split(line)[0].strip())
        if url is None or urlsplit(url).path.endswith(".whl") or sources is None or name in sources:
            continue
        allowed = f"write `sdist: [{name}]`" if name else "write it as `name @ URL` and name it under `sdist`"
        raise ProfileError(
            f"wheels: {line} is not a wheel, and building it is not allowed",
            hint=f"name the URL of a wheel; or {allowed}, to have it built in a sandbox",
        )


def _place(requirement: str) -> tuple[str | None, str | None]:
    """The project that a requirement names, and its URL."""
    if requirement.startswith(PLACES):
        return None, requirement
    if requirement.startswith("-"):
        return None, None
    parsed = Requirement(requirement)
    return canonicalize_name(parsed.name), parsed.url


def _file(location: str, lines: list[str], inputs: Inputs, read: Callable[[str], bytes], above: set[str]) -> None:
    if location in above:
        raise ProfileError(f"wheels: {location} includes itself", hint="take the line that leads back to it out")
    try:
        text = read(location).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ProfileError(f"wheels: {location} is not UTF-8 text", hint="name a requirements file") from None
    author = location if location.startswith(PLACES) else None
    for number, line in _logical_lines(text):
        if (include := _INCLUDE.match(line)) is not None:
            taken = inputs.constraints if include["option"] in ("-c", "--constraint") else lines
            _file(_beside(location, include["location"], number), taken, inputs, read, above | {location})
        elif _PASSED_ON.fullmatch(line):
            lines.append(line)
        elif line != _WITHOUT_MEANING:
            _check(line, f"{location}:{number}", ours=author is None)
            inputs.add(lines, line, author)


def _check(line: str, place: str, *, ours: bool) -> None:
    if line.startswith("-") and not line.startswith(("-e", "--editable")):
        raise ProfileError(
            f"{place}: {line} is not taken from a requirements file",
            hint="say where packages come from by `wheels.index_url` in the profile",
        )
    requirement = _LINE_OPTION.split(line)[0]
    options = line.removeprefix(requirement)
    if not _HASHES.fullmatch(options):
        raise ProfileError(f"{place}: {options.strip()} is not taken from a requirements file", hint="take it out")
    try:
        check_requirement(requirement, ours=ours)
    except ValueError as error:
        raise ProfileError(f"{place}: {error}", hint="correct that line, or take it out") from None


def _logical_lines(text: str) -> Iterable[tuple[int, str]]:
    """The lines that say something, joined where a backslash ends them, each with the number it begins at."""
    begun, first = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        first = first if begun else number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            begun += line[:-1]
            continue
        whole = _COMMENT.sub("", begun + line).strip()
        begun = ""
        if whole:
            yield first, whole
    if begun.strip():
        yield first, begun.strip()


def _beside(location: str, other: str, number: int) -> str:
    """`other` as the file at `location` means it in line `number`.

    Raises ProfileError where a file that was fetched names one that is not of the same server.
    """
    if location.startswith(PLACES):
        try:
            found = urljoin(location, other)
            same = origin(found) == origin(location)
        except ValueError:
            found, same = other, False
        if not same:
            raise ProfileError(
                f"{location}:{number}: it includes {found}, which is not on its own server",
                hint="name that file in the profile, if it is meant",
            )
        return found
    if other.startswith(PLACES):
        return other
    return posixpath.join(posixpath.dirname(location), other)
