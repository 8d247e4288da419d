"""Machines that die, disks that fill up, services that go away: after each of them a second run ends right.

BUNDLER_FAULT_POINTS says how many points of a build and of an install are tried; `make soak` tries 50 of each, and the
rest of the matrix whole.
"""

from __future__ import annotations

import filecmp
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from bundler.errors import BusyError, IntegrityError, SiteError, SpaceError
from scripts.demo.hosts import HERE
from scripts.demo.internet import Internet, internet
from scripts.demo.journey import Site, bundler, site
from tests.e2e import small
from tests.e2e.story import Months, seen

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

POINTS = int(os.environ.get("BUNDLER_FAULT_POINTS", "2"))
SOAK = POINTS > 10
_RATE = 24 << 20  # bytes a second and connection: a build takes long enough to be killed in its middle
_FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


@pytest.fixture(scope="module")
def reference(upstream: Internet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a build gives that nobody disturbs."""
    return small.build(upstream, tmp_path_factory.mktemp("reference"))


def states(months: Months) -> dict[str, tuple[str, str, str, str]]:
    return {version: (version, months.digest(version), f"{version}.0", version) for version in months.bundles}


def install_command(where: Site, bundle: Path) -> list[str]:
    return [sys.executable, "-m", "bundler", "install", str(bundle), *where.options]


def killed(argv: list[str], after: float) -> bool:
    """Run `argv` and kill it, and whatever it started for itself, after so many seconds; whether it ran until then."""
    with subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return True
    return False


# Killed


@pytest.mark.timeout(1200)
def test_builds_that_are_killed(tmp_path: Path, test_data: Path | None) -> None:
    """At any point of it: the next one ends with the same bytes, and what it leaves behind is that bundle."""
    with internet(tmp_path / "internet", test_data, bytes_per_second=_RATE) as slow:
        start = time.monotonic()
        reference = small.build(slow, tmp_path / "timed")
        whole = time.monotonic() - start
        chance, hit = random.Random(7), 0
        for point in range(POINTS):
            folder = tmp_path / f"killed-{point}"
            hit += killed(small.command(slow, folder), chance.uniform(0.05, 1.0) * whole)
            resumed = small.build(slow, folder)
            left = sorted(path.name for path in folder.iterdir() if path.suffix in (".part", ".journal"))
            assert left == [], f"point {point}"
            assert filecmp.cmp(resumed, reference, shallow=False), f"point {point}"
            shutil.rmtree(folder)
        assert hit >= POINTS // 3 or not SOAK, "most were killed too late"


@pytest.mark.timeout(2400)
def test_installs_that_are_killed(months: Months, tmp_path: Path) -> None:
    """A first install, and an upgrade: until the second run nodes get the old release or the new; then the new."""
    known = states(months)
    chance, hit = random.Random(11), 0
    for point in range(POINTS):
        (tmp_path / str(point)).mkdir()
        with site(HERE, tmp_path / str(point), own_ports=False) as where:
            upgrade = point % 2 == 1
            if upgrade:
                where.install(months.bundles["1"])
            wanted = "2" if upgrade else "1"
            hit += killed(install_command(where, months.bundles[wanted]), chance.uniform(0.1, 2.5 if upgrade else 5))
            tree = where.root / "repos" / "story"
            if tree.is_symlink():
                version = (tree / "files/files.example/version.txt").read_text()
                assert version in ("1", wanted), f"point {point}"
                assert json.loads((tree / "manifest.json").read_bytes())["version"] == version
            elif upgrade:
                pytest.fail(f"point {point}: nothing is served")
            where.install(months.bundles[wanted])
            assert seen(where) == known[wanted], f"point {point}"
            assert bundler(HERE, "doctor", "--all", "--root", where.root, check=False).returncode == 0, f"point {point}"
        shutil.rmtree(tmp_path / str(point))
    assert hit >= POINTS // 3 or not SOAK, "most were killed too late"


# No room


@contextmanager
def file_system(at: Path, size: str) -> Iterator[Path]:
    """A file system of its own, of `size`, at `at`."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system takes root")
    at.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "none", str(at)], capture_output=True
    )
    if done.returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def enlarge(at: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(at)], check=True)


