"""The node files of a release, in a folder of someone's choice."""

from __future__ import annotations

import io
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from bundler.model.node_files import NodeFile, NodeFiles, NodeTree
from bundler.site.archive import Content, members
from bundler.site.folders import parent_of


def fill(folder: Path, nodes: NodeFiles, release: Path) -> list[Path]:
    """Write `nodes` into `folder`; trees come out of the archives in `release`, its tree on the web root.

    Returns the paths of what was written: a tree's own, not those of its files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    named, folder = folder, folder.resolve()  # whoever names a link means where it leads; no link below it is followed
    for tree in nodes.trees:
        _unpack(folder, tree, release)
    for file in nodes.files:
        _write(folder, file)
    return [named / path for path in (*(tree.path for tree in nodes.trees), *(file.path for file in nodes.files))]


def _write(folder: Path, file: NodeFile) -> None:
    with parent_of(folder, file.path, make=True) as (at, name):
        _make(at, name, io.BytesIO(file.content.encode()), file.mode)


def _unpack(folder: Path, tree: NodeTree, release: Path) -> None:
    for member, content in members(release / tree.archive):
        with parent_of(folder, f"{tree.path}/{member.path}", make=True) as (at, name):
            if member.target is None:
                assert content is not None, "a member without a target is a file"
                _make(at, name, content, member.mode)
                continue
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=at)
            os.symlink(member.target, name, dir_fd=at)


def _make(at: int, name: str, content: BinaryIO | Content, mode: int) -> None:
    """Make the file `name` in the folder `at`, in place of what is there."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=at)
    made = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=at)
    with os.fdopen(made, "wb") as to:
        os.fchmod(made, mode)
        shutil.copyfileobj(content, to)
