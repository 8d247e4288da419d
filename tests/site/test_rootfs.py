"""Layers that lie, unpacked: nothing of them gets out of its folder, and nothing outside is removed or read."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.errors import SiteError
from bundler.site.services import rootfs
from bundler.site.services.rootfs import unpack
from tests.site.images import tar_of

SYMLINK, HARD_LINK, FOLDER, FIFO, DEVICE = (
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
    tarfile.CHRTYPE,
)
Members = list[tuple[str, bytes | tuple[bytes, str]]]


def layer(members: dict[str, bytes | tuple[bytes, str]]) -> Iterator[bytes]:
    yield tar_of(members)


def layer_of(members: Members) -> Iterator[bytes]:
    """A tar whose members may come twice, with names of any form."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, what in members:
            info = tarfile.TarInfo("x")
            info.pax_headers = {"path": name}
            if isinstance(what, bytes):
                info.size = len(what)
            else:
                info.type = what[0]
                info.pax_headers["linkpath"] = what[1]
            tar.addfile(info, io.BytesIO(what if isinstance(what, bytes) else b""))
    yield out.getvalue()


# Each of them may be refused, or come to nothing: what lies beside the folder stays as it was.
NASTY: dict[str, Members] = {
    "whiteout of what is above": [("a", b""), (".wh...", b"")],
    "whiteout of itself": [("a", b""), (".wh..", b"")],
    "whiteout of nothing": [("a", b""), (".wh.", b"")],
    "whiteout of what is above, deeper": [("a/b", b""), ("a/.wh...", b"")],
    "whiteout of a whiteout": [("a", b""), (".wh..wh.x", b"")],
    "whiteout of a whiteout of what is above": [("a", b""), (".wh..wh...", b"")],
    "opaque at the top": [("a", b""), (".wh..wh..opq", b""), ("b", b"")],
    "opaque through a link": [("l", (SYMLINK, "../..")), ("l/.wh..wh..opq", b"")],
    "whiteout through a link": [("l", (SYMLINK, "..")), ("l/.wh.services", b"")],
    "whiteout of a link": [("l", (SYMLINK, "../secret")), (".wh.l", b"")],
    "a name with NUL": [("a\0b", b"")],
    "a whiteout with NUL": [(".wh.a\0/../..", b"")],
    "a link's target with NUL": [("l", (SYMLINK, "a\0b"))],
    "a hard link's target with NUL": [("l", (HARD_LINK, "a\0b"))],
    "above": [("../secret", b"evil")],
    "above, later": [("a/../../secret", b"evil")],
    "absolute": [("/secret", b"fine")],
    "only above": [("..", (FOLDER, ""))],
    "a file through a link": [("l", (SYMLINK, "/..")), ("l/secret", b"fine")],
    "a file through a link to a link": [("k", (SYMLINK, "../..")), ("l", (SYMLINK, "k/..")), ("l/secret", b"fine")],
    "a file over a link": [("l", (SYMLINK, "../secret")), ("l", b"evil")],
    "a folder over a link": [("l", (SYMLINK, "../secret")), ("l", (FOLDER, "")), ("l/x", b"")],
    "a hard link to what is above": [("l", (HARD_LINK, "../secret")), ("l", b"evil")],
    "a hard link to the root": [("l", (HARD_LINK, ""))],
    "a hard link to above": [("l", (HARD_LINK, ".."))],
    "a hard link to itself": [("l", b"x"), ("l", (HARD_LINK, "l"))],
    "a hard link through a link": [("k", (SYMLINK, "/..")), ("l", (HARD_LINK, "k/secret"))],
    "a hard link to a folder": [("d", (FOLDER, "")), ("l", (HARD_LINK, "d"))],
    "a hard link to a link, higher up": [
        ("a/b/c/l", (SYMLINK, "/secret")),
        ("m", (HARD_LINK, "a/b/c/l")),
        ("m", b""),
    ],
    "a loop": [("k", (SYMLINK, "l")), ("l", (SYMLINK, "k")), ("k/x", b"")],
    "a long name": [("n" * 5000, b"")],
    "a long path": [("d/" * 5000 + "x", b"")],
    "a device": [("null", (DEVICE, "")), ("pipe", (FIFO, "")), ("null/x", b"")],
    "a file as a folder": [("f", b""), ("f/x", b"")],
    "no UTF-8": [("\udcff", b"")],
}


@pytest.mark.parametrize("members", NASTY.values(), ids=NASTY.keys())
def test_what_lies_beside_the_folder_stays(tmp_path: Path, members: Members) -> None:
    services = tmp_path / "services"
    root = services / "rootfs"
    root.mkdir(parents=True)
    (services / "secret").write_text("beside")
    (tmp_path / "secret").write_text("above")
    try:
        data = list(layer_of(members))
    except UnicodeEncodeError:
        pytest.skip("tarfile cannot write such a name")
    with suppress(SiteError):
        unpack(iter(data), root, what="test")
    assert sorted(path.name for path in services.iterdir()) == ["rootfs", "secret"]
    assert (services / "secret").read_text() == "beside"
    assert (tmp_path / "secret").read_text() == "above"
    assert (services / "secret").stat().st_nlink == 1
    for path in root.rglob("*"):
        assert Path(os.path.realpath(path)).is_relative_to(root), path
        assert path.is_symlink() or path.is_dir() or path.is_file(), path


