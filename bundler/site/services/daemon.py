"""One long-running program: started detached, known by a pid file, stopped for certain.

Its folder holds `pid` (the number), `identity` (what tells that process from a later one with the same number, and what
it was started with) and `log` (its output).
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import signal
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bundler.errors import SiteError
from bundler.site.folders import write_whole
from bundler.site.host import commands
from bundler.site.services import ports
from bundler.site.services.ports import Listen
from bundler.site.sockets import connected

logger = logging.getLogger(__name__)

_LOG_TAIL = 10  # lines
_LONGEST_LOG = 16 << 20  # bytes of it that a start leaves
_ORPHANS_END_WITHIN = 5.0  # seconds
_PAUSE = 0.05  # seconds between two looks


@dataclass(frozen=True, slots=True)
class Probe:
    """What answers, with a status below 400, once a program is up; with `asks`, that a log-in is wanted.

    `at` is a port of loopback or a socket. Over TLS with `ca`, a file: what answers has to be `name` to those who trust
    that.
    """

    at: int | Path
    path: str
    name: str = ""
    ca: Path | None = None
    asks: bool = False

    def __str__(self) -> str:
        if isinstance(self.at, Path):
            return str(self.at)
        return f"{'https' if self.ca else 'http'}://127.0.0.1:{self.at}{self.path}"

    def answers(self) -> bool:
        over_socket = isinstance(self.at, Path)
        connection = http.client.HTTPConnection("localhost" if over_socket else f"127.0.0.1:{self.at}", timeout=5)
        try:
            if isinstance(self.at, Path):
                connection.sock = connected(self.at, connection.timeout)
            else:
                connection.connect()
            if self.ca is not None:
                context = ssl.create_default_context(cafile=str(self.ca))
                connection.sock = context.wrap_socket(connection.sock, server_hostname=self.name)
            connection.request("GET", self.path)
            status = connection.getresponse().status
            return status == 401 if self.asks else status < 400
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `probes` answer once it is up; `configuration` is all that was written into its config: when that
    changes it is restarted, or, where a command `checks` the config, told to read it again (SIGHUP): it keeps its ports
    then, which anybody else could take meanwhile. It makes the `socket` that it listens on, and `needs` the contents
    of these folders.
    """

    name: str
    argv: tuple[str, ...]
    folder: Path
    configuration: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    listens: tuple[Listen, ...] = ()
    socket: Path | None = None
    needs: tuple[Path, ...] = ()
    probes: tuple[Probe, ...] = ()
    checks: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """The same for programs that run the same; what comes before the dot, for those that differ in config alone."""
        started = repr((self.argv, sorted(self.environment.items())))
        return ".".join(hashlib.sha256(text.encode()).hexdigest() for text in (started, self.configuration))


class Daemon:
    """The process that runs in `folder`, if there is one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self._pid = folder / "pid"
        self._identity = folder / "identity"

    def pid(self) -> int | None:
        """The process id, or None when it does not run; a number that another process has by now is none of ours."""
        try:
            pid = int(self._pid.read_text())
            identity = self._identity.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return pid if identity and identity[0] == _started(pid) else None

    def runs(self, program: Program) -> bool:
        """Whether it runs, and as `program` says."""
        return self.pid() is not None and self._identity.read_text().split()[1:] == [program.fingerprint]

    def reload(self, program: Program, *, timeout: float) -> bool:
        """Have the process that runs read its config again; False when it does not run, or takes more than that.

        Raises SiteError when it does not take the config: it goes on with the one that it has.
        """
        pid = self.pid()
        if pid is None or not program.checks:
            return False
        known = "".join(self._identity.read_text().split()[1:])
        if known.partition(".")[0] != program.fingerprint.partition(".")[0]:
            return False
        for listen in program.listens:
            ports.require_free(listen, program.name, besides=pid)
        commands.run(program.checks, hint=f"{program.name} goes on with the configuration that it has")
        earlier = set(_children(pid))
        os.kill(pid, signal.SIGHUP)

        def taken() -> bool:
            return bool(set(_children(pid)) - earlier) and all(probe.answers() for probe in program.probes)

        if not _until(taken, timeout):
            raise SiteError(
                f"{program.name} did not take its new configuration within {timeout:.0f} s",
                hint=f"it goes on with the earlier one; see the logs in {self.folder}",
            )
        self._note(pid, program)
        logger.info("%s (pid %d) has its new configuration", program.name, pid)
        return True

    def start(self, program: Program, *, timeout: float) -> None:
        """Start `program` and wait until it answers. Raises SiteError with the end of its log when it does not."""
        self._end_orphans()
        for listen in program.listens:
            ports.require_free(listen, program.name)
        if program.socket is not None:
            program.socket.unlink(missing_ok=True)  # one that was killed has left it
        with os.fdopen(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o640), "ab") as log:
            if log.seek(0, os.SEEK_END) > _LONGEST_LOG:
                log.truncate(0)
            log_from = log.seek(0, os.SEEK_END)
            pid = _spawn(program, log.fileno())
        self._note(pid, program)
        logger.info("started %s (pid %d)", program.name, pid)
        try:
            wait_for(program.probes, lambda: self.pid() is not None, timeout)
        except NotUpError as failure:
            self.stop(timeout=timeout)
            raise SiteError(
                f"{program.name} {failure}; its log ends with:",
                *_tail(self.log, log_from),
                hint=f"the whole log is {self.log}",
            ) from None

    def _note(self, pid: int, program: Program) -> None:
        write_whole(self._identity, f"{_started(pid)} {program.fingerprint}\n".encode(), 0o644)
        write_whole(self._pid, f"{pid}\n".encode(), 0o644)

    def stop(self, *, timeout: float) -> None:
        """Stop it: SIGTERM, and SIGKILL when it still runs after `timeout` seconds."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            pid = self.pid()
            if pid is None:
                break
            logger.info("stopping %s (pid %d)", self.folder.name, pid)
            os.kill(pid, number)
            _until(lambda: self.pid() is None, timeout)
        self._end_orphans()
        self._pid.unlink(missing_ok=True)
        self._identity.unlink(missing_ok=True)

    def _end_orphans(self) -> None:
        """End what a program that was killed left running: nginx's workers go on, and hold its ports.

        They are of the session that it was started in, which is called by its number. While there is a process of that
        number, it is the leader of another session.
        """
        try:
            session = int(self._pid.read_text())
        except (FileNotFoundError, ValueError):
            return
        if _started(session) is not None:
            return
        for pid in _of_session(session):
            logger.info("ending process %d, which %s left behind", pid, self.folder.name)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _until(lambda: not any(_of_session(session)), _ORPHANS_END_WITHIN)


