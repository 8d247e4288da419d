"""A bundle that comes in a pipe: read once, in its order, in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bundler.bundle import reader
from bundler.bundle.reader import Bundle
from bundler.bundle.storage import STDIN, Pipe
from bundler.errors import BundleError, IntegrityError
from tests.bundle.bundles import write_bundle

_FILES = {"files/a": b"alpha", "files/large": os.urandom(5 << 20), "files/z": b"omega"}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "demo-1.0.tar", _FILES)


@contextmanager
def piped(data: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    """A pipe that `data` comes out of, a little at a time."""
    out, to = os.pipe()

    def write() -> None:
        try:
            with os.fdopen(to, "wb") as file:
                for start in range(0, len(data), 60_000):
                    file.write(data[start : start + 60_000])
        except BrokenPipeError:
            pass

    thread = threading.Thread(target=write)
    thread.start()
    pipe = Pipe(out)
    monkeypatch.setattr(reader, "open_storage", lambda _: pipe)
    try:
        yield pipe
    finally:
        os.close(out)
        thread.join()


def test_every_byte_is_checked_as_it_comes(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with piped(bundle.read_bytes(), monkeypatch) as pipe, Bundle(STDIN) as opened:
        most = 0
        passed = pipe.passed

        def note(offset: int) -> None:
            nonlocal most
            most = max(most, len(pipe._held))
            passed(offset)

        monkeypatch.setattr(pipe, "passed", note)
        opened.verify(jobs=8)
        assert opened.unchecked() == 0
        assert most < 3 << 20  # however large an object is


@pytest.mark.parametrize("place", [100, 5000, 200_000, 3_000_000, -1500, -1])
def test_one_flipped_byte_is_found(bundle: Path, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    data = bytearray(bundle.read_bytes())
    data[place] ^= 0x10
    with piped(bytes(data), monkeypatch), pytest.raises((BundleError, IntegrityError)), Bundle(STDIN) as opened:
        opened.verify(jobs=1)


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: data[:4_000_000]])
def test_its_end_is_where_it_should_be(bundle: Path, monkeypatch: pytest.MonkeyPatch, change: object) -> None:
    data = change(bundle.read_bytes())  # type: ignore[operator]
    with piped(data, monkeypatch), pytest.raises((BundleError, IntegrityError)), Bundle(STDIN) as opened:
        opened.verify(jobs=1)


def test_inspect_and_verify_read_the_standard_input(bundle: Path) -> None:
    for command in (["inspect", "-"], ["verify", "-"]):
        with bundle.open("rb") as file:
            argv = [sys.executable, "-m", "bundler", *command, "--json"]
            done = subprocess.run(argv, stdin=file, capture_output=True, text=True, check=True)
        with Bundle(bundle) as opened:
            assert json.loads(done.stdout)["id"] == opened.manifest.id


def test_inspect_needs_the_head_alone(bundle: Path) -> None:
    """What sends the rest finds nobody reading, and the answer is there."""
    command = f"cat {bundle} /dev/zero | {sys.executable} -m bundler inspect - --json"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["name"] == "demo"
