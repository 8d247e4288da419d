"""A tree out of a folder or a tarball; what is none, or another one than was asked for, is named."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundler.errors import IntegrityError, ProfileError
from bundler.limits import Limit
from bundler.model.target import Target
from bundler.recipes.kubespray import tree as trees
from bundler.recipes.kubespray.expand import Layers, expand
from bundler.recipes.kubespray.spec import Spec
from bundler.recipes.kubespray.tree import CHECKSUMS, DOWNLOADS, PACKAGES, read_archive, read_folder
from bundler.transfer.upstream import Upstream
from tests.fakes import upstream as fake

ROCKY9 = (Target(distro="rocky", release="9"),)


@pytest.fixture
def tree(shared: Path, tmp_path: Path) -> Path:
    """A tree that may be changed."""
    folder = tmp_path / "kubespray"
    shutil.copytree(shared / "kubespray" / "v2.31.0", folder)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def packed(folder: Path, to: Path) -> Path:
    with tarfile.open(to, "w:gz") as archive:
        archive.add(folder, "kubespray-2.31.0")
    return to


def change(folder: Path, path: str, **variables: object) -> None:
    """Set variables in one of the tree's files; None takes one out."""
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    found = yaml.safe_load(file.read_text()) if file.exists() else {}
    found |= variables
    file.write_text(yaml.safe_dump({name: value for name, value in found.items() if value is not None}))


def test_a_tarball_is_the_same_tree(tree: Path, tmp_path: Path) -> None:
    assert read_archive(packed(tree, tmp_path / "t.tar.gz"), "t").files == read_folder(tree, "t").files


@pytest.mark.parametrize("path", [CHECKSUMS, DOWNLOADS, PACKAGES, "requirements.txt"])
def test_an_unknown_layout_is_refused_by_name(tree: Path, tmp_path: Path, path: str) -> None:
    (tree / path).unlink()
    why = rf"^T: this is no tree of Kubespray .*: {path} is not in it"
    with pytest.raises(ProfileError, match=why) as caught:
        read_folder(tree, "T")
    assert "v2.28 to v2.31" in str(caught.value.hint)
    with pytest.raises(ProfileError, match=why):
        read_archive(packed(tree, tmp_path / "t.tgz"), "T")


@pytest.mark.parametrize("variable", ["downloads", "kube_version"])
def test_a_tree_without_what_the_rest_stands_on_is_refused(tree: Path, variable: str) -> None:
    for path in (DOWNLOADS, *trees.DEFAULTS, *trees.ROLE_VARS):
        change(tree, path, **{variable: None})
    with pytest.raises(ProfileError, match=f"it has no variable {variable}"):
        Layers(read_folder(tree, "T"), {})


def test_what_is_no_archive_is_refused(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.tar.gz"
    page.write_text("<html>not found</html>")
    whole = packed(tree, tmp_path / "t.tar.gz")
    short = tmp_path / "short.tar.gz"
    short.write_bytes(whole.read_bytes()[:5000])
    for archive in (page, short):
        with pytest.raises(ProfileError, match="cannot be read as a tarball"):
            read_archive(archive, "T")
    monkeypatch.setattr(trees, "_MEMBERS", Limit("the members of a source archive", 5, "members"))
    with pytest.raises(ProfileError, match="limit of 5 members"):
        read_archive(whole, "T")
    monkeypatch.undo()
    monkeypatch.setattr(trees, "_FILE_LIMIT", 1000)
    with pytest.raises(ProfileError, match="has more than 1000 bytes"):
        read_archive(whole, "T")


def test_links_in_an_archive_lead_nowhere(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        link = tarfile.TarInfo(f"top/{DOWNLOADS}")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("top/../../etc/evil"), io.BytesIO())
    with pytest.raises(ProfileError, match=r"download\.yml"):
        read_archive(tmp_path / "t.tar", "T")


@pytest.mark.parametrize("text", ["- a\n- list\n", "a: [b\n", "1: number\n", "a: !!python/object:os.system x\n"])
def test_what_is_no_mapping_of_variables_is_named(tree: Path, text: str) -> None:
    (tree / DOWNLOADS).write_text(text)
    with pytest.raises(ProfileError, match=r"download\.yml: (not YAML|expected a mapping)"):
        Layers(read_folder(tree, "T"), {})


def test_the_version_is_the_trees(tree: Path, outside: Upstream) -> None:
    change(tree, "galaxy.yml", version="2.30.0")
    with pytest.raises(ProfileError, match=r"is version 2\.30\.0, and the profile says v2\.31\.0"):
        expand(Spec(version="v2.31.0", source=str(tree)), ROCKY9, outside)
    # A source of one's own may be called as one likes.
    assert expand(Spec(version="ours-1", source=str(tree)), ROCKY9, outside).item.version == "ours-1"


def test_a_file_without_a_checksum_is_refused(tree: Path, outside: Upstream) -> None:
    spec = Spec(version="v2.31.0", source=str(tree), vars={"kube_version": "1.2.3"})
    with pytest.raises(ProfileError, match="kube"):
        expand(spec, ROCKY9, outside)
    change(tree, CHECKSUMS, runc_checksums={"amd64": {"1.0": "md5:abc"}})
    with pytest.raises(ProfileError, match="downloads: runc: 'md5:abc' is no checksum"):
        expand(Spec(version="v2.31.0", source=str(tree)), ROCKY9, outside)


def test_the_same_from_a_url(tree: Path, tmp_path: Path, outside: Upstream, server: fake.Upstream) -> None:
    archive = packed(tree, tmp_path / "t.tar.gz")
    url = server.put("/v2.31.0.tar.gz", archive.read_bytes())
    spec = Spec(version="v2.31.0", source=url.replace("v2.31.0", "{version}"))
    assert spec.location == url
    found = expand(spec, ROCKY9, outside)
    sections: Any = found.sections
    assert sections["files"][0]["url"] == url
    assert found.item == expand(spec, ROCKY9, outside).item
    from_folder = expand(Spec(version="v2.31.0", source=str(tree)), ROCKY9, outside)
    assert found.sections["images"] == from_folder.sections["images"]
    assert found.sections["rpms"] == from_folder.sections["rpms"]
    with pytest.raises(IntegrityError, match=r"where 0{64} was promised"):
        expand(Spec(version="v2.31.0", source=url, sha256="0" * 64), ROCKY9, outside)
