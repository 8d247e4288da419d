"""Where the code of packages runs: cut off from the network, the home folders and the secrets of this machine.

`unshare` of util-linux makes the namespaces, for root as for everybody else, and `enclosed/enclose.py` what is in
them; root becomes nobody in there. The system and its Python are seen read-only; all that is written is in memory, has
a limit, and is gone afterwards. What comes out is one file, on the program's stdout.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bundler.errors import ResolveError
from bundler.kinds.wheels.environment import Environment
from bundler.model.contents import one_line
from bundler.transfer.retry import Stopped

log = logging.getLogger(__name__)

_ENCLOSE = Path(__file__).with_name("enclosed") / "enclose.py"
_NAMESPACES = ("--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child")
_OF_A_USER = ("--user", "--map-root-user")  # that has no right to the others
_NOBODY = 65534
_CAP_SYS_ADMIN = 21  # capabilities(7)
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d")
_SECONDS = 3600
_MEMORY = 8 << 30  # bytes of all processes together
_WRITTEN = 4 << 30  # bytes, in memory
_LIMITS = {"RLIMIT_AS": 8 << 30, "RLIMIT_FSIZE": 2 << 30, "RLIMIT_NPROC": 4096, "RLIMIT_CORE": 0}
_NOT_ENCLOSED = 97  # the exit code of enclose.py
_LOOK_UP = 0.2  # seconds
_LAST_WORDS = 64 << 10  # bytes
# The same for everyone: 2020-02-02, as hatchling has it, is a date that zip can hold (from 1980 on).
_ENVIRON = {
    "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    "HOME": "/build",
    "TMPDIR": "/tmp",  # noqa: S108 - the sandbox's own
    "LC_ALL": "C.UTF-8",
    "SOURCE_DATE_EPOCH": "1580601600",
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
_ASK = (
    "import json, platform, sys; print(json.dumps([sys._base_executable, sys.base_prefix, "
    "'.'.join(map(str, sys.version_info[:3])), platform.machine(), platform.libc_ver()]))"
)
_ANSWERS_WITHIN = 60  # seconds


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python of this machine: its program, the folder that it is installed in, and what it says of itself."""

    program: str
    prefix: str
    environment: Environment

    @classmethod
    def of(cls, python: str) -> Interpreter | None:
        """The one that `python` starts; None where it is none: version managers put stand-ins on the PATH.

        None also where it was made for another C library than glibc, as the nodes have it.
        """
        try:
            done = subprocess.run(
                [python, "-I", "-c", _ASK], stdin=subprocess.DEVNULL, capture_output=True, timeout=_ANSWERS_WITHIN
            )
            program, prefix, version, machine, (library, glibc) = json.loads(done.stdout)
            major, minor = glibc.split(".")[:2]
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return None
        if library != "glibc":
            return None
        return cls(program, prefix, Environment(version, machine, (int(major), int(minor))))


