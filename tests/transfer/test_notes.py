"""Notes of earlier runs: this user's alone, or none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bundler.transfer.notes import Notes


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bundler"


def test_what_is_remembered_is_recalled_for_that_place_alone(cache: Path, tmp_path: Path) -> None:
    notes = Notes(tmp_path / "a.lock.json")
    notes.remember("x", b"1")
    notes.remember("x", b"2")
    assert Notes(tmp_path / "a.lock.json").recall("x") == b"2"
    assert Notes(tmp_path / "b.lock.json").recall("x") is None
    assert Notes(None).recall("x") is None
    assert cache.stat().st_mode & 0o777 == 0o700
    notes.forget("x")
    assert notes.recall("x") is None
    assert list(cache.iterdir()) == []


def link(cache: Path) -> None:
    (cache.parent / "elsewhere").mkdir(parents=True, mode=0o700)
    cache.symlink_to(cache.parent / "elsewhere")


def open_to_all(cache: Path) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)


def another_users(cache: Path) -> None:
    cache.mkdir(parents=True, mode=0o700)
    if os.geteuid():
        pytest.skip("needs root")
    os.chown(cache, 12345, 12345)


def a_file(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.touch()


@pytest.mark.parametrize("plant", [link, open_to_all, another_users, a_file])
def test_a_cache_that_others_may_write_is_not_used(cache: Path, tmp_path: Path, plant: object) -> None:
    assert callable(plant)
    plant(cache)
    Notes(tmp_path / "lock").remember("x", b"1")
    assert Notes(tmp_path / "lock").recall("x") is None
    assert not cache.is_dir() or not list(cache.iterdir())


def test_a_link_for_a_note_is_not_followed(cache: Path, tmp_path: Path) -> None:
    notes = Notes(tmp_path / "lock")
    notes.remember("x", b"1")
    (note,) = cache.iterdir()
    note.unlink()
    (tmp_path / "other").write_bytes(b"planted")
    note.symlink_to(tmp_path / "other")
    assert notes.recall("x") is None
    notes.remember("x", b"2")
    assert (tmp_path / "other").read_bytes() == b"planted"
    assert notes.recall("x") == b"2"
