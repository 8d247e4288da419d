"""What is made of a wheel that was built: it was the package's code that wrote it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from bundler.kinds.wheels.builds import misfit
from bundler.kinds.wheels.environment import Environment

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


def test_a_damaged_archive(tmp_path: Path) -> None:
    file = built(tmp_path, NAME, b"x" * 1000)
    file.write_bytes(file.read_bytes().replace(b"xxxx", b"yyyy", 1))
    assert str(misfit(file, NODE)).startswith("the build gave a damaged archive: ")


def test_an_archive_that_unpacks_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bundler.kinds.wheels.builds._UNPACKED_LIMIT", 1000)
    assert misfit(built(tmp_path, NAME, b""), NODE) is None
    assert "unpacks to more than 1000 bytes" in str(misfit(built(tmp_path, NAME, b"x" * 1000), NODE))
