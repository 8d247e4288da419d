"""Which packages may come as source, and what is known of them without running any of their code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pip._internal.distributions.sdist import SourceDistribution
from pip._internal.metadata.importlib._dists import Distribution
from pip._internal.models.format_control import FormatControl
from pip._internal.operations import prepare
from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name, parse_sdist_filename

if TYPE_CHECKING:
    from bundler.kinds.wheels.foreign import archives, bounds
else:  # this folder is run by its path
    import archives
    import bounds

_UNKNOWN = "Metadata-Version: 2.1\nName: {}\nVersion: {}\n"


def allow(names: list[str] | None) -> None:
    """Let only these packages come as source; None: any."""
    formats: Callable[..., frozenset[str]] = FormatControl.get_allowed_formats

    def allowed(self: FormatControl, name: str) -> frozenset[str]:
        found = formats(self, name)
        return found if _may(name, names) else found - {"source"}

    bounds.replace(FormatControl, "get_allowed_formats", allowed)


def read_only(names: list[str] | None, built: dict[str, str]) -> None:
    """Take a source's metadata from the wheel that was built of it, by URL in `built`, else from its PKG-INFO.

    PKG-INFO says less than the build would (old ones leave out their requirements), but whatever is missing comes out
    once the wheel is built. Nothing else is unpacked.
    """

    def unpack(file_name: str, location: str, _: str | None = None) -> None:
        Path(location).mkdir(parents=True, exist_ok=True)
        found = archives.pkg_info(Path(file_name))
        if found is not None:
            Path(location, "PKG-INFO").write_bytes(found)

    def read(self: SourceDistribution, *_: object, **__: object) -> None:
        assert self.req.link is not None
        assert self.req.source_dir is not None
        url = self.req.link.url_without_fragment
        static = Path(self.req.source_dir, "PKG-INFO")
        found = static.read_bytes() if static.exists() else b""
        name = self.req.name or BytesHeaderParser().parsebytes(found, headersonly=True)["Name"]
        if not name or not _may(name, names):
            raise bounds.RefusedError(
                "resolve",
                f"{url} is a source distribution, which the profile does not let bundler build",
                "write it as `name @ URL`, and name the package under `wheels.sdist`; or name a wheel",
            )
        if url in built:
            found = Path(built[url]).read_bytes()
        # pip takes what is before a hyphen for the name.
        folder = Path(self.req.source_dir, f"{canonicalize_name(name).replace('-', '_')}.dist-info")
        folder.mkdir()
        (folder / "METADATA").write_bytes(found or _UNKNOWN.format(name, _version(self.req.link.filename)).encode())
        self.req.metadata_directory = str(folder)

    bounds.replace(prepare, "unpack_file", unpack)
    bounds.replace(SourceDistribution, "prepare_distribution_metadata", read)


def need_by_name() -> None:
    """Let no package need another one by the place it lies in: whatever lies there would be fetched and built."""
    iterate: Callable[..., Iterable[Requirement]] = Distribution.iter_dependencies

    def checked(self: Distribution, *given: Any, **named: Any) -> Iterator[Requirement]:
        for requirement in iterate(self, *given, **named):
            if requirement.url is not None:
                raise bounds.RefusedError(
                    "resolve",
                    f"{self.raw_name} {self.version} needs {str(requirement)[:300]!r}, a place to fetch from "
                    "where only a name and versions may stand",
                    f"ask for another version of {self.raw_name}",
                )
            yield requirement

    bounds.replace(Distribution, "iter_dependencies", checked)


def _may(name: str, names: list[str] | None) -> bool:
    return names is None or canonicalize_name(name) in names


def _version(file_name: str) -> str:
    """What the name of an archive says; 0 where it says nothing, until its build does."""
    try:
        return str(parse_sdist_filename(file_name)[1])
    except ValueError:
        return "0"
