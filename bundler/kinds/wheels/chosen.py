"""What pip and its index say, as values that bundler goes on with; whatever they say else ends here.

pip is a child process that was fed by strangers: its files are read as theirs. A digest becomes part of a lock, a file
name part of a path, a URL is asked for: each is held to its form before anything is made of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from bundler.errors import FetchError, ResolveError
from bundler.kinds.wheels.spec import ARCHIVES, WHEEL
from bundler.model.contents import Sha256
from bundler.model.problems import first_problem
from bundler.model.store_names import ProjectName

_TOLD_LIMIT = 512 << 20  # bytes of one file that pip leaves behind
_LARGEST = 1 << 40  # bytes of a wheel or source distribution
_SHOWN = 200  # characters


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc:
        return url
    if url.startswith("file:///"):
        return url
    raise ValueError("no URL to take a file from")


def _check_version(text: str) -> str:
    Version(text)
    return text


Url = Annotated[str, StringConstraints(pattern=r"^[!-\"$-~]+$", max_length=8192), AfterValidator(_check_url)]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+!-]*$", max_length=255)]


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Pin(_Told):
    """One line of a pip-tools lock: a project, and the sha256 of each file that it may be."""

    project: str
    sha256: frozenset[Sha256]


class Choice(_Told):
    """The file that pip chose for one package. `sha256` and `size` in bytes are None where the index states none.

    `metadata` is core metadata as JSON (PEP 566).
    """

    url: Url
    file_name: FileName
    sha256: Sha256 | None
    size: Annotated[int, Field(ge=1, le=_LARGEST)] | None
    name: ProjectName
    version: Annotated[str, AfterValidator(_check_version)]
    metadata: dict[str, Any]

    @model_validator(mode="after")
    def _one_file(self) -> Self:
        if unquote(urlsplit(self.url).path).rpartition("/")[2] != self.file_name:
            raise ValueError(f"its URL does not end with {self.file_name}")
        if not self.file_name.endswith(ARCHIVES):
            raise ValueError("neither a wheel nor a source distribution")
        if self.file_name.endswith(WHEEL):
            project, version, _, _ = parse_wheel_filename(self.file_name)
            if (project, version) != (canonicalize_name(self.name), Version(self.version)):
                raise ValueError(f"a wheel of something else than {self.name} {self.version}")
        return self


class Heard(_Told):
    """The pages that a lock was made of: their sha256 by URL, None where there is no such page.

    `doubt`: something else had a say, too.
    """

    pages: dict[str, Sha256 | None]
    doubt: bool


def read_choices(file: Path, index: str) -> list[Choice]:
    """What pip chose, one entry for each package. Raises FetchError, naming the package and the index."""
    entries = _json(file, index)
    if not isinstance(entries, list):
        raise _unfit(index, "an answer", "not a list")
    choices = []
    for entry in entries:
        with _held(index, _name(entry)):
            choices.append(Choice.model_validate(entry))
    return choices


def read_heard(file: Path, index: str) -> Heard:
    """What pip heard. Raises FetchError, naming the index."""
    with _held(index, "a page"):
        return Heard.model_validate(_json(file, index))


def read_pins(lock: str, index: str) -> list[Pin]:
    """The pins of a requirements file that pip-tools wrote with `--generate-hashes`.

    Raises ResolveError for a line without a hash; FetchError, naming the package and the index, for what is no pin.
    """
    pins = []
    for line in lock.replace("\\\n", " ").splitlines():
        requirement, *hashes = line.split(" --hash=")
        if not requirement.strip() or requirement.startswith(("#", "-")):
            continue
        if not hashes:
            raise ResolveError(
                f"wheels: {requirement.strip()} has no digest that could be verified",
                hint="name a released version, or the URL of a wheel",
            )
        digests = frozenset(text.strip().removeprefix("sha256:") for text in hashes)
        with _held(index, requirement.strip()):
            pins.append(Pin(project=canonicalize_name(Requirement(requirement.strip()).name), sha256=digests))
    return pins


def _json(file: Path, index: str) -> Any:
    with file.open("rb") as data:
        told = data.read(_TOLD_LIMIT + 1)
    if len(told) > _TOLD_LIMIT:
        raise _unfit(index, "an answer", f"pip makes more than {_TOLD_LIMIT} bytes of it")
    with _held(index, "an answer"):
        return json.loads(told)


@contextmanager
def _held(index: str, what: str) -> Iterator[None]:
    """Make a FetchError of it where what the index says of `what` has another form."""
    try:
        yield
        return
    except ValidationError as error:
        reason = first_problem(error).removeprefix("the document: ")
    except (InvalidRequirement, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
    raise _unfit(index, what, reason) from None


def _unfit(index: str, what: str, reason: str) -> FetchError:
    return FetchError(
        f"wheels: {index}: what it says of {what[:_SHOWN]!r} cannot be: {reason[:_SHOWN]}",
        hint="ask for another version of that package, or name another index in `wheels.index_url`",
    )


def _name(entry: Any) -> str:
    named = [entry.get(key) for key in ("name", "version")] if isinstance(entry, dict) else []
    return " ".join(map(str, named))
