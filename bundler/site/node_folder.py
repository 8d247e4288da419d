"""The node files of a release, in a folder of someone's choice."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from bundler.model.contents import check_path
from bundler.model.node_files import NodeFile, NodeFiles, NodeTree
from bundler.site.archive import members
from bundler.site.folders import parent_of


def fill(folder: Path, nodes: NodeFiles, release: Path) -> list[Path]:
    """Write `nodes` into `folder`; trees come out of the archives in `release`, its tree on the web root.

    Returns the paths of what was written: a tree's own, not those of its files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for tree in nodes.trees:
        _unpack(folder, tree, release)
    for file in nodes.files:
        _write(folder, file)
    return [folder / path for path in (*(tree.path for tree in nodes.trees), *(file.path for file in nodes.files))]


def _write(folder: Path, file: NodeFile) -> None:
    path = folder / check_path(file.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(file.content)
    path.chmod(file.mode)


def _unpack(folder: Path, tree: NodeTree, release: Path) -> None:
    for member, content in members(release / tree.archive):
        with parent_of(folder, f"{tree.path}/{member.path}", make=True) as (at, name):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=at)
            if member.target is not None:
                os.symlink(member.target, name, dir_fd=at)
                continue
            assert content is not None, "a member without a target is a file"
            made = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, member.mode, dir_fd=at)
            with os.fdopen(made, "wb") as to:
                os.fchmod(made, member.mode)
                shutil.copyfileobj(content, to)
