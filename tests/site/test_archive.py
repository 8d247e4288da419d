from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from bundler.errors import BundleError
from bundler.model.node_files import NodeFile, NodeFiles, NodeTree
from bundler.site.archive import Member, members
from bundler.site.node_folder import fill
from tests.site.archives import archive, entry, link


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_files_and_links_come_without_the_top_folder(tmp_path: Path, mode: str) -> None:
    entries = [
        (entry("top", tarfile.DIRTYPE, mode=0o700), b""),
        (entry("top/run.sh", mode=0o4775), b"#!/bin/sh\n"),
        (entry("top/roles/a.yml", mode=0o600), b"a: 1\n"),
        (link("top/extra/roles", "../roles"), b""),
    ]
    found = [
        (member, content.read() if content else None)
        for member, content in members(archive(tmp_path / "t", entries, mode))
    ]
    assert found == [
        (Member("run.sh", 10, 0o755), b"#!/bin/sh\n"),
        (Member("roles/a.yml", 5, 0o644), b"a: 1\n"),
        (Member("extra/roles", 0, 0o777, "../roles"), None),
    ]


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (entry("top/../../etc/passwd"), "a member called"),
        (entry("/top//etc"), "a member called"),
        (entry("flat"), "a member called"),
        (entry("top/new\nline"), "a member called"),
        (entry("top/pipe", tarfile.FIFOTYPE), "neither a file nor a symbolic link"),
        (entry("top/hard", tarfile.LNKTYPE, "top/a"), "neither a file nor a symbolic link"),
        (entry("top/device", tarfile.CHRTYPE), "neither a file nor a symbolic link"),
        (link("top/out", "/etc"), "leads out of it"),
        (link("top/out", ".."), "leads out of it"),
        (link("top/a/out", "../../x"), "leads out of it"),
        # Where `s` leads to `.`, this one is outside, whatever it looks like.
        (link("top/p/q/out", "s/../../x"), "leads out of it"),
    ],
)
def test_a_hostile_member_is_refused(tmp_path: Path, info: tarfile.TarInfo, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        list(members(archive(tmp_path / "t", [(info, b"")])))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(BundleError, match="cannot be unpacked"):
        list(members(path))
    whole = archive(tmp_path / "whole", [(entry("top/a"), bytes(100_000))]).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match="cannot be unpacked"):
        [content.read() for _, content in members(path) if content]


def test_a_tree_beside_node_files_in_a_folder(tmp_path: Path) -> None:
    entries = [(entry("top/a.yml"), b"theirs"), (entry("top/b.yml"), b"b"), (link("top/c", "b.yml"), b"")]
    archive(tmp_path / "t.tar", entries)
    nodes = NodeFiles((NodeFile("tree/a.yml", "ours"),), trees=(NodeTree("tree", "t.tar"),))
    for _ in range(2):
        assert fill(tmp_path / "out", nodes, tmp_path) == [tmp_path / "out/tree", tmp_path / "out/tree/a.yml"]
        assert (tmp_path / "out/tree/a.yml").read_text() == "ours"
        assert (tmp_path / "out/tree/c").read_bytes() == b"b"


def test_a_link_of_the_tree_is_not_followed_when_it_is_unpacked(tmp_path: Path) -> None:
    archive(tmp_path / "t.tar", [(link("top/a", "b"), b""), (entry("top/a/x"), b"x")])
    with pytest.raises(OSError, match=r"Too many levels|Not a directory"):
        fill(tmp_path / "out", NodeFiles(trees=(NodeTree("tree", "t.tar"),)), tmp_path)