def test_a_hard_link_to_a_link_leads_where_that_leads(tmp_path: Path) -> None:
    unpack(layer({"etc/x": b"1", "a/b/c/l": (SYMLINK, "/etc/x"), "m": (HARD_LINK, "a/b/c/l")}), tmp_path, what="test")
    assert (tmp_path / "m").read_bytes() == b"1"
    assert (tmp_path / "m").resolve() == tmp_path / "etc/x"


def test_links_stay_inside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside").mkdir()
    unpack(
        layer(
            {
                "etc/abs": (SYMLINK, "/outside"),
                "etc/up": (SYMLINK, "../../../../outside"),
                "deep/er": (SYMLINK, ".."),
                "etc/abs/one": b"1",
                "etc/up/two": b"2",
                "deep/er/three": b"3",
                "hard": (HARD_LINK, "../../outside/one"),
            }
        ),
        root,
        what="test",
    )
    assert list((tmp_path / "outside").iterdir()) == []
    assert (root / "outside/one").read_bytes() == b"1"
    assert (root / "outside/two").read_bytes() == b"2"
    assert (root / "three").read_bytes() == b"3"
    assert (root / "hard").samefile(root / "outside/one")


@pytest.mark.parametrize(
    "members",
    [
        {"../evil": b"x"},
        {"a/../../evil": b"x"},
        {"hard": (HARD_LINK, "/etc/passwd")},
        {".wh...": b""},
        {"a/.wh..": b""},
    ],
)
def test_what_leads_out_is_refused(tmp_path: Path, members: dict[str, bytes | tuple[bytes, str]]) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(SiteError, match="cannot unpack test"):
        unpack(layer(members), root, what="test")
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_whiteouts(tmp_path: Path) -> None:
    unpack(layer({"a/one": b"1", "a/two": b"2", "b/three": b"3", "c": b""}), tmp_path, what="lower")
    unpack(layer({"a/.wh.one": b"", "b/.wh..wh..opq": b"", "b/four": b"4", "c/d": b"5"}), tmp_path, what="upper")
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"a/two", "b/four", "c/d"}


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_everybody_may_read_and_nobody_else_write(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        unpack(layer_of([("bin/tool", b"x"), ("deep/er/file", b"x")]), tmp_path, what="plain")
        unpack(iter([tar_of({"usr/bin/set-uid": b"x"}, mode=0o4777)]), tmp_path, what="program")
        unpack(iter([tar_of({"etc/private": b"x"}, mode=0o600)]), tmp_path, what="private")
    finally:
        os.umask(before)
    modes = {str(path.relative_to(tmp_path)): path.stat().st_mode & 0o7777 for path in tmp_path.rglob("*")}
    assert modes["usr/bin/set-uid"] == 0o755
    assert modes["etc/private"] == modes["deep/er/file"] == 0o644
    assert {modes[folder] for folder in ("bin", "deep", "deep/er", "usr", "usr/bin")} == {0o755}


@pytest.mark.parametrize(("limit", "size"), [("_UNPACKED", 1024), ("_MEMBERS", 2)])
def test_more_than_a_registry_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, size: int
) -> None:
    monkeypatch.setattr(rootfs, limit, replace(getattr(rootfs, limit), size=size))
    with pytest.raises(SiteError, match="exceeds the limit"):
        unpack(layer({"a": b"12", "b": b"34", "c": b""}), tmp_path, what="test")


def test_what_is_no_tar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="cannot unpack test"):
        unpack(iter([b"\x28\xb5\x2f\xfd" + b"x" * 100]), tmp_path, what="test")


@pytest.mark.parametrize(
    "members",
    [
        [("a" * 256, b"")],
        [("d/" * 1500 + "f", b"")],
        [("l", (SYMLINK, "a" * 5000))],
        [("x\0y", b"")],
        [("l", (SYMLINK, "l")), ("l/x", b"")],
        [*((f"l{n}", (SYMLINK, f"l{n + 1}")) for n in range(2000)), ("l0/x", b"")],
        [("/".join("d" * 60) + "/f", b""), ("l", (SYMLINK, "/".join("d" * 60))), ("l/a/b/c/d/e/f", b"")],
    ],
    ids=["name", "depth", "target", "NUL", "loop", "chain", "depth by a link"],
)
def test_names_without_an_end_are_refused_or_come_to_nothing(tmp_path: Path, members: Members) -> None:
    with suppress(SiteError):
        unpack(layer_of(members), tmp_path, what="test")
    assert max(len(path.relative_to(tmp_path).parts) for path in [tmp_path, *tmp_path.rglob("*")]) <= 65
