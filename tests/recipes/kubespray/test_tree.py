"""A tree out of a folder or a tarball; what is none, or another one than was asked for, is named."""

from __future__ import annotations

import io
import shutil
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundler.errors import IntegrityError, ProfileError
from bundler.kinds.wheels.spec import names_file
from bundler.limits import Limit
from bundler.model.target import Target
from bundler.recipes.kubespray import tree as trees
from bundler.recipes.kubespray.expand import Layers, expand
from bundler.recipes.kubespray.public import Public
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


@pytest.mark.parametrize(
    "value",
    [
        "2001-13-45",
        "9" * 5000,
        ":".join(["59"] * 100_000),
        "0x" + "f" * 200_000,
        "2001-01-01 25:61:61",
        "." + "1" * 5000,
    ],
)
def test_what_only_looks_like_a_number_is_no_crash(value: str) -> None:
    began = time.process_time()
    with pytest.raises(ProfileError, match="not YAML"):
        trees.parse_variables(f"x: {value}\n".encode(), "t")
    assert time.process_time() - began < 2


# What a tree names


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("ansible==10.7.0", "ansible==10.7.0"),
        ("netaddr>=1.0 ; python_version < '4' --hash=sha256:" + "0" * 64, None),
        ("secret.txt", "secret-txt"),
        ("requirements.in", "requirements-in"),
    ],
)
def test_requirements_of_a_tree_are_names(line: str, wanted: str | None) -> None:
    (found,) = Public("T", {}).requirements([line])
    assert not names_file(found)
    assert wanted is None or found == wanted


@pytest.mark.parametrize(
    "line",
    [
        "/etc/secret.txt",
        "../secret.txt",
        "x @ file:///srv/x-1.0-py3-none-any.whl",
        "x @ http://127.0.0.1:8001/x-1.0-py3-none-any.whl",
        "x @ https://example.org/x-1.0-py3-none-any.whl",
        "https://example.org/x-1.0-py3-none-any.whl",
        "http://127.0.0.1:8001/role",
        "-r http://127.0.0.1:8001/role",
        "--index-url http://127.0.0.1/",
        "x --index-url=http://127.0.0.1/",
        "-e .",
        "x==1 --hash=sha256:/etc/passwd",
    ],
)
def test_a_trees_requirements_name_nothing_else(tree: Path, outside: Upstream, line: str) -> None:
    (tree / "requirements.txt").write_text(f"ansible==10.7.0\n{line}\n")
    with pytest.raises(ProfileError, match=r"requirements\.txt: .* is no name with versions"):
        expand(Spec(version="v2.31.0", source=str(tree)), ROCKY9, outside)


@pytest.mark.parametrize("host", ["127.0.0.1:5055", "localhost:5000", "0x7f.1", "169.254.169.254"])
def test_a_tree_names_no_registry_on_this_machine(tree: Path, outside: Upstream, host: str) -> None:
    change(tree, DOWNLOADS, kube_image_repo=f"{host}/private")
    with pytest.raises(ProfileError, match=rf"it names {host}/private/\S+, which is"):
        expand(Spec(version="v2.31.0", source=str(tree)), ROCKY9, outside)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8001/role", "http://localhost/x", "file:///etc/passwd", "http://[x/"]
)
def test_a_tree_names_no_file_on_this_machine(tree: Path, outside: Upstream, url: str) -> None:
    change(tree, DOWNLOADS, kubeadm_download_url=url)
    with pytest.raises(ProfileError, match=r"it names http://|is no"):
        expand(Spec(version="v2.31.0", source=str(tree)), ROCKY9, outside)


def test_the_author_may_name_this_machine(tree: Path, outside: Upstream) -> None:
    spec = Spec(version="v2.31.0", source=str(tree), vars={"kube_image_repo": "127.0.0.1:5055/k8s"})
    images = expand(spec, ROCKY9, outside).sections["images"]
    assert isinstance(images, list)
    assert any(isinstance(image, str) and image.startswith("127.0.0.1:5055/k8s/") for image in images)


def test_what_a_tree_names_is_shown_no_log_in(tree: Path, outside: Upstream) -> None:
    images = expand(Spec(version="v2.31.0", source=str(tree)), ROCKY9, outside).sections["images"]
    assert isinstance(images, list)
    assert all(isinstance(image, dict) and image["anonymous"] is True for image in images)


def test_an_image_that_is_none_is_an_error(tree: Path, outside: Upstream) -> None:
    change(tree, DOWNLOADS, kube_image_repo="registry.k8s.io/../NO")
    with pytest.raises(ProfileError, match="is no image reference"):
        expand(Spec(version="v2.31.0", source=str(tree)), ROCKY9, outside)
