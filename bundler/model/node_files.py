"""Config files for the machines that use a site, and what it takes to put them in place and prove them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# What stands in a node file for the password of the site's log-in, and for `<user>:<password>` in base64 (RFC 7617).
PASSWORD, BASIC = "@PASSWORD@", "@BASIC@"


@dataclass(frozen=True, slots=True)
class NodeFile:
    """One file for nodes.

    `path` is relative to the release's `nodes/` folder (`yum.repos.d/demo.repo`); `destination` is the absolute path
    it takes on a node (`~/…`: in the home of who sets it up), or None when it is only offered. It is put there where
    the path `only_where` exists (`/etc/containerd`) and the POSIX shell condition `only_if` holds
    (`[ "$ID" = rocky ]`: /etc/os-release has been read). `displaces` are globs of files that stand in its way on a
    node: setup.sh backs them up and moves them aside, revert.sh brings them back. `after` is a shell command, of one
    line, to run when the file was put there, changed or taken away.

    A `secret` file has PASSWORD or BASIC in it: setup.sh, which is given the log-in, fills that in, and nobody but its
    owner may read it then. Of a file that `joins` what others have put into its place, their entries stay.
    """

    path: str
    content: str
    destination: str | None = None
    mode: int = 0o644
    only_where: str | None = None
    only_if: str | None = None
    displaces: tuple[str, ...] = ()
    after: str | None = None
    secret: bool = False
    joins: Literal["netrc", "auths"] | None = None


@dataclass(frozen=True, slots=True)
class NodeCheck:
    """One proof that a node can use the site: a title for the table, and a POSIX shell command that exits 0 if it can.

    `needs` is the program it runs: where a node does not have it, the check is skipped and the table says so. Values
    in the command are quoted by shlex.quote.
    """

    title: str
    needs: str
    command: str


@dataclass(frozen=True, slots=True)
class NodeTree:
    """A folder to work from: what lies in a tar archive of the release, without the one folder at the archive's top.

    `path` is relative to the release's `nodes/` folder; `archive` is the object's path in the bundle. Node files may
    lie in the same folder, in place of what the archive has there.
    """

    path: str
    archive: str


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """What one kind or recipe emits."""

    files: tuple[NodeFile, ...] = ()
    checks: tuple[NodeCheck, ...] = ()
    trees: tuple[NodeTree, ...] = ()
