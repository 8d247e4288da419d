"""Files beside which others may have planted something: never waited for, never followed, never read without an end."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from bundler.files import create_file, open_own, read_small, replacing, write_file


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_bytes(b"precious")
    return path


@pytest.mark.parametrize("sort", ["pipe", "folder", "/dev/zero", "link to /dev/zero"])
def test_only_a_regular_file_is_read(tmp_path: Path, sort: str) -> None:
    path = tmp_path / "file"
    match sort:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "/dev/zero":
            path = Path(sort)
        case _:
            path.symlink_to("/dev/zero")
    with pytest.raises(OSError, match="it is no regular file"):
        read_small(path, 100)


def test_what_is_read_counts_and_not_the_size_that_the_file_system_tells(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100))
    assert read_small(tmp_path / "file", 100) == bytes(100)
    with pytest.raises(OSError, match="too large: more than 99 B"):
        read_small(tmp_path / "file", 99)
    assert os.stat("/proc/self/status").st_size == 0
    with pytest.raises(OSError, match="too large: more than 10 B"):
        read_small(Path("/proc/self/status"), 10)


@pytest.mark.parametrize("planted", ["link", "link to nowhere", "pipe", "folder"])
def test_nothing_is_written_through_what_was_planted(tmp_path: Path, victim: Path, planted: str) -> None:
    target = tmp_path / "target"
    match planted:
        case "link":
            target.symlink_to(victim)
        case "link to nowhere":
            target.symlink_to(tmp_path / "made")
        case "pipe":
            os.mkfifo(target)
        case _:
            target.mkdir()
    with pytest.raises(OSError, match="it is no regular file"):
        write_file(target, b"new")
    with pytest.raises(FileExistsError):
        create_file(target, b"new", 0o600)
    with pytest.raises(OSError, match=r"it is no regular file|Is a directory"):
        open_own(target, os.O_RDWR)
    assert victim.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["target", "victim"]


def test_a_hard_link_to_somebody_elses_file_is_not_written(tmp_path: Path, victim: Path) -> None:
    os.link(victim, tmp_path / "target")
    with pytest.raises(OSError, match="another name"):
        open_own(tmp_path / "target", os.O_RDWR)
    write_file(tmp_path / "target", b"new")
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "target").read_bytes() == b"new"


def test_until_the_end_the_old_file_stands(tmp_path: Path, victim: Path) -> None:
    with suppress(KeyboardInterrupt), replacing(victim) as file:
        file.write(b"half")
        file.flush()
        raise KeyboardInterrupt
    assert victim.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [victim]


def test_the_name_on_the_way_cannot_be_foreseen(tmp_path: Path) -> None:
    names = set()
    for _ in range(2):
        with replacing(tmp_path / "target"):
            names |= {path.name for path in tmp_path.iterdir()} - {"target"}
    assert len(names) == 2
