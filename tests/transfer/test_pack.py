from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from bundler.errors import ProfileError
from bundler.transfer.pack import pack


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    first = tree(tmp_path / "1/kubespray", "b", "a/x", ".git/config")
    second = tree(tmp_path / "2/kubespray", "a/x", "b", ".git/other")
    (first / "a/x").chmod(0o755)
    (second / "a/x").chmod(0o700)
    os.utime(second / "b", (1, 1))
    for folder in (first, second):
        (folder / "link").symlink_to("b")
        pack(folder, folder.with_suffix(".tar"))
    assert first.with_suffix(".tar").read_bytes() == second.with_suffix(".tar").read_bytes()
    with tarfile.open(first.with_suffix(".tar")) as archive:
        assert [(entry.name, oct(entry.mode)) for entry in archive if entry.isreg()] == [
            ("kubespray/a/x", "0o755"),
            ("kubespray/b", "0o644"),
        ]


def test_a_file_with_two_names_is_two_files(tmp_path: Path) -> None:
    folder = tree(tmp_path / "f", "a")
    os.link(folder / "a", folder / "b")
    pack(folder, tmp_path / "t")
    with tarfile.open(tmp_path / "t") as archive:
        assert [(entry.name, entry.size) for entry in archive if entry.isreg()] == [("f/a", 1), ("f/b", 1)]


def test_what_no_archive_should_hold_is_refused(tmp_path: Path) -> None:
    folder = tree(tmp_path / "f", "a")
    os.mkfifo(folder / "pipe")
    with pytest.raises(ProfileError, match="f/pipe is neither"):
        pack(folder, tmp_path / "t")
