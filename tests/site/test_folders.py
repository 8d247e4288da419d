"""What somebody else puts in the way of root is neither followed nor changed."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bundler.errors import SiteError
from bundler.model.node_files import NodeFile, NodeFiles
from bundler.site.folders import make_folder
from bundler.site.index import initialise
from bundler.site.node_folder import fill
from bundler.site.releases import Release, note_current
from bundler.site.services import devpi
from bundler.site.services.unprivileged import Identity
from tests.site.test_services import require

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand a folder to another user")
RELEASE = Release("gamma", "1", "0" * 64)

# A link that leads nowhere, then to another folder, and so on.
_FLIP = """\
import os, sys
os.chdir(sys.argv[1])
while True:
    for target in ("nowhere", "victim"):
        os.symlink(target, "next")
        os.rename("next", "flipped")
"""


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def meanwhile(act: Callable[[], object]) -> Iterator[None]:
    """Do it again and again."""
    stop = threading.Event()

    def again() -> None:
        while not stop.is_set():
            with suppress(OSError):
                act()

    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    folder = tmp_path / "victim"
    folder.mkdir(mode=0o700)
    (folder / "gamma").write_text("mine\n")
    (folder / "gamma").chmod(0o600)
    return folder


def untouched(victim: Path) -> bool:
    return (mode_of(victim), mode_of(victim / "gamma"), (victim / "gamma").read_text()) == (0o700, 0o600, "mine\n")


@pytest.mark.parametrize("umask", [0o000, 0o077], ids="{:04o}".format)
def test_folders_are_made_with_their_mode_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        made = make_folder(tmp_path / "a" / "b" / "c", mode=0o750)
    finally:
        os.umask(before)
    assert [mode_of(made), mode_of(made.parent), mode_of(made.parent.parent)] == [0o750, 0o755, 0o755]
    made.chmod(0o711)
    assert mode_of(make_folder(made)) == 0o711
    (tmp_path / "link").symlink_to("a")
    assert make_folder(tmp_path / "link" / "d").is_dir()


def test_a_link_in_place_of_a_folder_is_not_followed(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(SiteError, match="cannot make the folder"):
        make_folder(tmp_path / "dangling")
    assert not (tmp_path / "nowhere").exists()
    with subprocess.Popen([sys.executable, "-c", _FLIP, str(tmp_path)]) as flipping:
        end = time.monotonic() + 4
        while time.monotonic() < end and untouched(victim):
            with suppress(SiteError):
                make_folder(tmp_path / "flipped")
        flipping.kill()
    assert untouched(victim)


@pytest.mark.parametrize("place", [".history", ".history/gamma"])
def test_a_link_in_place_of_the_history_is_not_followed(tmp_path: Path, victim: Path, place: str) -> None:
    link = make_folder(tmp_path / "web") / place
    make_folder(link.parent)
    link.symlink_to(victim / "gamma" if link.name == "gamma" else victim)
    with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
        note_current(tmp_path / "web", RELEASE)
    assert untouched(victim)


def test_a_note_that_was_cut_off_is_ended(tmp_path: Path) -> None:
    for _ in range(2):
        note_current(tmp_path, RELEASE)
    note = tmp_path / ".history" / "gamma"
    assert note.read_text() == f"{RELEASE.folder}\n"
    note.write_text("gamma-0-0000")
    note_current(tmp_path, RELEASE)
    assert note.read_text() == f"gamma-0-0000\n{RELEASE.folder}\n"


@pytest.mark.parametrize("how", ["file", "folder", "hard link"])
def test_node_files_do_not_go_through_links(tmp_path: Path, victim: Path, how: str) -> None:
    out = make_folder(tmp_path / "out")
    if how == "folder":
        (out / "sub").symlink_to(victim)
    else:
        place = make_folder(out / "sub") / "gamma"
        (os.link if how == "hard link" else os.symlink)(victim / "gamma", place)
    with suppress(OSError):
        fill(out, NodeFiles((NodeFile("sub/gamma", "theirs"),)), tmp_path)
    assert untouched(victim)
    if how != "folder":
        assert (out / "sub" / "gamma").read_text() == "theirs"
        assert mode_of(out / "sub" / "gamma") == 0o644


def test_a_link_that_the_user_names_is_followed(tmp_path: Path) -> None:
    make_folder(tmp_path / "there")
    (tmp_path / "named").symlink_to("there")
    assert fill(tmp_path / "named", NodeFiles((NodeFile("a", "x"),)), tmp_path) == [tmp_path / "named" / "a"]
    assert (tmp_path / "there" / "a").read_text() == "x"


@as_root
def test_nothing_is_made_in_the_data_of_devpi(tmp_path: Path) -> None:
    """A devpi that was taken over puts a link to somewhere else into its own folder."""
    require("devpi-server")
    data, folder, owner = tmp_path / "devpi", make_folder(tmp_path / "services" / "devpi"), Identity(61234, 61234)
    socket = tmp_path / "run" / "socket"
    devpi.program(socket, folder, data, owner)
    with suppress(FileNotFoundError):
        shutil.rmtree(data / "tmp")
    (data / "tmp").symlink_to(tmp_path / "made")
    there = {path: path.lstat().st_mtime_ns for path in data.rglob("*")}
    temporary = Path(devpi.program(socket, folder, data, owner).environment["TMPDIR"])
    assert not temporary.is_relative_to(data)
    assert (temporary.stat().st_uid, mode_of(temporary)) == (owner.user, 0o700)
    assert {path: path.lstat().st_mtime_ns for path in data.rglob("*")} == there
    assert not (tmp_path / "made").exists()


def test_nobody_sees_into_a_new_index(tmp_path: Path) -> None:
    """Who opened its database while it was made could lock it for ever."""
    require("devpi-server")
    seen: set[tuple[str, int]] = set()

    def look() -> None:
        for path in (tmp_path / ".devpi.new", tmp_path / "devpi"):
            seen.add((path.name, mode_of(path)))

    before = os.umask(0)
    try:
        with meanwhile(look):
            initialise(tmp_path / "devpi")
    finally:
        os.umask(before)
    assert {mode for _, mode in seen} == {0o700}
    assert (".devpi.new", 0o700) in seen
    files = [path for path in (tmp_path / "devpi").rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if mode_of(path) & 0o077] == []
