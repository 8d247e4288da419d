"""Whatever byte of a bundle is changed, cut off or added, reading it says so and hands nothing of it over as whole."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bundler.bundle.layout import BLOCK
from bundler.bundle.manifest import MANIFEST, SUMS
from bundler.bundle.reader import CHUNK, Bundle
from bundler.errors import BundleError, BundlerError, IntegrityError
from tests.bundle.bundles import write_bundle

CONTENTS = {
    "files/empty": b"",
    "files/large": random.Random(7).randbytes(2 * CHUNK + 17),
    "files/run.x": b"#!/bin/sh\n",
    f"files/{'long/' * 40}name": b"a path that needs a pax header",
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "demo-1.0.tar", CONTENTS)


def verify(path: Path) -> None:
    with Bundle(path) as opened:
        opened.verify(jobs=2)


def test_a_bundle_gives_back_what_was_written(bundle: Path) -> None:
    with Bundle(bundle) as opened:
        opened.verify(jobs=2)
        assert {obj.path: b"".join(opened.stream(obj)) for obj in opened.manifest.payload} == CONTENTS
        assert opened.unchecked() == 0
        assert opened.manifest.items[0].attributes == {"path": "a value"}


def test_one_flipped_byte_anywhere_is_found(bundle: Path) -> None:
    data = bundle.read_bytes()
    with Bundle(bundle) as opened:
        members = list(opened.layout.members.values())
        tail = opened.layout.end_of_members
    # Every header byte of the first members, and of each member its frame, its ends and a byte within.
    places = {*range(0, 3 * BLOCK, 3), tail, tail + 700, len(data) - 1}
    for member in members:
        places |= {member.start, member.start + 130, member.start + 156, member.data - 1, member.end - 1}
        places |= {member.data, member.data + member.size // 2, member.data + max(0, member.size - 1)}
    for place in sorted(places):
        broken = bytearray(data)
        broken[place] ^= 0x20
        bundle.write_bytes(broken)
        with pytest.raises(IntegrityError):
            verify(bundle)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999])
def test_a_bundle_cut_short_names_what_is_lost(bundle: Path, share: float) -> None:
    with bundle.open("r+b") as file:
        file.truncate(int(bundle.stat().st_size * share))
    with pytest.raises(IntegrityError, match="cut short"):
        verify(bundle)


def test_trailing_bytes_are_refused(bundle: Path) -> None:
    with bundle.open("ab") as file:
        file.write(b"x" * 512)
    with pytest.raises(IntegrityError, match="512 bytes too long"):
        verify(bundle)


@pytest.mark.parametrize("data", [b"", b"short", b"x" * 4096, b"\x1f\x8b" + b"\0" * 4096])
def test_what_is_no_bundle_is_said_to_be_none(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "other.tar"
    path.write_bytes(data)
    with pytest.raises(BundleError, match="is no bundle"):
        Bundle(path)


def test_a_damaged_object_never_hands_over_its_last_chunk(bundle: Path) -> None:
    with Bundle(bundle) as opened:
        obj = next(obj for obj in opened.manifest.payload if obj.path == "files/large")
        offset = opened.layout.members[obj.path].data
    with bundle.open("r+b") as file:
        file.seek(offset)
        file.write(b"?")
    with Bundle(bundle) as opened:
        chunks: list[bytes] = []
        with pytest.raises(IntegrityError, match="files/large"):
            chunks.extend(opened.stream(obj))
        assert len(b"".join(chunks)) < obj.size


def test_an_object_larger_than_the_limit_is_not_read_whole(bundle: Path) -> None:
    with Bundle(bundle) as opened:
        obj = next(obj for obj in opened.manifest.payload if obj.path == "files/large")
        with pytest.raises(IntegrityError, match="more than the 1000"):
            opened.read(obj, limit=1000)


def test_random_damage_never_passes_and_never_crashes(bundle: Path) -> None:
    data = bundle.read_bytes()
    chance = random.Random(11)
    with Bundle(bundle) as opened:
        head = opened.layout.members[SUMS].end
        assert opened.layout.members[MANIFEST].start == 0
    for _ in range(150):
        broken = bytearray(data)
        place = chance.randrange(head if chance.random() < 0.7 else len(data))
        broken[place] = (broken[place] + chance.randrange(1, 256)) % 256
        bundle.write_bytes(broken)
        with pytest.raises(BundlerError):
            verify(bundle)
