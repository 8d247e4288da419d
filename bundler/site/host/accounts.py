"""Users of their own for the services."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from bundler.site.host import commands
from bundler.site.host.changes import Changes


def ensure(name: str, changes: Changes) -> pwd.struct_passwd:
    """The system user `name`, with a group of that name, made when it is not there."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        pass
    shell = "/usr/sbin/nologin" if Path("/usr/sbin/nologin").exists() else "/sbin/nologin"
    argv = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/", "--shell", shell, name]
    changes.make("user", name, lambda: commands.run(argv, hint="bundler needs root to make users for its services"))
    return pwd.getpwnam(name)


def own(tree: Path, user: int, group: int, *, keep: tuple[str, ...] = ()) -> None:
    """Give `tree`, a file or folder, to `user`, but for the files called one of `keep` at its top; as root alone.

    Links are not followed, whoever had it before and changes it meanwhile.
    """
    if os.geteuid() != 0 or tree.lstat().st_uid == user:
        return
    for folder, folders, files, at in os.fwalk(tree):
        for name in (*folders, *files):
            if not (Path(folder) == tree and name in keep):
                os.chown(name, user, group, dir_fd=at, follow_symlinks=False)
    os.chown(tree, user, group, follow_symlinks=False)  # last: it tells that the rest was done
