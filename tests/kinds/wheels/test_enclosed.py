"""What a build can do to the machine around its sandbox: signals, keys, system calls and memory. Nothing is faked."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from bundler.errors import ResolveError
from bundler.kinds.wheels import sandbox as sandboxes
from bundler.kinds.wheels.enclosed import enclose
from bundler.kinds.wheels.sandbox import Interpreter, Sandbox

MACHINE = platform.machine()
filtered = pytest.mark.skipif(
    MACHINE not in enclose._AUDIT, reason="the filter of system calls is for x86_64 and aarch64"
)
both = pytest.mark.parametrize("privileged", [True, False])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Run Python code in the sandbox; gives what it prints, as JSON."""
    tmp_path.chmod(0o755)
    here = Interpreter.of(sys.executable)
    assert here is not None

    def ran(code: str, *, privileged: bool = True) -> object:
        if privileged and os.getuid() != 0:
            pytest.skip("root only")
        monkeypatch.setattr("bundler.kinds.wheels.sandbox._is_privileged", lambda: privileged)
        with tempfile.TemporaryFile() as answer:
            Sandbox(tmp_path, threading.Event()).run(here, ["-c", code], {}, answer, "try it")
            answer.seek(0)
            return json.loads(answer.read() or b"null")

    return ran


# A machine's job: a process of its own group builds, and another of the same group waits.
JOB = """
import os, subprocess, sys, tempfile, threading
from pathlib import Path
from bundler.errors import ResolveError
from bundler.kinds.wheels import sandbox
sandbox._is_privileged = lambda: False
beside = subprocess.Popen(["sleep", "600"])
with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as answer:
    os.chmod(folder, 0o755)
    try:
        made = sandbox.Sandbox(Path(folder), threading.Event())
        made.run(sandbox.Interpreter.of(sys.executable), ["-c", sys.argv[1]], {}, answer, "try it")
    except ResolveError:
        pass
state = Path(f"/proc/{beside.pid}/stat").read_text().rpartition(")")[2].split()[0]
nice = os.getpriority(os.PRIO_PROCESS, 0)
beside.kill()
print("went on", state, nice)
"""


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.kill(0, 9)",
        "import os; os.fork() or os.kill(0, 9)",
        "import os; os.fork() or os.kill(0, 19)",
        "import os; os.kill(-1, 9)",
        "import os; os.setpriority(os.PRIO_PGRP, 0, 7)",
    ],
)
def test_a_signal_to_its_group_stays_inside(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", JOB, code], capture_output=True, text=True, timeout=100, start_new_session=True
    )
    assert done.stdout == "went on S 0\n", (done.returncode, done.stderr)


@filtered
@both
def test_keys_of_the_session_are_out_of_reach(run, privileged: bool) -> None:  # type: ignore[no-untyped-def]
    libc = ctypes.CDLL(None, use_errno=True)
    keyctl = enclose._KEYCTL[MACHINE]
    add = enclose._DENIED[MACHINE][0]
    key = libc.syscall(add, b"user", b"bundler-test", b"s3cret", 6, ctypes.c_long(-3))
    if key < 0:
        pytest.skip("this machine lets nobody have keys")
    try:
        code = (
            "import ctypes, json; libc = ctypes.CDLL(None)\n"
            f"ask = lambda *words: libc.syscall({keyctl}, *words)\n"
            "names = [ctypes.c_long(number) for number in (-1, -2, -3, -4, -5)]\n"
            "found = [ask(10, name, b'user', b'bundler-test', 0) for name in names]\n"
            f"found += [ask(11, {key}, None, 0), libc.syscall({add}, b'user', b'x', b'y', 1, names[3])]\n"
            "print(json.dumps(found))"
        )
        assert run(code, privileged=privileged) == [-1] * 7
    finally:
        libc.syscall(keyctl, 9, key, ctypes.c_long(-3))  # unlink


CALLS = """
import ctypes, json, mmap, os, socket, subprocess, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
def attempt(call):
    try:
        return call() is not None
    except OSError as error:
        return error.strerror
def call(*words):
    return True if libc.syscall(*words) >= 0 else os.strerror(ctypes.get_errno())
thread = threading.Thread(target=int); thread.start(); thread.join()
print(json.dumps({
    "allowed": [
        attempt(lambda: socket.socket(socket.AF_INET)),
        attempt(lambda: socket.socketpair()),
        attempt(lambda: socket.if_nameindex()),
        attempt(lambda: mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)),
        subprocess.run(["true"]).returncode == 0,
    ],
    "denied": [
        *(attempt(lambda: socket.socket(family, socket.SOCK_STREAM)) for family in (40, 38, 17, 16 + 15, 30)),
        attempt(lambda: socket.socketpair(30)),
        attempt(lambda: mmap.mmap(-1, 4096)),
        *(call(number, 0x10000000, 0, 0, 0, 0) for number in NUMBERS),
    ],
}))
"""


@filtered
@both
def test_system_calls_that_no_build_needs(run, privileged: bool) -> None:  # type: ignore[no-untyped-def]
    numbers = (enclose._CLONE[MACHINE], *enclose._DENIED[MACHINE], *enclose._DENIED_ANYWHERE)
    found = run(CALLS.replace("NUMBERS", repr(numbers)), privileged=privileged)
    assert found["allowed"] == [True] * 5
    assert set(found["denied"]) == {"Operation not permitted"}


def test_a_plain_users_sandbox_has_no_user_namespaces(run) -> None:  # type: ignore[no-untyped-def]
    """Also where no filter of system calls is: the kernel itself gives none."""
    before = Path("/proc/sys/user/max_user_namespaces").read_text()
    code = "import json; print(json.dumps(open('/proc/sys/user/max_user_namespaces').read()))"
    assert run(code, privileged=False) == "0\n"
    assert Path("/proc/sys/user/max_user_namespaces").read_text() == before


HOLD = "held = bytearray(120 << 20); held[::4096] = b'x' * len(held[::4096]); time.sleep(60)"


@pytest.mark.parametrize(
    "code",
    [
        "for _ in range(3):\n    if not os.fork():\n        HOLD\ntime.sleep(60)",
        "for _ in range(3):\n    if not os.fork():\n        if os.fork(): os._exit(0)\n        HOLD\ntime.sleep(60)",
        "for _ in range(3):\n    if not os.fork():\n        os.setsid()\n        HOLD\ntime.sleep(60)",
    ],
    ids=["children", "orphans", "sessions"],
)
@both
def test_memory_is_limited_for_all_together(run, monkeypatch, code: str, privileged: bool) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sandboxes, "_MEMORY", 250 << 20)
    with pytest.raises(ResolveError, match=f"more than {250 << 20} bytes of memory together"):
        run("import os, time\n" + code.replace("HOLD", HOLD), privileged=privileged)
