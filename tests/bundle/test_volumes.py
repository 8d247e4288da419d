"""A bundle in volumes: read as it is, in whatever way it is named; what is missing or damaged is known by its name."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from bundler.bundle.reader import Bundle
from bundler.bundle.storage import INDEX_SUFFIX, open_storage
from bundler.bundle.volumes import PRESETS, join, parse_size, split
from bundler.errors import BundleError, ConfigError, IntegrityError
from bundler.progress import Silent
from tests.bundle.bundles import write_bundle

_FILES = {f"files/{number}": bytes([number]) * (number * 700_000 + 1) for number in range(1, 8)}
_SIZE = 3 << 20


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "demo-1.0.tar", _FILES)


@pytest.fixture
def index(bundle: Path, tmp_path: Path) -> Path:
    found = split(bundle, tmp_path / "volumes", _SIZE, progress=Silent())
    assert len(list(found.parent.iterdir())) == -(-bundle.stat().st_size // _SIZE) + 1 > 5
    return found


def volume(index: Path, number: int) -> Path:
    return index.with_name(f"{index.name.removesuffix(INDEX_SUFFIX)}.{number:03}")


def test_it_is_read_whatever_part_of_it_is_named(bundle: Path, index: Path) -> None:
    with Bundle(bundle) as whole:
        for path in (index, index.parent, volume(index, 1), volume(index, 4)):
            with Bundle(path) as opened:
                assert opened.manifest == whole.manifest
                opened.verify(jobs=4)
                assert opened.unchecked() == 0


def test_objects_that_lie_in_two_volumes_are_read(index: Path) -> None:
    with Bundle(index) as opened:
        spread = [obj for obj in opened.manifest.objects if opened.location(obj) is None]
        assert spread
        for obj in spread:
            assert opened.read(obj) == _FILES[obj.path]


def test_plain_tools_join_them_and_so_does_bundler(bundle: Path, index: Path, tmp_path: Path) -> None:
    parts = sorted(path for path in index.parent.iterdir() if path != index)
    assert b"".join(path.read_bytes() for path in parts) == bundle.read_bytes()
    joined = join(volume(index, 2), tmp_path / "joined", progress=Silent())
    assert joined.name == bundle.name
    assert joined.read_bytes() == bundle.read_bytes()
    assert [path.name for path in joined.parent.iterdir()] == [bundle.name]


def test_all_that_are_missing_are_named(index: Path) -> None:
    volume(index, 2).unlink()
    volume(index, 4).write_bytes(volume(index, 4).read_bytes()[:-1])
    with pytest.raises(IntegrityError) as caught:
        Bundle(volume(index, 1))
    assert f"{volume(index, 2).name} is missing" in caught.value.message
    assert f"{volume(index, 4).name} has {_SIZE - 1} bytes instead of {_SIZE}" in caught.value.message
    assert volume(index, 1).name not in caught.value.message
    assert "need not be sent again" in caught.value.hint


@pytest.mark.parametrize("number", [2, 3, 5])
def test_the_damaged_one_is_named(index: Path, number: int, tmp_path: Path) -> None:
    bad = volume(index, number)
    data = bytearray(bad.read_bytes())
    data[1_000_000] ^= 1
    bad.write_bytes(data)
    with Bundle(index) as opened, pytest.raises(IntegrityError) as caught:
        opened.verify(jobs=2)
    assert f"volume {bad.name} is damaged" in caught.value.message
    assert "the others need not be sent again" in caught.value.hint
    with pytest.raises(IntegrityError, match=f"volume {bad.name} is damaged"):
        join(index, tmp_path / "joined", progress=Silent())
    assert not list((tmp_path / "joined").iterdir())


def test_a_damaged_head_is_named_too(index: Path) -> None:
    first = volume(index, 1)
    data = bytearray(first.read_bytes())
    data[700] ^= 1
    first.write_bytes(data)
    with pytest.raises(IntegrityError, match=f"volume {first.name} is damaged"):
        Bundle(index)


@pytest.mark.parametrize(
    "change",
    [
        {"volumes_format": 2},
        {"size": 1},
        {"volumes": []},
        {"volumes": [{"file": "../../etc/passwd", "size": 1, "sha256": "0" * 64}], "size": 1},
        {"volumes": [{"file": "a", "size": 1, "sha256": "0" * 64}] * 2, "size": 2},
        {"more": 1},
    ],
)
def test_an_index_that_is_none(index: Path, change: dict[str, object]) -> None:
    index.write_text(json.dumps({**json.loads(index.read_text()), **change}))
    with pytest.raises(BundleError, match="is no index of volumes"):
        open_storage(index)


def test_a_folder_of_two_bundles_is_ambiguous(index: Path) -> None:
    index.with_name(f"other.tar{INDEX_SUFFIX}").write_text("{}")
    with pytest.raises(BundleError, match="holds 2 indexes"):
        Bundle(index.parent)


def test_without_its_index_a_volume_is_no_bundle(index: Path) -> None:
    index.unlink()
    with pytest.raises((BundleError, IntegrityError)):
        Bundle(volume(index, 1))
    with pytest.raises(BundleError, match="no folder of volumes"):
        join(volume(index, 1), index.parent, progress=Silent())


@pytest.mark.parametrize(
    ("text", "size"), [("4G", 4 << 30), ("700M", 700 << 20), ("1GiB", 1 << 30), ("BD", PRESETS["bd"])]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "4X", "-1G", "1K", "0", "floppy"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"no size|too small"):
        parse_size(text)


def test_a_file_on_a_fat32_stick_is_below_four_gibibytes() -> None:
    assert PRESETS["fat32"] == 2**32 - 1


# What others planted on the medium


@pytest.mark.parametrize("name", ["demo-1.0.tar.joining", "demo-1.0.tar.part", "demo-1.0.tar.new", ".demo-1.0.tar.new"])
def test_join_writes_through_no_link_on_the_medium(index: Path, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    index.with_name(name).symlink_to(victim)
    join(index, index.parent, progress=Silent())
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["demo-1.0.tar.001.part", "demo-1.0.tar.volumes.json.part"])
def test_split_writes_through_no_link_on_the_medium(bundle: Path, tmp_path: Path, name: str) -> None:
    victim, medium = tmp_path / "victim", tmp_path / "medium"
    victim.write_bytes(b"precious")
    medium.mkdir()
    (medium / name).symlink_to(victim)
    split(bundle, medium, _SIZE, progress=Silent())
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["demo-1.0.tar.001", "demo-1.0.tar.volumes.json"])
def test_split_refuses_a_link_in_place_of_what_it_makes(bundle: Path, tmp_path: Path, name: str) -> None:
    victim, medium = tmp_path / "victim", tmp_path / "medium"
    victim.write_bytes(b"precious")
    medium.mkdir()
    (medium / name).symlink_to(victim)
    with pytest.raises(OSError, match="it is no regular file"):
        split(bundle, medium, _SIZE, progress=Silent())
    assert victim.read_bytes() == b"precious"


def test_join_replaces_only_the_same_bundle(bundle: Path, index: Path, tmp_path: Path) -> None:
    target = tmp_path / "joined" / bundle.name
    target.parent.mkdir()
    write_bundle(target, {"files/other": b"other"})
    other = target.read_bytes()
    with pytest.raises(ConfigError, match="is there already, and is not the bundle in these volumes"):
        join(index, target.parent, progress=Silent())
    assert target.read_bytes() == other
    target.write_bytes(b"no bundle")
    with pytest.raises(ConfigError, match="is there already"):
        join(index, target.parent, progress=Silent())
    join(index, target.parent, progress=Silent(), replace=True)
    assert target.read_bytes() == bundle.read_bytes()
    join(index, target.parent, progress=Silent())  # the same


@pytest.mark.parametrize("name", ["site.yaml", "id_ed25519", "x.tar.sig.json", "demo-1.0.tar.gz", "-1.0.tar", "a.tar"])
def test_volumes_are_a_bundles_and_no_other_files(index: Path, tmp_path: Path, name: str) -> None:
    document = json.loads(index.read_text())
    document["bundle"] = name
    index.write_text(json.dumps(document))
    with pytest.raises(BundleError, match="is no index of volumes"):
        join(index, tmp_path / "joined", progress=Silent())
    assert not (tmp_path / "joined").exists()


def test_a_volume_is_called_after_its_bundle(index: Path) -> None:
    """Building anew deletes the volumes that an index names: it can name nothing else."""
    document = json.loads(index.read_text())
    volume(index, 1).rename(index.with_name("site.yaml"))
    document["volumes"][0]["file"] = "site.yaml"
    index.write_text(json.dumps(document))
    with pytest.raises(BundleError, match="its sizes or names do not fit together"):
        Bundle(index)


def test_a_bundle_of_another_name_is_not_split(bundle: Path, tmp_path: Path) -> None:
    renamed = bundle.rename(tmp_path / "renamed")
    with pytest.raises(BundleError, match="not called like a bundle"):
        split(renamed, tmp_path / "volumes", _SIZE, progress=Silent())


@pytest.mark.parametrize("sort", ["pipe", "endless"])
def test_an_index_that_is_no_file_is_not_waited_for(index: Path, sort: str) -> None:
    index.unlink()
    if sort == "pipe":
        os.mkfifo(index)
    else:
        index.symlink_to("/dev/zero")
    with pytest.raises(BundleError, match="is no index of volumes: it is no regular file"):
        Bundle(volume(index, 1))


def test_a_bundle_or_volume_that_is_a_pipe_is_not_waited_for(index: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tar")
    with pytest.raises(BundleError, match="it is no regular file"):
        Bundle(tmp_path / "pipe.tar")
    volume(index, 2).unlink()
    os.mkfifo(volume(index, 2))
    with pytest.raises(IntegrityError, match=f"{volume(index, 2).name}: it is no regular file"):
        Bundle(index)


def test_there_are_not_too_many_volumes(index: Path) -> None:
    many = [{"file": f"demo-1.0.tar.{n:03}", "size": 1, "sha256": "0" * 64} for n in range(1, 20_001)]
    document = {"bundle": "demo-1.0.tar", "size": len(many), "volumes": many}
    index.write_text(json.dumps(document, separators=(",", ":")))
    with pytest.raises(BundleError, match="is no index of volumes"):
        Bundle(index)
    index.write_text(json.dumps({**document, "size": 9999, "volumes": many[:9999]}, separators=(",", ":")))
    began = time.monotonic()
    with pytest.raises(IntegrityError) as refused:
        Bundle(index)
    assert time.monotonic() - began < 5
    assert len(refused.value.message) < 2000
