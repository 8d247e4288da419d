"""What bundler changed on this machine, noted before it is changed: the way back.

<root>/services/host/changes.json   the changes in the order they were made
<root>/services/host/<number>       a file as it was before
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bundler.errors import SiteError
from bundler.site.folders import make_folder
from bundler.site.host import commands

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """`what` was changed, which one of these (`name`), and under which name the `earlier` file is kept."""

    what: str
    name: str
    earlier: str | None = None


class Changes:
    """The changes of one site. All that is changed through it, `undo` puts back."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "changes.json"

    def write(self, path: Path, text: str, *, mode: int = 0o644) -> bool:
        """Have `text` in the file `path`; whether that changed it. What was there is kept."""
        if path.is_file() and not path.is_symlink() and path.read_bytes() == text.encode():
            return False
        if not self.has("file", str(path)):
            earlier = str(len(self._all())) if os.path.lexists(path) else None
            if earlier:
                shutil.copy2(path, make_folder(self._folder, mode=0o700) / earlier, follow_symlinks=False)
            self._note_parents(path.parent)
            self._save([*self._all(), Change("file", str(path), earlier)])
        new = path.with_name(f".{path.name}.bundler-new")
        make_folder(path.parent)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text.encode())
        new.replace(path)
        relabel(path)
        logger.info("wrote %s", path)
        return True

    def make(self, what: str, name: str, do: Callable[[], object]) -> None:
        """Note that `what` (one of those that `undo` knows) called `name` is changed, and `do` it.

        When that raises SiteError nothing was changed, and nothing is noted.
        """
        if what not in _UNDO:
            raise ValueError(what)
        change = Change(what, name)
        if not self.has(what, name):
            self._save([*self._all(), change])
        try:
            do()
        except SiteError:
            self._save([each for each in self._all() if each != change])
            raise

    def has(self, what: str, name: str) -> bool:
        """Whether such a change was made."""
        return any((change.what, change.name) == (what, name) for change in self._all())

    def undo(self) -> None:
        """Put everything back, the last change first. What cannot be put back is told, and the rest goes on."""
        for change in reversed(self._all()):
            try:
                if change.what == "file":
                    self._restore(change)
                else:
                    _UNDO[change.what](change.name)
            except (SiteError, OSError) as error:
                logger.warning("could not undo %s %s: %s", change.what, change.name, error)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _restore(self, change: Change) -> None:
        path = Path(change.name)
        if change.earlier is None:
            path.unlink(missing_ok=True)
            return
        new = path.with_name(f".{path.name}.bundler-new")
        new.unlink(missing_ok=True)
        shutil.copy2(self._folder / change.earlier, new, follow_symlinks=False)
        new.replace(path)
        relabel(path)

    def _note_parents(self, folder: Path) -> None:
        for parent in (*reversed(folder.parents), folder):
            if not parent.exists():
                self._save([*self._all(), Change("folder", str(parent))])

    def _all(self) -> list[Change]:
        try:
            return [Change(**entry) for entry in json.loads(self._file.read_text())]
        except FileNotFoundError:
            return []

    def _save(self, changes: Sequence[Change]) -> None:
        make_folder(self._folder, mode=0o700)
        new = self._file.with_suffix(".new")
        with new.open("w") as file:
            json.dump([asdict(each) for each in changes], file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._file)


def relabel(path: Path) -> None:
    """Give a file the SELinux context of its place, where that is a thing."""
    if commands.succeeds(["selinuxenabled"]):
        commands.succeeds(["restorecon", "-RF", str(path)])


def _remove_folder(name: str) -> None:
    folder = Path(name)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _command(*argv: str, hint: str = "undo it by hand") -> Callable[[str], object]:
    """Run a program with the change's name in place of `{}`."""
    return lambda name: commands.run([part.replace("{}", name) for part in argv], hint=hint)


def _close_port(name: str) -> None:
    for option in ([], ["--permanent"]):
        commands.run(["firewall-cmd", "--quiet", *option, f"--remove-port={name}"], hint="close the port by hand")


_UNDO: Mapping[str, Callable[[str], object]] = {
    "folder": _remove_folder,
    "user": _command("userdel", "{}"),
    "firewall port": _close_port,
    "SELinux port": _command("semanage", "port", "-d", "-p", "tcp", "{}"),
    "SELinux context": _command("semanage", "fcontext", "-d", "{}"),
    "SELinux module": _command("semodule", "-r", "{}"),
    "SELinux boolean": _command("setsebool", "-P", "{}", "off"),  # of earlier versions
    "podman image": _command("podman", "rmi", "--force", "{}"),
    "started unit": _command("systemctl", "stop", "{}"),
    "enabled unit": _command("systemctl", "disable", "--quiet", "{}"),
}
