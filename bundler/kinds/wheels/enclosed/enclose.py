"""Makes a root of its own for one program, and becomes it: `python enclose.py JSON`, the first in new namespaces.

JSON has `root` (an empty folder), `size` (bytes of all that may be written), `binds` (what is seen, read-only, by the
place it is seen at), `limits` (by the name of resource's constant), `user` (whom to become; null: nobody else),
`environ` and `command`. Nothing of bundler is imported: unshare(1) runs it by its path, with mount, net, pid, ipc and
uts namespaces of its own, and a user namespace where it was not root who called.

What is run is in a session, a process group and a session keyring of its own, which no signal and no key crosses. On
x86_64 and aarch64 a filter keeps it from system calls that no build needs: keys, namespaces, mounts, tracing, bpf,
io_uring, memory that no limit counts, and sockets but for Unix's, the internet's and netlink's.

Man pages: user_namespaces(7), mount(2), pivot_root(2), capabilities(7), keyctl(2), seccomp(2).
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import platform
import resource
import signal
import socket
import struct
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
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "ppc64le": 271, "s390x": 280}
_KEYCTL_JOIN_SESSION_KEYRING = 1
_CLONE_NEWUSER = 0x10000000
_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
# By machine (uname -m): the architecture as audit calls it, and the numbers of <asm/unistd.h>.
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SOCKETS = {"x86_64": (41, 53), "aarch64": (198, 199)}  # socket, socketpair
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
_MMAP = {"x86_64": 9, "aarch64": 222}
_SHARED_MEMORY = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS
_DENIED = {
    "x86_64": (
        *(248, 249, 250),  # add_key, request_key, keyctl
        *(272, 308),  # unshare, setns
        *(165, 166, 155, 161),  # mount, umount2, pivot_root, chroot
        *(101, 310, 311, 312),  # ptrace, process_vm_readv, process_vm_writev, kcmp
        *(321, 298, 323),  # bpf, perf_event_open, userfaultfd
        *(319, 29, 447),  # memfd_create, shmget, memfd_secret
        *(103, 246, 320, 175, 313, 304),  # syslog, kexec_load, kexec_file_load, init_module, finit_module, by handle
    ),
    "aarch64": (
        *(217, 218, 219),
        *(97, 268),
        *(40, 39, 41, 51),
        *(117, 270, 271, 272),
        *(280, 241, 282),
        *(279, 194, 447),
        *(116, 104, 294, 105, 273, 265),
    ),
}
_DENIED_ANYWHERE = (
    *(425, 426, 427),  # io_uring_setup, io_uring_enter, io_uring_register
    *(428, 429, 430, 431, 432, 433, 442),  # open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr
    438,  # pidfd_getfd
)
_X32 = 0x40000000  # the numbers of x86_64's other ABI begin here
_DEVICES = ("null", "full", "random", "urandom")  # a mapping of zero is memory that no limit counts
_USERS = "root:x:0:0:root:/build:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"

_libc = ctypes.CDLL(None, use_errno=True)


def enclose(spec: dict[str, Any]) -> None:
    """Leave the machine's root for one that has `binds`, an empty /tmp and /build, and nothing else."""
    root = Path(spec["root"])
    if spec["user"] is None:  # this user namespace is the build's own: no other one within it
        Path("/proc/sys/user/max_user_namespaces").write_text("0")
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
    os.setsid()
    with suppress(OSError):  # where a container forbids it, it does so to the build, too
        number = _KEYCTL[platform.machine()]
        _check(min(0, _libc.syscall(number, _KEYCTL_JOIN_SESSION_KEYRING, None)), "session keyring")
    # Taken off by becoming somebody else: it ends with unshare(1), and all that it started with it.
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "parent-death signal")
    if platform.machine() in _AUDIT:
        filter_calls(platform.machine())


class _Filter(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_char_p))


def filter_calls(machine: str) -> None:
    """Let this process, and all that it starts, make no system call that no build needs: it ends with EPERM.

    The program reads a struct seccomp_data: the number is at 0, the architecture at 4, the first argument at 16,
    and each is 8 bytes.
    """
    load, equal, at_least, any_bit, mask, give = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06  # of classic BPF
    allow, deny, unknown = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
    denied = (*_DENIED[machine], *_DENIED_ANYWHERE)
    # Each line: what to do, with what, and how many lines to leave out where it holds, and where it does not.
    program = [
        (load, 4, 0, 0),
        (equal, _AUDIT[machine], 1, 0),
        (give, deny, 0, 0),
        (load, 0, 0, 0),
        (at_least, _X32, 0, 1),
        (give, deny, 0, 0),
        (equal, _CLONE3, 0, 1),
        (give, unknown, 0, 0),  # its flags cannot be read here: whoever calls it falls back on clone
    ]
    for number in denied:
        program += [(equal, number, 0, 1), (give, deny, 0, 0)]
    program += [
        (equal, _CLONE[machine], 0, 4),
        (load, 16, 0, 0),
        (any_bit, _CLONE_NEWUSER, 0, 1),
        (give, deny, 0, 0),
        (give, allow, 0, 0),
        (equal, _MMAP[machine], 0, 5),
        (load, 40, 0, 0),
        (mask, _SHARED_MEMORY, 0, 0),
        (equal, _SHARED_MEMORY, 0, 1),
        (give, deny, 0, 0),
        (give, allow, 0, 0),
        (equal, _SOCKETS[machine][0], 1, 0),
        (equal, _SOCKETS[machine][1], 0, len(_FAMILIES) + 2),
        (load, 16, 0, 0),
        *((equal, family, len(_FAMILIES) - place, 0) for place, family in enumerate(_FAMILIES)),
        (give, deny, 0, 0),
        (give, allow, 0, 0),
    ]
    code = b"".join(struct.pack("HBBI", what, holds, fails, with_) for what, with_, holds, fails in program)
    _check(
        _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(_Filter(len(program), code)), 0, 0), "seccomp"
    )


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