def test_a_build_whose_disk_fills_up(reference: Path, upstream: Internet, tmp_path: Path) -> None:
    with file_system(tmp_path / "disk", "8m") as disk:
        out = disk / "out"
        done = subprocess.run(small.command(upstream, out), capture_output=True, text=True)
        assert done.returncode == SpaceError.exit_code, done.stderr
        assert "Traceback" not in done.stderr
        assert not list(out.glob("*.tar"))
        enlarge(disk, "200m")
        assert filecmp.cmp(small.build(upstream, out), reference, shallow=False)


@pytest.mark.parametrize("room", ["20m", "34m", "38m", "42m", "46m", "50m"] if SOAK else ["42m"])
def test_an_install_whose_disk_fills_up(months: Months, tmp_path: Path, room: str) -> None:
    """Before it begins, or in the middle, in any of the services: the old release stays, and with room it goes on."""
    size = months.bundles["1"].stat().st_size
    (tmp_path / "work").mkdir()
    with (
        file_system(tmp_path / "work" / "site", room) as disk,
        site(HERE, tmp_path / "work", own_ports=False) as where,
    ):
        done = bundler(HERE, "install", months.bundles["1"], *where.options, check=False)
        if done.returncode == 0:
            pytest.skip(f"{size} bytes found room in {room}")
        assert done.returncode in (SpaceError.exit_code, SiteError.exit_code), done.stderr
        assert "Traceback" not in done.stderr
        assert not (where.root / "repos" / "story").exists()
        enlarge(disk, "300m")
        where.install(months.bundles["1"])
        assert seen(where) == states(months)["1"]


@pytest.mark.parametrize("call", ["symlink", "rename", "fsync", "renameat", "mkdir"] if SOAK else ["symlink"])
def test_a_commit_whose_disk_fills_up(months: Months, there: Site, call: str) -> None:
    """A call of each kind that the switch makes fails, the first in each thread, the second, and so on."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    there.install(months.bundles["1"])
    known = states(months)
    command = install_command(there, months.bundles["2"])
    for number in (1, 2, 3, 5, 8, 13) if SOAK else (1,):
        inject = ["strace", "-f", "-qq", "-e", f"trace={call}", "-e", f"inject={call}:error=ENOSPC:when={number}"]
        done = subprocess.run([*inject, "-o", "/dev/null", *command], capture_output=True, text=True)
        assert "Traceback" not in done.stderr, done.stderr[-2000:]
        version = (there.root / "repos/story/files/files.example/version.txt").read_text()
        assert version in ("1", "2")
        if done.returncode:
            assert done.returncode in (SpaceError.exit_code, SiteError.exit_code), done.stderr
            there.install(months.bundles["2"])
        assert seen(there) == known["2"]
        bundler(HERE, "rollback", "story", "1", "--root", there.root)
        bundler(HERE, "prune", "--keep", "1", "--root", there.root)


# Services that go away


@pytest.mark.parametrize("service", ["registry", "devpi", "nginx"])
def test_a_service_that_is_killed_in_the_middle(months: Months, there: Site, service: str) -> None:
    there.install(months.bundles["1"])
    pid = int((there.root / "services" / service / "pid").read_text())
    with subprocess.Popen(
        install_command(there, months.bundles["2"]), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        time.sleep(random.Random(service).uniform(0.5, 1.5))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        said = process.communicate(timeout=240)[1]
    assert process.returncode in (0, SiteError.exit_code), said
    assert "Traceback" not in said
    there.install(months.bundles["2"])
    assert seen(there) == states(months)["2"]


# Bytes that cannot be read


@pytest.mark.parametrize("command", ["verify", "install"])
def test_a_medium_with_a_bad_spot(months: Months, there: Site, command: str) -> None:
    """The kernel answers EIO in the middle of the bundle: said so, with the place, and nothing is served."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    there.install(months.bundles["1"])  # its services run from now on, so that strace need not follow them
    bundle = months.bundles["2"]
    options = there.options if command == "install" else ()
    argv = [sys.executable, "-m", "bundler", command, str(bundle), *options]
    # Objects are read by these; the head, before them, by others. The count is each thread's own.
    calls = "preadv,preadv2,copy_file_range,sendfile"
    inject = ["strace", "-f", "-qq", "-P", str(bundle), "-e", f"trace={calls}"]
    inject += ["-e", f"inject={calls}:error=EIO:when=2+"]
    done = subprocess.run([*inject, "-o", "/dev/null", *argv], capture_output=True, text=True)
    assert done.returncode == IntegrityError.exit_code, done.stderr
    assert "cannot be read at byte" in done.stderr
    assert "Input/output error" in done.stderr
    if command == "install":
        assert seen(there) == states(months)["1"]
        there.install(bundle)
        assert seen(there) == states(months)["2"]


