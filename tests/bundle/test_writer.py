"""A bundle being written survives every interruption, and takes from earlier bundles what is right there."""

from __future__ import annotations

import hashlib
import os
import random
from contextlib import suppress
from pathlib import Path

import pytest

from bundler.bundle.documents import describe
from bundler.bundle.reader import Bundle
from bundler.bundle.writer import Writer
from bundler.errors import BusyError, IntegrityError
from tests.bundle.bundles import lock_of, write_bundle

LARGE = random.Random(3).randbytes(20 << 20)
CONTENTS = {"files/a": b"alpha", "files/large": LARGE, "files/z": b"omega"}


def fill(writer: Writer) -> int:
    """Complete `writer` from CONTENTS; returns how many bytes that took."""
    taken = 0
    for obj in writer.pending():
        with writer.slot(obj) as slot:
            rest = CONTENTS[obj.path][slot.written :]
            taken += len(rest)
            slot.write(rest)
            slot.finish()
    return taken


def test_an_interrupted_object_goes_on_in_its_middle(tmp_path: Path) -> None:
    manifest, documents = describe(lock_of(CONTENTS))
    target = tmp_path / "demo-1.0.tar"
    with Writer(target, manifest, documents) as writer:
        large = next(obj for obj in writer.pending() if obj.path == "files/large")
        with suppress(KeyboardInterrupt), writer.slot(large) as slot:
            slot.write(LARGE[: 13 << 20])
            raise KeyboardInterrupt
    with Writer(target, manifest, documents) as writer:
        assert fill(writer) == sum(map(len, CONTENTS.values())) - (13 << 20)
        writer.commit()
    assert target.read_bytes() == write_bundle(tmp_path / "straight.tar", CONTENTS).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo-1.0.tar", "straight.tar"]


def test_after_another_boot_what_the_disk_lost_is_fetched_again(tmp_path: Path) -> None:
    manifest, documents = describe(lock_of(CONTENTS))
    target = tmp_path / "demo-1.0.tar"
    with Writer(target, manifest, documents) as writer:
        fill(writer)
    part, journal = target.with_name("demo-1.0.tar.part"), target.with_name("demo-1.0.tar.part.journal")
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([f"bundle {manifest.id} another-boot", *lines[1:]]) + "\n")
    with part.open("r+b") as file:
        file.seek(part.read_bytes().index(LARGE[:64]))
        file.write(bytes(4096))
    with Writer(target, manifest, documents) as writer:
        assert [obj.path for obj in writer.pending()] == ["files/large"]
        fill(writer)
        writer.commit()
    with Bundle(target) as bundle:
        bundle.verify(jobs=1)


def test_a_journal_cut_off_in_its_last_line_still_counts(tmp_path: Path) -> None:
    manifest, documents = describe(lock_of(CONTENTS))
    target = tmp_path / "demo-1.0.tar"
    with Writer(target, manifest, documents) as writer:
        fill(writer)
    journal = target.with_name("demo-1.0.tar.part.journal")
    journal.write_bytes(journal.read_bytes()[:-3])
    with Writer(target, manifest, documents) as writer:
        fill(writer)
        writer.commit()
    with Bundle(target) as bundle:
        bundle.verify(jobs=1)


def test_the_part_of_another_bundle_is_not_taken_for_this_one(tmp_path: Path) -> None:
    target = tmp_path / "demo-1.0.tar"
    manifest, documents = describe(lock_of({"files/a": b"other"}))
    with Writer(target, manifest, documents) as writer, writer.slot(writer.pending()[0]) as slot:
        slot.write(b"other")
        slot.finish()
    manifest, documents = describe(lock_of(CONTENTS))
    with Writer(target, manifest, documents) as writer:
        assert len(writer.pending()) == 3


def test_wrong_bytes_are_refused_and_start_over(tmp_path: Path) -> None:
    manifest, documents = describe(lock_of({"files/a": b"alpha"}))
    with Writer(tmp_path / "demo-1.0.tar", manifest, documents) as writer:
        obj = writer.pending()[0]
        with writer.slot(obj) as slot:
            slot.write(b"alphb")
            with pytest.raises(IntegrityError, match=hashlib.sha256(b"alphb").hexdigest()):
                slot.finish()
            assert slot.written == 0
            with pytest.raises(IntegrityError, match="more than the 5 bytes"):
                slot.write(b"alphabet")
            slot.write(b"alpha")
            slot.finish()
        assert writer.pending() == []


def test_two_writers_of_one_bundle_do_not_meet(tmp_path: Path) -> None:
    manifest, documents = describe(lock_of(CONTENTS))
    with Writer(tmp_path / "demo-1.0.tar", manifest, documents), pytest.raises(BusyError):
        Writer(tmp_path / "demo-1.0.tar", manifest, documents)


def test_an_earlier_bundle_gives_what_it_has_and_nothing_damaged(tmp_path: Path) -> None:
    old = write_bundle(tmp_path / "old.tar", {"files/elsewhere": LARGE, "files/alpha": b"alpha"})
    with Bundle(old) as opened:
        place = opened.layout.members["files/alpha"].data
    with old.open("r+b") as file:
        file.seek(place)
        file.write(b"?")
    manifest, documents = describe(lock_of(CONTENTS))
    with Writer(tmp_path / "demo-1.0.tar", manifest, documents) as writer:
        with Bundle(old) as opened:
            writer.reuse(opened)
        assert [obj.path for obj in writer.pending()] == ["files/a", "files/z"]
        assert fill(writer) == 10
        writer.commit()
    assert (tmp_path / "demo-1.0.tar").read_bytes() == write_bundle(tmp_path / "s.tar", CONTENTS).read_bytes()


@pytest.mark.parametrize("name", ["demo-1.0.tar.part", "demo-1.0.tar.part.journal"])
@pytest.mark.parametrize("sort", ["link", "hard link", "pipe"])
def test_nothing_planted_in_the_output_folder_is_written(tmp_path: Path, name: str, sort: str) -> None:
    manifest, documents = describe(lock_of(CONTENTS))
    victim, planted = tmp_path / "victim", tmp_path / name
    victim.write_text(f"bundle {manifest.id} boot\n" * 3)
    before = victim.read_bytes()
    match sort:
        case "link":
            planted.symlink_to(victim)
        case "hard link":
            os.link(victim, planted)
        case _:
            os.mkfifo(planted)
    with suppress(OSError), Writer(tmp_path / "demo-1.0.tar", manifest, documents) as writer:
        fill(writer)
    assert victim.read_bytes() == before
