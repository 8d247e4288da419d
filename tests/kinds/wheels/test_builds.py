"""What is made of a wheel that was built: it was the package's code that wrote it."""

from __future__ import annotations

import threading
import zipfile
from pathlib import Path

import pytest

from bundler.errors import ResolveError
from bundler.kinds.wheels.builds import Builder, misfit
from bundler.kinds.wheels.environment import Environment
from bundler.kinds.wheels.metadata import CoreMetadata, read_metadata
from bundler.kinds.wheels.packages import Package
from bundler.kinds.wheels.pip import Pip
from bundler.kinds.wheels.sandbox import Sandbox
from bundler.kinds.wheels.source import Index
from bundler.model.config import Config

NODE = Environment("3.11", "x86_64", (2, 34))
NAME = "a-1.0-cp311-cp311-linux_x86_64.whl"


def built(folder: Path, name: str, library: bytes) -> Path:
    file = folder / name
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.so", b"\x7fELF" + library)
    return file


@pytest.mark.parametrize(
    ("name", "library", "reason"),
    [
        (NAME, b"\0GLIBC_2.34\0", None),
        (NAME, b"\0GLIBC_2.4\0GLIBC_2.38\0", "the build needs glibc 2.38"),
        (NAME, b"x" * ((1 << 20) - 6) + b"\0GLIBC_2.38\0", "the build needs glibc 2.38"),  # across two reads
        ("a-1.0-cp39-cp39-linux_x86_64.whl", b"", "the build gave cp39-cp39-linux_x86_64"),
        ("a-1.0-py3-none-any.whl", b"\0GLIBC_2.99\0", None),
    ],
)
def test_what_does_not_fit(tmp_path: Path, name: str, library: bytes, reason: str | None) -> None:
    assert misfit(built(tmp_path, name, library), NODE) == reason


@pytest.mark.parametrize("packed", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_damaged_member(tmp_path: Path, packed: int) -> None:
    file = tmp_path / NAME
    with zipfile.ZipFile(file, "w", packed) as archive:
        archive.writestr("a-1.0.dist-info/METADATA", bytes(range(256)) * 40)
        archive.writestr("a.so", b"\x7fELF" + bytes(range(256)) * 40)
    data = bytearray(file.read_bytes())
    for info in zipfile.ZipFile(file).infolist():
        begin = info.header_offset + 30 + len(info.filename) + 12
        data[begin : begin + 20] = b"\xff" * 20
    file.write_bytes(data)
    assert str(misfit(file, NODE)).startswith("the build gave a damaged archive: ")
    with pytest.raises(ResolveError, match="is not a wheel that can be used"):
        read_metadata(file)


def test_a_source_that_may_not_be_built(tmp_path: Path) -> None:
    """Whatever led there: the builder itself asks."""

    def never(*_: object) -> None:
        raise AssertionError

    sandbox = Sandbox(tmp_path, threading.Event())
    pip = Pip(Index("https://e.org/simple"), Config(), tmp_path, lambda *_: None)
    builder = Builder(pip, never, sandbox, tmp_path, frozenset({"other"}))
    metadata = CoreMetadata("a", "1.0", "2.1")
    package = Package(metadata, "https://e.org/a-1.0.tar.gz", "a-1.0.tar.gz", "0" * 64, None)
    with pytest.raises(ResolveError, match=r"a 1\.0 comes as a-1\.0\.tar\.gz, and building it is not allowed"):
        builder.wheel(package, NODE)


def test_a_damaged_archive(tmp_path: Path) -> None:
    file = built(tmp_path, NAME, b"x" * 1000)
    file.write_bytes(file.read_bytes().replace(b"xxxx", b"yyyy", 1))
    assert str(misfit(file, NODE)).startswith("the build gave a damaged archive: ")


def test_an_archive_that_unpacks_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bundler.kinds.wheels.builds._UNPACKED_LIMIT", 1000)
    assert misfit(built(tmp_path, NAME, b""), NODE) is None
    assert "unpacks to more than 1000 bytes" in str(misfit(built(tmp_path, NAME, b"x" * 1000), NODE))