# Clocks


@pytest.mark.parametrize("moment", ["1990-01-01 00:00:00", "2040-02-29 12:00:00"] if SOAK else ["1990-01-01 00:00:00"])
def test_a_clock_that_is_wrong(
    reference: Path, months: Months, upstream: Internet, there: Site, tmp_path: Path, moment: str
) -> None:
    """Builds give the same bytes, and a site does not mind that its clock jumps between two installs."""
    if not _FAKETIME.exists():
        pytest.skip("needs faketime")
    # Not with FAKETIME_DONT_FAKE_MONOTONIC: libfaketime 0.9.10 then fails time.sleep() of Python with EINVAL.
    wrong = {**os.environ, "LD_PRELOAD": str(_FAKETIME), "FAKETIME": f"@{moment}"}
    argv = small.command(upstream, tmp_path / "built")
    done = subprocess.run(argv, env=wrong, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert filecmp.cmp(Path(done.stdout.splitlines()[-1]), reference, shallow=False)
    there.install(months.bundles["1"])
    done = subprocess.run(install_command(there, months.bundles["2"]), env=wrong, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert seen(there) == states(months)["2"]
    done = subprocess.run(install_command(there, months.bundles["2"]), capture_output=True, text=True)
    assert "nothing changed" in done.stdout


# Two at once


def test_two_installs_at_once(months: Months, there: Site) -> None:
    """One of them works, the other says so; which release is there then is the one that worked."""
    there.install(months.bundles["1"])
    both = [
        subprocess.Popen(install_command(there, months.bundles[version]), stderr=subprocess.PIPE, text=True)
        for version in ("2", "3")
    ]
    said = [process.communicate(timeout=240)[1] for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes) in ([0, 0], [0, BusyError.exit_code]), said
    if BusyError.exit_code in codes:
        assert f"another bundler is at work on {there.root}" in said[codes.index(BusyError.exit_code)]
        winner = ("2", "3")[codes.index(0)]
        assert seen(there) == states(months)[winner]


def test_two_builds_at_once(tmp_path: Path, test_data: Path | None) -> None:
    with internet(tmp_path / "internet", test_data, bytes_per_second=6 << 20) as slow:
        argv = small.command(slow, tmp_path / "out")
        both = [subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        said = [process.communicate(timeout=120)[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes == [0, BusyError.exit_code], said
    assert any("another" in text for text in said)


# Power


@dataclass
class Operation:
    """A call that changes names or bytes, in the order in which the kernel saw it."""

    call: str
    paths: tuple[str, ...]


_CALL = re.compile(r"^(?:\d+ +)?(?P<call>\w+)\((?P<rest>.*)\) += (?P<result>-?\d+)")
_CHANGES = "openat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,mkdir,mkdirat,unlink,unlinkat,rmdir"
_SYNCS = "fsync,fdatasync,sync,syncfs"


def operations(log: Path, root: Path) -> list[Operation]:
    """What strace -y saw below `root`, with whole paths."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        call = _CALL.match(line)
        if call is None or int(call["result"]) < 0:
            continue
        name, rest = call["call"], call["rest"]
        if name == "openat" and "O_CREAT" not in rest:
            continue
        folder = ""
        paths = []
        for part in re.finditer(r'(?:AT_FDCWD<(?P<cwd>[^>]*)>|\d+<(?P<fd>[^>]*)>)|"(?P<text>[^"]*)"', rest):
            if part["text"] is None:
                folder = part["fd"] or part["cwd"] or ""
                if name in ("fsync", "fdatasync"):
                    paths.append(folder)
            else:
                paths.append(os.path.normpath(os.path.join(folder, part["text"])))
        if name in ("symlink", "symlinkat"):
            paths = paths[-1:]  # the first is what it leads to
        found.append(Operation(name, tuple(paths)))
    return [each for each in found if each.call == "sync" or any(path.startswith(str(root)) for path in each.paths)]


def test_power_that_fails_at_any_point_of_a_commit(months: Months, there: Site, tmp_path: Path) -> None:
    """What no fsync brought to the disk may be lost, in any combination: a node still gets one release or the other.

    The link to the release is moved by one rename. Whatever the new tree is made of has to be on the disk before that,
    and nothing of the old one may be touched: then no moment has neither.
    """
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    there.install(months.bundles["1"])
    web = there.root / "repos"
    old = (web / "story").resolve()
    log = tmp_path / "calls"
    strace = ["strace", "-f", "-y", "-qq", "-s", "4096", "-e", f"trace={_CHANGES},{_SYNCS}", "-o", str(log)]
    subprocess.run([*strace, *install_command(there, months.bundles["2"])], check=True, capture_output=True)
    new = (web / "story").resolve()
    assert new != old
    seen_calls = operations(log, web)
    link = str(web / "story")
    (switch,) = [n for n, each in enumerate(seen_calls) if each.call.startswith("rename") and each.paths[-1] == link]
    # Nothing of the old tree is written, moved or deleted; a second name for a file of it is no change.
    for each in seen_calls:
        changed = each.paths[-1:] if each.call.startswith("link") else each.paths
        assert not [path for path in changed if path.startswith(f"{old}/")], each
    # Every name of the new tree is on the disk before the switch, and so are the bytes: `sync` came after both.
    staged = str(web / ".staging" / new.name)
    last_sync = max(n for n, each in enumerate(seen_calls[:switch]) if each.call == "sync")
    for n, each in enumerate(seen_calls[:switch]):
        mine = any(path in (staged, str(new)) or path.startswith((f"{staged}/", f"{new}/")) for path in each.paths)
        if mine and n > last_sync:
            # All that comes later is the tree's own move, brought to the disk by an fsync of the folder it went to.
            assert each.call.startswith(("rename", "fsync")), each
            if each.call.startswith("rename"):
                assert each.paths[-1] == str(new), each
                later = [other for other in seen_calls[n:switch] if other.call == "fsync"]
                assert any(other.paths == (str(new.parent),) for other in later), "the tree's move is not on the disk"
    assert [each for each in seen_calls[switch:] if each.call == "fsync" and each.paths == (str(web),)]


def test_the_model_would_see_a_missing_sync(tmp_path: Path) -> None:
    """What the test above reads is what strace writes."""
    log = tmp_path / "log"
    log.write_text(
        f'1 openat(AT_FDCWD</x>, "{tmp_path}/web/a", O_WRONLY|O_CREAT, 0666) = 3<{tmp_path}/web/a>\n'
        f'1 renameat(4<{tmp_path}/web>, "a", 5<{tmp_path}/web/t>, "b") = 0\n'
        f'1 symlink("t/b", "{tmp_path}/web/l") = 0\n'
        f"1 fsync(5<{tmp_path}/web/t>) = 0\n"
        "1 sync() = 0\n"
        f'1 unlinkat(4<{tmp_path}/web>, "gone", 0) = -1 ENOENT (No such file or directory)\n'
        f'1 openat(AT_FDCWD</x>, "/etc/hosts", O_RDONLY) = 3</etc/hosts>\n'
    )
    web = str(tmp_path / "web")
    assert [(each.call, *each.paths) for each in operations(log, tmp_path / "web")] == [
        ("openat", f"{web}/a"),
        ("renameat", f"{web}/a", f"{web}/t/b"),
        ("symlink", f"{web}/l"),
        ("fsync", f"{web}/t"),
        ("sync",),
    ]
