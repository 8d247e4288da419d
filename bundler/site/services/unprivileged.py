"""Who runs the registry and devpi, and how they are started as nobody else.

Bundler as root makes no accounts where it runs the services itself: each service has a user id of its own that no
account has, kept in `<root>/services/<service>/user`. Somebody else runs them as himself.
"""

from __future__ import annotations

import grp
import os
import pwd
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundler.errors import SiteError
from bundler.site.folders import make_folder, write_whole
from bundler.site.host import commands
from bundler.site.services.programs import find_program
from bundler.site.sockets import UMASK, Service

# The accounts that they have where the machine's systemd runs them.
ACCOUNTS: Mapping[Service, str] = {"registry": "bundler-registry", "devpi": "bundler-devpi"}
DYNAMIC = range(61184, 65520)  # user ids that nothing has for good (systemd's UIDS-GIDS.md)
_UTIL_LINUX = "install util-linux, or run as a user without rights"
_NO_RIGHTS = ("--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")
# Arguments: a program and what it is given.
_WITH_UMASK = f'umask {UMASK:04o} && exec "$@"'
# Arguments: an empty folder, one that is closed to others, the folders in that which the program needs, `--`, the
# program and what it is given. In a mount namespace of its own it sees those folders, and of the closed one no more.
_THROUGH = """\
set -eu
view=$1 closed=$2
shift 2
umask 022
mount -t tmpfs -o mode=0711,size=1m bundler "$view"
while [ "$1" != -- ]; do
    mkdir -p "$view/${1#"$closed"/}"
    mount --bind "$1" "$view/${1#"$closed"/}"
    shift
done
shift
mount --rbind "$view" "$closed"
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a service runs as, in numbers."""

    user: int
    group: int


@dataclass(frozen=True, slots=True)
class Launcher:
    """Starts programs of a service as `identity`, whose folder `<root>/services/<service>` is `folder`."""

    identity: Identity
    folder: Path

    def command(self, argv: Sequence[str], needs: Iterable[Path] = ()) -> tuple[str, ...]:
        """What runs `argv` without any rights, and with the folders that it `needs` beside its own in reach.

        A folder on the way that is closed to others is opened for the program alone. Raises SiteError.
        """
        started = ("/bin/sh", "-c", _WITH_UMASK, "sh", *argv)
        if os.geteuid() != 0:
            return started
        ids = (f"--reuid={self.identity.user}", f"--regid={self.identity.group}")
        started = (find_program("setpriv", hint=_UTIL_LINUX), *ids, *_NO_RIGHTS, "--", *started)
        closed = _closed((self.folder, *needs))
        for folder, inside in closed.items():
            view = str(make_folder(self.folder / "view"))
            started = ("/bin/sh", "-c", _THROUGH, "sh", view, str(folder), *map(str, sorted(inside)), "--", *started)
        return (*_unshared(next(iter(closed))), *started) if closed else started


def identity(folder: Path) -> Identity:
    """Whom the service with the `folder` runs as: chosen once. Raises SiteError."""
    if os.geteuid() != 0:
        return Identity(os.geteuid(), os.getegid())
    file = folder / "user"
    try:
        number = int(file.read_text())
    except (FileNotFoundError, ValueError):
        number = 0
    if number not in DYNAMIC or _has_account(number):
        taken, order = _of_processes(), secrets.SystemRandom().sample(DYNAMIC, len(DYNAMIC))
        number = next((each for each in order if each not in taken and not _has_account(each)), 0)
        if number == 0:
            raise SiteError("there is no free user id for a service", hint=f"free one from {DYNAMIC[0]} on")
        write_whole(file, f"{number}\n".encode(), 0o644)
    return Identity(number, number)


def _unshared(closed: Path) -> tuple[str, ...]:
    """What gives a program a mount namespace of its own. Raises SiteError, naming `closed`, where there is none."""
    command = (find_program("unshare", hint=_UTIL_LINUX), "--mount", "--propagation", "private")
    if not commands.succeeds((*command, "true")):
        raise SiteError(
            f"{closed} is closed to others, and this machine has no mount namespaces to lead a service through it",
            hint=f"`chmod o+x {closed}`, or use a root, and a Python, that others may enter",
        )
    return command


def _has_account(number: int) -> bool:
    for known in (pwd.getpwuid, grp.getgrgid):
        try:
            known(number)
        except KeyError:
            continue
        return True
    return False


def _of_processes() -> set[int]:
    """The users of all processes."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.add(process.stat().st_uid)
        except FileNotFoundError:
            continue
    return found


def _closed(needs: Iterable[Path]) -> dict[Path, set[Path]]:
    """The topmost folders that are closed to others on the way to those of `needs`, each with what is needed in it."""
    found: dict[Path, set[Path]] = {}
    for place in sorted({path for need in needs for path in (need, need.resolve())}):  # the same each time
        for folder in reversed(place.parents):
            if not folder.stat().st_mode & 0o001:
                found.setdefault(folder, set()).add(place)
                break
    return found
