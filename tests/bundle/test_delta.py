"""A bundle that leaves out what the site has: whole in its manifest, small in its bytes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from bundler.bundle.delta import DELTA, Delta
from bundler.bundle.documents import describe
from bundler.bundle.manifest import MANIFEST, Manifest
from bundler.bundle.reader import Bundle
from bundler.bundle.receipt import read_receipt, write_receipt
from bundler.bundle.writer import Writer
from bundler.errors import BundleError, ConfigError, IntegrityError
from tests.bundle.bundles import lock_of

_FILES = {f"files/{name}": name.encode() * 1000 for name in "abcdefg"}
_HELD = {"a", "b", "d", "g"}


def digest(manifest: Manifest, name: str) -> str:
    return next(obj.sha256 for obj in manifest.payload if obj.path == f"files/{name}")


def write_delta(target: Path) -> Path:
    manifest, documents = describe(lock_of(_FILES))
    delta = Delta.of(manifest, "1" * 64, {digest(manifest, name) for name in _HELD})
    with Writer(target, manifest, documents, delta=delta) as writer:
        for obj in writer.pending():
            with writer.slot(obj) as slot:
                slot.write(_FILES[obj.path])
                slot.finish()
        return writer.commit()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_delta(tmp_path / "demo-1.0.delta.tar")


def test_it_describes_all_and_carries_the_rest(bundle: Path) -> None:
    whole, _ = describe(lock_of(_FILES))
    with Bundle(bundle) as opened:
        assert opened.manifest == whole
        assert opened.manifest.id == whole.id
        assert opened.delta is not None
        assert opened.delta.left_out == ((0, 2), (3, 4), (6, 7))
        opened.verify(jobs=2)
        for obj in opened.manifest.payload:
            name = obj.path.rpartition("/")[2]
            if name in _HELD:
                with pytest.raises(BundleError, match=f"{obj.path} is left out of it"):
                    opened.read(obj)
            else:
                assert opened.read(obj) == _FILES[obj.path]


def test_plain_tools_find_it_whole(bundle: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "-xf", str(bundle), "-C", str(tmp_path)], check=True)
    folder = tmp_path / "demo-1.0"
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    listed = subprocess.run(["tar", "-tf", str(bundle)], capture_output=True, text=True, check=True).stdout.split()
    assert listed[:2] == [f"demo-1.0/{DELTA}", f"demo-1.0/{MANIFEST}"]
    assert not any(f"demo-1.0/files/{name}" in listed for name in _HELD)


def test_one_flipped_byte_anywhere_in_its_head_is_found(bundle: Path) -> None:
    data = bundle.read_bytes()
    with Bundle(bundle) as opened:
        end = opened.layout.members[opened.manifest.documents[0].path].start
    for place in range(0, end, 41):
        changed = bytearray(data)
        changed[place] ^= 0x20
        bundle.write_bytes(changed)
        with pytest.raises((BundleError, IntegrityError)), Bundle(bundle) as opened:
            opened.verify(jobs=1)


@pytest.mark.parametrize(
    "left_out", [[[0, 99]], [[2, 2]], [[3, 1]], [[3, 4], [0, 1]], [[0, 2], [1, 3]], [[0, 2], [2, 3]], [[-1, 1]], [[0]]]
)
def test_ranges_that_are_none_are_refused(left_out: list[list[int]]) -> None:
    manifest, _ = describe(lock_of(_FILES))
    document = {"delta_format": 1, "manifest_sha256": manifest.id, "receipt_sha256": "1" * 64, "left_out": left_out}
    with pytest.raises(BundleError):
        Delta.from_bytes(json.dumps(document, indent=1).encode() + b"\n", DELTA).split(manifest.payload)


def test_an_interrupted_one_is_no_whole_one(tmp_path: Path) -> None:
    """The journal of a delta is not taken for that of the bundle with everything, or with something else left out."""
    manifest, documents = describe(lock_of(_FILES))
    target = tmp_path / "demo-1.0.tar"
    for held in ({"a"}, {"b"}, set()):
        delta = Delta.of(manifest, "1" * 64, {digest(manifest, name) for name in held}) if held else None
        with Writer(target, manifest, documents, delta=delta) as writer:
            assert len(writer.pending()) == len(_FILES) - len(held)
            with writer.slot(writer.pending()[0]) as slot:
                slot.write(_FILES[slot.obj.path])
                slot.finish()


def test_a_receipt_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    path.write_bytes(write_receipt([("demo", "1.0", "2" * 64, True)], ["3" * 64, "4" * 64, "3" * 64]))
    found = read_receipt(path)
    assert found.releases == (("demo", "1.0"),)
    assert found.objects == {"3" * 64, "4" * 64}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"receipt_format": 2}', '{"receipt_format": 1, "releases": [], "objects": ["x"]}']
)
def test_what_is_no_receipt(text: str, tmp_path: Path) -> None:
    (tmp_path / "receipt.json").write_text(text)
    with pytest.raises(ConfigError, match="is no receipt"):
        read_receipt(tmp_path / "receipt.json")
