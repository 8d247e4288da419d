"""bundler itself as a wheel, from what runs now: installed or a checkout, it makes the same bytes.

Format: https://packaging.python.org/en/latest/specifications/binary-distribution-format/
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from bundler.errors import ConfigError

_PROJECT = "bundler"
_WHEEL = "Wheel-Version: 1.0\nGenerator: bundler\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_DATE = (1980, 1, 1, 0, 0, 0)  # of every member: a zip knows no earlier one


def file_name() -> str:
    """`bundler-1.0-py3-none-any.whl`."""
    return f"{_PROJECT}-{version()}-py3-none-any.whl"


def version() -> str:
    return _distribution().version


def requirements(extra: str) -> tuple[str, ...]:
    """What bundler with `extra` needs, as PEP 508 requirements without the part about extras."""
    found = []
    for requirement in map(Requirement, _distribution().requires or ()):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            requirement.marker = None
            found.append(str(requirement))
    return tuple(found)


def build() -> bytes:
    """The wheel."""
    found = _distribution()
    information = f"{_PROJECT}-{found.version}.dist-info"
    members = dict(sorted(_package()))
    members[f"{information}/METADATA"] = _text(found, "METADATA")
    members[f"{information}/entry_points.txt"] = _text(found, "entry_points.txt")
    members[f"{information}/WHEEL"] = _WHEEL.encode()
    record = "".join(f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in members.items())
    members[f"{information}/RECORD"] = f"{record}{information}/RECORD,,\n".encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in members.items():
            member = zipfile.ZipInfo(path, _DATE)
            member.external_attr = 0o644 << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, data)
    return file.getvalue()


def _package() -> Iterator[tuple[str, bytes]]:
    folder = Path(__file__).parents[2]
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"{_PROJECT}/{path.relative_to(folder).as_posix()}", path.read_bytes()
    profiles = folder.parent / "profiles"  # of a checkout; an installed bundler has them inside
    if not (folder / "shipped_profiles").is_dir():
        for path in profiles.rglob("*"):
            if path.is_file():
                yield f"{_PROJECT}/shipped_profiles/{path.relative_to(profiles).as_posix()}", path.read_bytes()


def _distribution() -> Distribution:
    try:
        return distribution(_PROJECT)
    except PackageNotFoundError:
        raise ConfigError(
            "bundler runs from a folder where it is not installed, so it cannot carry itself",
            hint="install it into a virtual environment: pip install -e '.[build]'",
        ) from None


def _text(found: Distribution, name: str) -> bytes:
    return (found.read_text(name) or "").encode()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
