"""The layout against two programs that know tar better: Python's tarfile and GNU tar."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bundler.bundle.layout import BLOCK, MTIME, header, layout
from bundler.bundle.manifest import MANIFEST, SUMS, Manifest
from bundler.model.items import Item, Made, Object
from tests.bundle.bundles import write_bundle

_SEGMENT = st.text("abcXYZ019._-+~@", min_size=1, max_size=120).filter(lambda text: text not in (".", ".."))
PATHS = st.lists(_SEGMENT, min_size=1, max_size=6).map("/".join)


@given(path=PATHS, size=st.integers(0, 1 << 40), mode=st.sampled_from([0o644, 0o755]))
def test_tarfile_reads_every_header_as_it_was_meant(path: str, size: int, mode: int) -> None:
    blocks = header(path, size, mode)
    assert len(blocks) % BLOCK == 0
    member = tarfile.TarInfo.frombuf(blocks[-BLOCK:], "ascii", "strict")
    if len(blocks) == BLOCK:
        assert (member.name, member.size) == (path, size)
    else:
        records = blocks[BLOCK:-BLOCK].rstrip(b"\0").decode()
        found = {}
        while records:
            length, _, rest = records.partition(" ")
            record = records[: int(length)]
            key, _, value = record[len(length) + 1 : -1].partition("=")
            assert record.endswith("\n")
            assert rest
            found[key] = value
            records = records[int(length) :]
        assert found.get("path", member.name) == path
        assert int(found.get("size", member.size)) == size
    assert (member.mode, member.mtime, member.uid, member.uname) == (mode, MTIME, 0, "root")


@given(sizes=st.dictionaries(PATHS, st.integers(0, 1 << 36), min_size=1, max_size=20))
def test_members_follow_each_other_without_gap_or_overlap(sizes: dict[str, int]) -> None:
    objects = tuple(Object(path, size, "0" * 64, Made()) for path, size in sizes.items())
    plan = layout(Manifest("demo", "1", "0" * 64, "0" * 64, (Item("files", "x", "1", objects),), ()))
    members = list(plan.members.values())
    assert [member.path for member in members] == [MANIFEST, SUMS, *sorted(sizes)]
    assert members[0].start == 0
    for before, after in pairwise(members):
        assert after.start == before.end
    for member in members:
        assert member.data - member.start == len(plan.header(member))
    assert plan.size % (20 * BLOCK) == 0
    assert plan.size - plan.end_of_members >= 2 * BLOCK


@settings(max_examples=15, deadline=None)
@given(
    contents=st.dictionaries(PATHS.map(lambda path: f"files/{path}"), st.binary(max_size=2000), min_size=1, max_size=8)
)
def test_gnu_tar_unpacks_what_was_put_in(tmp_path_factory: object, contents: dict[str, bytes]) -> None:
    folders = {path.rsplit("/", cut)[0] for path in contents for cut in range(1, path.count("/") + 1)}
    if folders & set(contents):
        return  # a file and a folder of one name exist in no tree
    base: Path = tmp_path_factory.mktemp("tar")  # type: ignore[attr-defined]
    bundle = write_bundle(base / "demo-1.0.tar", contents)
    subprocess.run(["tar", "xf", bundle, "-C", base], check=True)
    for path, data in contents.items():
        unpacked = base / "demo-1.0" / path
        assert unpacked.read_bytes() == data
        assert unpacked.stat().st_mode & 0o777 == (0o755 if path.endswith("x") else 0o644)
    subprocess.run(["sha256sum", "--quiet", "--strict", "-c", "SHA256SUMS"], cwd=base / "demo-1.0", check=True)
    with tarfile.open(bundle) as opened:
        names = [member.name for member in opened]
    assert names[0] == "demo-1.0/manifest.json"
    assert len(names) == len(set(names)) == len(contents) + 4
    assert (
        hashlib.sha256(bundle.read_bytes()).hexdigest()
        == hashlib.sha256(write_bundle(base / "again.tar", contents).read_bytes()).hexdigest()
    )
