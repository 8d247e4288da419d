"""The web root on a real file system."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from bundler.bundle.manifest import Manifest
from bundler.errors import BundleError, IntegrityError, SiteError, SpaceError
from bundler.model.node_files import NodeFile, NodeFiles, NodeTree
from bundler.site import tree as web_tree
from bundler.site import web as web_root
from bundler.site.releases import Release
from bundler.site.web import WebRoot
from tests.site.archives import archive, entry, link
from tests.site.content import MemoryContent, make_manifest, make_object

FIRST = {"rpms/a.rpm": b"a" * 200_000, "rpms/b.rpm": b"b" * 10, "files/empty": b""}
SECOND = {"rpms/a.rpm": FIRST["rpms/a.rpm"], "rpms/c.rpm": b"c" * 20}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "repos"


def load(root: Path, manifest: Manifest, content: MemoryContent) -> WebRoot:
    web = WebRoot(root)
    web.open(Release(manifest.name, manifest.version, manifest.id))
    for obj in manifest.payload:
        web.stage(obj, content)
    return web


def publish(web: WebRoot, manifest: Manifest, nodes: NodeFiles) -> None:
    web.finish(manifest.data, nodes)
    web.commit()


def install(root: Path, version: str, files: Mapping[str, bytes], node: str = "x\n") -> WebRoot:
    manifest = make_manifest(version, files)
    web = load(root, manifest, MemoryContent(files))
    publish(web, manifest, NodeFiles((NodeFile("a/b.conf", node),)))
    return web


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_release_is_served_under_its_name(root: Path) -> None:
    old = os.umask(0o077)
    try:
        web = install(root, "1.0", FIRST)
    finally:
        os.umask(old)
    manifest = make_manifest("1.0", FIRST)
    assert tree(root / "demo") == {
        **{path: (0o644, data) for path, data in FIRST.items()},
        "manifest.json": (0o644, manifest.data),
        "nodes/a/b.conf": (0o644, b"x\n"),
    }
    assert (root / "demo").readlink() == Path(f".releases/demo-1.0-{manifest.id[:12]}")
    assert (root / "demo/rpms").stat().st_mode & 0o777 == 0o755
    assert web.bytes_written == sum(map(len, FIRST.values())) + len(manifest.data) + 2
    assert [(r.name, r.version, r.id, r.current) for r in web.releases()] == [("demo", "1.0", manifest.id, True)]
    assert list((root / ".staging").iterdir()) == []


def test_the_same_release_again_writes_nothing(root: Path) -> None:
    install(root, "1.0", FIRST)
    before = {path: path.lstat() for path in (root / "demo", *(root / "demo").rglob("*"))}
    web = install(root, "1.0", FIRST)
    assert (web.bytes_written, web.objects_written) == (0, 0)
    assert {path: path.lstat().st_mtime_ns for path in before} == {p: s.st_mtime_ns for p, s in before.items()}


def test_a_file_that_someone_lost_comes_back(root: Path) -> None:
    install(root, "1.0", FIRST)
    (root / "demo/rpms/b.rpm").unlink()
    web = install(root, "1.0", FIRST)
    assert (web.bytes_written, web.objects_written) == (10, 1)
    assert (root / "demo/rpms/b.rpm").read_bytes() == FIRST["rpms/b.rpm"]


def test_new_node_files_replace_the_old_ones_only(root: Path) -> None:
    install(root, "1.0", FIRST)
    manifest = make_manifest("1.0", FIRST)
    web = WebRoot(root)
    web.open(Release(manifest.name, manifest.version, manifest.id))
    publish(web, manifest, NodeFiles((NodeFile("other.conf", "y\n", mode=0o755),)))
    assert set(tree(root / "demo")) == {*FIRST, "manifest.json", "nodes/other.conf"}
    assert web.objects_written == 1


def test_an_upgrade_links_what_it_has_and_switches_at_the_end(root: Path) -> None:
    install(root, "1.0", FIRST)
    manifest = make_manifest("2.0", SECOND)
    content = MemoryContent(SECOND)
    web = load(root, manifest, content)
    assert content.streamed == ["rpms/c.rpm"]
    assert set(tree(root / "demo")) == {*FIRST, "manifest.json", "nodes/a/b.conf"}
    old = (root / "demo").resolve()
    publish(web, manifest, NodeFiles())
    assert set(tree(root / "demo")) == {*SECOND, "manifest.json"}
    assert (root / "demo/rpms/a.rpm").samefile(old / "rpms/a.rpm")
    assert {r.version: r.current for r in web.releases()} == {"1.0": False, "2.0": True}
    back = install(root, "1.0", FIRST)
    assert back.bytes_written == 0
    assert (root / "demo").resolve() == old


def test_wrong_bytes_are_never_served(root: Path) -> None:
    install(root, "1.0", FIRST)
    served = tree(root / "demo")
    manifest = make_manifest("2.0", {**SECOND, "rpms/big.rpm": b"z" * 300_000})
    bad = MemoryContent({**SECOND, "rpms/big.rpm": b"z" * 299_999 + b"!"})
    with pytest.raises(IntegrityError):
        load(root, manifest, bad)
    assert tree(root / "demo") == served
    assert not list(root.rglob("big.rpm"))
    assert not list((root / ".staging").rglob("*.parts/*"))


def test_an_interrupted_load_goes_on(root: Path) -> None:
    manifest = make_manifest("1.0", FIRST)
    good = MemoryContent(FIRST)
    web = WebRoot(root)
    web.open(Release(manifest.name, manifest.version, manifest.id))
    web.stage(manifest.payload[1], good)
    staged = root / ".staging" / f"demo-1.0-{manifest.id[:12]}"
    (staged / "rpms/b.rpm").write_bytes(b"B" * 10)  # a crash lost what was in the page cache
    (staged / "rpms/stray").write_bytes(b"?")
    (root / ".staging" / f"{staged.name}.parts" / "7").write_bytes(b"half")
    assert not (root / "demo").exists()

    content = MemoryContent(FIRST)
    publish(load(root, manifest, content), manifest, NodeFiles())
    assert sorted(content.streamed) == ["files/empty", "rpms/b.rpm"]
    assert set(tree(root / "demo")) == {*FIRST, "manifest.json"}
    assert (root / "demo/rpms/b.rpm").read_bytes() == FIRST["rpms/b.rpm"]


def test_a_crash_before_the_switch_is_made_good(root: Path) -> None:
    install(root, "1.0", FIRST)
    install(root, "2.0", SECOND)
    old = next(release.path for release in WebRoot(root).releases() if release.version == "1.0")
    (root / "demo").unlink()
    (root / "demo").symlink_to(f".releases/{old.name}")  # 2.0 is complete, and 1.0 still served
    web = install(root, "2.0", SECOND)
    assert web.bytes_written == 0
    assert [release.version for release in web.releases() if release.current] == ["2.0"]


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", "a/../../x", "a/./b", "a\nb", ""])
def test_no_path_leads_out(root: Path, path: str) -> None:
    web = WebRoot(root)
    web.open(Release("demo", "1.0", "0" * 64))
    with pytest.raises(ValueError, match="path"):
        web.stage(make_object(path, b"x"), MemoryContent({path: b"x"}))


def test_no_planted_link_leads_out(root: Path, tmp_path: Path) -> None:
    web = WebRoot(root)
    web.open(Release("demo", "1.0", "0" * 64))
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / ".staging/demo-1.0-000000000000/rpms").symlink_to(outside)
    with pytest.raises(SiteError, match="rpms"):
        web.stage(make_object("rpms/x", b"x"), MemoryContent({"rpms/x": b"x"}))
    assert list(outside.iterdir()) == []


def test_something_else_at_the_name_is_left_alone(root: Path) -> None:
    (root / "demo").mkdir(parents=True)
    with pytest.raises(SiteError, match="in the way"):
        WebRoot(root).open(Release("demo", "1.0", "0" * 64))


def test_an_executable_stays_one_and_private_becomes_readable(root: Path) -> None:
    files = {"files/tool": b"#!"}
    for mode, served in ((0o755, 0o755), (0o600, 0o644)):
        manifest = make_manifest(f"{mode:o}", files, mode=mode)
        publish(load(root, manifest, MemoryContent(files)), manifest, NodeFiles())
        assert stat.S_IMODE((root / "demo/files/tool").stat().st_mode) == served


@pytest.mark.parametrize("name", ["..", ".releases", "a/b", "", "a b"])
def test_release_names_are_plain(name: str) -> None:
    with pytest.raises(ValueError, match="no release"):
        Release(name, "1", "0" * 64)


def test_a_tree_comes_out_of_its_archive_once(root: Path, tmp_path: Path) -> None:
    entries = [
        (entry("top/a.yml"), b"theirs"),
        (entry("top/run", mode=0o755), b"run"),
        (link("top/up/r", "../run"), b""),
    ]
    files = {"files/tree.tar.gz": archive(tmp_path / "t", entries).read_bytes()}
    nodes = NodeFiles((NodeFile("k/a.yml", "ours"),), trees=(NodeTree("k", "files/tree.tar.gz"),))
    manifest = make_manifest("1.0", files)
    for written in (True, False):
        web = load(root, manifest, MemoryContent(files))
        publish(web, manifest, nodes)
        assert bool(web.objects_written) is written
        assert tree(root / "demo/nodes") == {
            "k/a.yml": (0o644, b"ours"),
            "k/run": (0o755, b"run"),
            "k/up/r": (0o755, b"run"),
        }
        assert (root / "demo/nodes/k/up/r").is_symlink()
    web = load(root, manifest, MemoryContent(files))
    publish(web, manifest, NodeFiles())
    assert tree(root / "demo/nodes") == {}


def release_of(manifest: Manifest) -> Release:
    return Release(manifest.name, manifest.version, manifest.id)


@pytest.mark.parametrize("can_exchange", [True, False])
def test_node_files_of_a_served_tree_change_in_one_step(
    root: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    """Nobody sees one file of the old ones beside one of the new; where the file system can."""
    if not can_exchange:
        monkeypatch.setattr(web_tree, "_EXCHANGE", 1 << 20)  # no flag that a kernel knows
    install(root, "1.0", FIRST)
    old = os.open(root / "demo/nodes", os.O_RDONLY)
    manifest = make_manifest("1.0", FIRST)
    web = load(root, manifest, MemoryContent(FIRST))
    web.finish(manifest.data, NodeFiles((NodeFile("a/b.conf", "new\n"), NodeFile("c.conf", "c\n"))))
    assert (root / "demo/nodes/a/b.conf").read_text() == "x\n"
    before = web.state(release_of(manifest))
    web.commit()
    assert (root / "demo/nodes/a/b.conf").read_text() == "new\n"
    with pytest.raises(FileNotFoundError):
        os.stat("c.conf", dir_fd=old)
    os.close(old)
    assert before.links == web.state(release_of(manifest)).links


def test_what_a_commit_has_changed_can_be_put_back(root: Path) -> None:
    install(root, "1.0", FIRST)
    served = tree(root / "demo")
    manifest = make_manifest("2.0", SECOND)
    web = load(root, manifest, MemoryContent(SECOND))
    web.finish(manifest.data, NodeFiles())
    before = web.state(release_of(manifest))
    assert sorted(before.links) == [".published/demo@1.0", "demo"]
    web.commit()
    assert web.is_switched(release_of(manifest), before)
    web.restore(release_of(manifest), before)
    assert not web.is_switched(release_of(manifest), before)
    assert tree(root / "demo") == served
    assert web.state(release_of(manifest)) == before
    assert [(each.version, each.published) for each in web.releases()] == [("1.0", "demo@1.0")]
    # What was loaded is still there for the next try.
    content = MemoryContent(SECOND)
    publish(load(root, manifest, content), manifest, NodeFiles())
    assert content.streamed == []
    assert set(tree(root / "demo")) == {*SECOND, "manifest.json"}


def test_what_is_taken_off_leaves_no_link(root: Path) -> None:
    install(root, "1.0", FIRST)
    web = install(root, "2.0", SECOND)
    assert (root / ".before/demo").is_symlink(), "nginx falls back on it"
    web.unlink("demo")
    assert [path for path in root.rglob("*") if path.is_symlink()] == []
    assert [(each.version, each.current, each.published) for each in web.releases()] == [
        ("1.0", False, None),
        ("2.0", False, None),
    ]


def test_a_broken_archive_changes_nothing(root: Path) -> None:
    """Of a tree that is served already: it is read to its end before one file is replaced."""
    files = {"files/tree.tar": b"no archive"}
    manifest = make_manifest("1.0", files)
    publish(load(root, manifest, MemoryContent(files)), manifest, NodeFiles((NodeFile("a.conf", "old\n"),)))
    served = tree(root / "demo")
    web = load(root, manifest, MemoryContent(files))
    nodes = NodeFiles((NodeFile("a.conf", "new\n"),), trees=(NodeTree("k", "files/tree.tar"),))
    with pytest.raises(BundleError, match="cannot be unpacked"):
        web.finish(manifest.data, nodes)
    assert tree(root / "demo") == served


def test_node_files_of_a_served_tree_are_put_back(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(root, "1.0", FIRST)
    manifest = make_manifest("1.0", FIRST)
    web = load(root, manifest, MemoryContent(FIRST))
    web.finish(manifest.data, NodeFiles((NodeFile("a/b.conf", "new\n"),)))
    before = web.state(release_of(manifest))

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(web_root, "note_current", no_room)
        with pytest.raises(SpaceError):
            web.commit()
    assert (root / "demo/nodes/a/b.conf").read_text() == "new\n"
    web.restore(release_of(manifest), before)
    assert (root / "demo/nodes/a/b.conf").read_text() == "x\n"
    assert web.state(release_of(manifest)) == before
