"""Makes a root of its own for one program, and becomes it: `python enclose.py JSON`, the first in new namespaces.

JSON has `root` (an empty folder), `size` (bytes of all that may be written), `binds` (what is seen, read-only, by the
place it is seen at), `limits` (by the name of resource's constant), `user` (whom to become; null: nobody else),
`environ` and `command`. Nothing of bundler is imported: unshare(1) runs it by its path, with mount, net, pid, ipc and
uts namespaces of its own, and a user namespace where it was not root who called.

Man pages: user_namespaces(7), mount(2), pivot_root(2), capabilities(7).
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

FAILED = 97  # the exit code when there is no such root to be made

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 1, 2, 4, 8, 32
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
# What a mount has of these may not be taken off it again by who is no root outside (mount_namespaces(7)).
_KEPT = {
    os.ST_NOSUID: _MS_NOSUID,
    os.ST_NODEV: _MS_NODEV,
    os.ST_NOEXEC: _MS_NOEXEC,
    os.ST_NOATIME: 1024,
    os.ST_NODIRATIME: 2048,
    os.ST_RELATIME: 1 << 21,
}
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}
_DEVICES = ("null", "zero", "full", "random", "urandom")
_USERS = "root:x:0:0:root:/build:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"

_libc = ctypes.CDLL(None, use_errno=True)


def enclose(spec: dict[str, Any]) -> None:
    """Leave the machine's root for one that has `binds`, an empty /tmp and /build, and nothing else."""
    root = Path(spec["root"])
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    options = f"size={spec['size']},nr_inodes=1m,mode=755"
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID | _MS_NODEV, options)
    for place, source in spec["binds"].items():
        _bind(source, root / place.lstrip("/"))
    for device in _DEVICES:
        _bind(f"/dev/{device}", root / "dev" / device)
    (root / "dev/fd").symlink_to("/proc/self/fd")
    _make_read_only(root)
    for folder in ("tmp", "var/tmp", "dev/shm"):
        (root / folder).mkdir(parents=True)
        (root / folder).chmod(0o1777)
    for folder in ("build", "etc", "proc"):
        (root / folder).mkdir(exist_ok=True)
    if spec["user"] is not None:
        os.chown(root / "build", spec["user"], spec["user"])
    (root / "etc/passwd").write_text(_USERS)
    with suppress(OSError):  # a container that hides parts of its own does not allow it: a build does without
        # Read-only: below it lie the settings of the whole kernel.
        _mount("proc", root / "proc", "proc", _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    os.chdir(root)
    _check(_libc.syscall(_PIVOT_ROOT[platform.machine()], b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _MNT_DETACH), "umount")
    os.chdir("/build")
    socket.sethostname("build")


def give_up_power(user: int | None) -> None:
    """What is run next has no capability, and can take none: neither by being root nor by a set-user-ID program."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    capability = 0
    while _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    # Taken off by becoming somebody else: it ends with unshare(1), and all that it started with it.
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "parent-death signal")


def _bind(source: str, place: Path) -> None:
    if os.path.islink(source):  # /bin is usr/bin
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.readlink(source))
        return
    if os.path.isdir(source):
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    _mount(source, place, None, _MS_BIND | _MS_REC)


def _make_read_only(root: Path) -> None:
    """Every mount below `root`, those that came with another one included."""
    with open("/proc/self/mountinfo", encoding="latin-1") as mounts:
        points = [line.split(" ")[4].encode("latin-1").decode("unicode_escape") for line in mounts]
    for point in map(os.fsdecode, (point.encode("latin-1") for point in points)):
        if point.startswith(f"{root}/"):
            has = os.statvfs(point).f_flag
            kept = sum(flag for seen, flag in _KEPT.items() if has & seen)
            _mount(None, point, None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | kept)


def _mount(source: str | None, place: str | Path, sort: str | None, flags: int, options: str | None = None) -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, place, sort)]
    data = None if options is None else options.encode()
    _check(_libc.mount(*words, ctypes.c_ulong(flags), data), f"mount {place}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    spec = json.loads(sys.argv[1])
    os.umask(0o022)
    try:
        enclose(spec)
        for name, limit in spec["limits"].items():
            _, hard = resource.getrlimit(getattr(resource, name))
            limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            resource.setrlimit(getattr(resource, name), (limit, limit))
        give_up_power(spec["user"])
    except (OSError, KeyError, ValueError) as error:
        os.write(2, f"{error}\n".encode())
        sys.exit(FAILED)
    os.execve(spec["command"][0], spec["command"], spec["environ"])  # noqa: S606