class Sandbox:
    """Runs programs one by one; `stop`, once set, ends what runs."""

    def __init__(self, scratch: Path, stop: threading.Event) -> None:
        self._scratch = Path(tempfile.mkdtemp(prefix="sandbox-", dir=scratch))
        self._stop = stop

    def run(
        self, python: Interpreter, arguments: Sequence[str], seen: Mapping[str, str], answer: BinaryIO, what: str
    ) -> None:
        """Run `python` with `arguments`, its stdout being `answer`; it sees also what is in `seen`, by place.

        Raises ResolveError where this machine has no sandbox, or the program fails; `what` names that. Raises Stopped.
        """
        command = self.command(python, arguments, seen)
        with tempfile.TemporaryFile(dir=self._scratch) as said:
            code = self._wait_for(command, answer, said, what)
            said.seek(max(0, os.fstat(said.fileno()).st_size - _LAST_WORDS))
            lines = said.read().decode("utf-8", "replace").splitlines()
        last = one_line(next(filter(str.strip, reversed(lines)), ""))
        if code == _NOT_ENCLOSED or (last or "").startswith("unshare: "):
            raise ResolveError(
                f"wheels: cannot {what}: this machine allows no sandbox for it to run in: {last}",
                hint="allow user namespaces (user.max_user_namespaces, kernel.unprivileged_userns_clone or "
                "kernel.apparmor_restrict_unprivileged_userns in sysctl), or build that wheel elsewhere and name it by "
                "URL in `wheels.requirements`; nothing is built without a sandbox",
            )
        if code != 0:
            raise ResolveError(
                f"wheels: cannot {what}: {last or f'it ended with exit code {code}'}",
                hint="a build has no network, and of this machine only its system and Python: install there what it "
                "needs, ask for a version that has a wheel, or build that wheel elsewhere and name it by URL",
            )

    def command(self, python: Interpreter, arguments: Sequence[str], seen: Mapping[str, str]) -> list[str]:
        """The command that runs it."""
        system = [path for path in (*_SYSTEM, *_ETC) if os.path.lexists(path)]
        outside = not any(python.prefix == path or python.prefix.startswith(f"{path}/") for path in _SYSTEM)
        spec = {
            "root": tempfile.mkdtemp(prefix="root-", dir=self._scratch),
            "size": _WRITTEN,
            "binds": {path: path for path in (*system, *([python.prefix] if outside else []))} | dict(seen),
            "limits": _LIMITS,
            "user": _NOBODY if (privileged := _is_privileged()) else None,
            "environ": _ENVIRON,
            "command": [python.program, *arguments],
        }
        unshare = shutil.which("unshare", path=_ENVIRON["PATH"])
        if unshare is None:
            raise ResolveError("wheels: the program unshare is missing", hint="install util-linux")
        namespaces = _NAMESPACES if privileged else (*_OF_A_USER, *_NAMESPACES)
        return [unshare, *namespaces, "--", python.program, "-I", "-S", str(_ENCLOSE), json.dumps(spec)]

    def _wait_for(self, command: list[str], answer: BinaryIO, said: BinaryIO, what: str) -> int:
        end = time.monotonic() + _SECONDS
        with subprocess.Popen(
            command,
            cwd="/",
            env={"PATH": _ENVIRON["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=answer,
            stderr=said,
            start_new_session=True,  # a signal to its process group is not for bundler's
        ) as process:
            try:
                while process.poll() is None:
                    if self._stop.is_set():
                        raise Stopped
                    if time.monotonic() > end:
                        raise ResolveError(
                            f"wheels: cannot {what}: it takes longer than {_SECONDS} seconds",
                            hint="build that wheel elsewhere and name it by URL in `wheels.requirements`",
                        )
                    if memory_below(process.pid) > _MEMORY:
                        raise ResolveError(
                            f"wheels: cannot {what}: its processes need more than {_MEMORY} bytes of memory together",
                            hint="build that wheel elsewhere and name it by URL in `wheels.requirements`",
                        )
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(_LOOK_UP)
            finally:
                process.kill()  # and with it all that it started
            return process.returncode


def memory_below(pid: int) -> int:
    """Bytes that the descendants of a process hold in memory or swap; what several share counts for each.

    Whoever loses its parent in the sandbox becomes a child of the first process there, so that none gets away.
    """
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):  # it has ended
            parent = int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    found, ahead = 0, [pid]
    while ahead:
        below = children.get(ahead.pop(), [])
        found += sum(map(_memory, below))
        ahead += below
    return found


def _memory(pid: int) -> int:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
        return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("VmRSS:", "VmSwap:")))
    return 0


def _is_privileged() -> bool:
    """Whether this process may make any namespace and become nobody, as root may, and root of most containers."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    mapped = [line.split() for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()]
    known = any(int(first) <= _NOBODY < int(first) + int(count) for first, _, count in mapped)
    return known and bool(int(effective, 16) >> _CAP_SYS_ADMIN & 1)


def pip_folder() -> str:
    """The folder that has this Python's pip."""
    found = importlib.util.find_spec("pip")
    assert found is not None
    assert found.origin is not None
    return str(Path(found.origin).parent)