class NotUpError(Exception):
    """A program did not come up; the message goes on after its name."""


def _spawn(program: Program, log: int) -> int:
    """Start `program` in a session of its own, with nothing of ours but the descriptor `log`."""
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": str(program.folder), **program.environment}
    nothing = os.open(os.devnull, os.O_RDONLY)
    inherited = [number for number in map(int, os.listdir("/proc/self/fd")) if number > 2 and _is_inheritable(number)]
    try:
        return os.posix_spawn(
            program.argv[0],
            program.argv,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, nothing, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
                *((os.POSIX_SPAWN_CLOSE, number) for number in inherited),  # what bundler was started with
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGXFSZ],
        )
    except OSError as error:
        raise SiteError(
            f"{program.name}: cannot run {program.argv[0]}: {error.strerror}",
            hint="see whether the file is there and may be executed (a mount with noexec forbids it)",
        ) from None
    finally:
        os.close(nothing)


def _is_inheritable(descriptor: int) -> bool:
    try:
        return os.get_inheritable(descriptor)
    except OSError:  # that of the listing itself
        return False


def _started(pid: int) -> str | None:
    """When the process started, in clock ticks since a boot, and which boot (proc(5)); None when it does not run."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *numbers = stat.rpartition(")")[2].split()
    if state in "ZX":
        _reap(pid)
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{numbers[18]}@{boot}"


def _children(pid: int) -> list[int]:
    """The processes that `pid` has started, of those that run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state not in "ZX":
                found.append(int(stat.parent.name))
    return found


def _of_session(session: int) -> Iterator[int]:
    """The processes of a session (proc(5))."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, number = stat.read_text().rpartition(")")[2].split()[:4]
            if int(number) == session and state not in "ZX":
                yield int(stat.parent.name)


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):  # an earlier bundler started it
        os.waitpid(pid, os.WNOHANG)


def wait_for(probes: Iterable[Probe], alive: Callable[[], bool], timeout: float) -> None:
    """Wait until all of `probes` answer.

    Raises NotUpError when `alive` says no before that, or it takes longer than `timeout` seconds.
    """
    waiting = list(probes)

    def up() -> bool:
        if not alive():
            raise NotUpError("ended as soon as it was started")
        waiting[:] = [probe for probe in waiting if not probe.answers()]
        return not waiting

    if not _until(up, timeout):
        raise NotUpError(f"did not answer on {waiting[0]} within {timeout:.0f} s")


def _until(done: Callable[[], bool], timeout: float) -> bool:
    end = time.monotonic() + timeout
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(_PAUSE)
    return True


def _tail(log: Path, start: int) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - 8192))
        lines = file.read().decode(errors="replace").splitlines()
    return [f"  {line}" for line in lines[-_LOG_TAIL:]] or ["  (nothing)"]
