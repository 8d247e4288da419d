from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from bundler.errors import BundleError
from bundler.kinds.rpms.attributes import PackageAttributes
from bundler.kinds.rpms.emit import emit
from bundler.model.items import Item, Made, Object
from bundler.model.node_files import NodeFile
from bundler.model.site import Served, SiteConfig
from bundler.model.target import Target

GOLDEN = Path(__file__).parent / "golden"
SERVED = Served(SiteConfig(address="192.168.10.10"), "demo", "1.0")
ROCKY9 = Target(distro="rocky", release="9")
ROCKY10 = Target(distro="rocky", release="10")


def repository(name: str, of: Target = ROCKY9, **changes: Any) -> Item:
    attributes: dict[str, Any] = {
        "type": "repository",
        "repo": name,
        "target": of.model_dump(),
        "path": f"rpms/{of.distro}/{of.release}/{name}",
        "packages": 3,
        "sample": "socat",
        "gpgcheck": True,
        "keys": ["keys/RPM-GPG-KEY-Rocky-9"],
        "priority": 99,
        "module_hotfixes": False,
        "modules": [],
    }
    return Item("rpms", name, "1", (), {**attributes, **changes})


def package(name: str, target: Target = ROCKY9) -> Item:
    words = PackageAttributes(
        repo="baseos",
        target=str(target),
        nevra=f"{name}-1-1.x86_64",
        arch="x86_64",
        href=f"Packages/{name}-1-1.x86_64.rpm",
        sourcerpm="",
    )
    path = f"rpms/{target.distro}/{target.release}/{words.repo}/{words.href}"
    return Item("rpms", name, "1-1", (Object(path, 1, "0" * 64, Made()),), words.as_json())


def only(files: tuple[NodeFile, ...]) -> NodeFile:
    (file,) = files
    return file


def test_golden_repo_file() -> None:
    items = (
        repository("baseos"),
        repository("appstream", priority=50, keys=["keys/RPM-GPG-KEY-Rocky-9", "keys/RPM-GPG-KEY-EPEL-9"]),
        repository("tools", gpgcheck=False, keys=[], module_hotfixes=True),
        package("socat"),
    )
    file = only(emit(items, SERVED).files)
    assert (file.path, file.destination, file.only_if) == ("yum.repos.d/demo.repo", "/etc/yum.repos.d/demo.repo", None)
    assert file.displaces == ("/etc/yum.repos.d/*.repo",)
    assert file.content == (GOLDEN / "demo.repo").read_text()


def test_golden_checks() -> None:
    checks = emit((repository("baseos"), package("socat")), SERVED).checks
    assert {check.needs for check in checks} == {"dnf"}
    text = "".join(f"# {check.title}\n{check.command}\n" for check in checks)
    assert text == (GOLDEN / "checks.sh").read_text()


def test_a_file_for_each_target() -> None:
    items = (repository("baseos", ROCKY9), repository("baseos", ROCKY10), package("socat"), package("socat", ROCKY10))
    emitted = emit(items, SERVED)
    assert [file.path for file in emitted.files] == ["yum.repos.d/demo-rocky10.repo", "yum.repos.d/demo-rocky9.repo"]
    assert {file.destination for file in emitted.files} == {"/etc/yum.repos.d/demo.repo"}
    assert "rpms/rocky/10/baseos/" in emitted.files[0].content
    assert "rpms/rocky/9/baseos/" not in emitted.files[0].content
    assert emitted.checks[-1].title == "dnf could install socat"


@pytest.mark.parametrize(
    ("distro", "version", "arch", "taken"),
    [
        ("rocky", "9", "x86_64", "rocky9"),
        ("rocky", "9.6", "x86_64", "rocky9"),
        ("rocky", "9.4", "x86_64", "rocky9.4"),
        ("rocky", "10.1", "x86_64", "rocky10-x86_64"),
        ("rocky", "10.1", "aarch64", "rocky10-aarch64"),
        ("rocky", "90", "x86_64", None),
        ("alma", "9", "x86_64", None),
        ("fedora", "9", "x86_64", "fedora9"),
    ],
)
def test_the_conditions_choose_one_file(distro: str, version: str, arch: str, taken: str | None) -> None:
    targets = [
        ROCKY9,
        ROCKY10,
        Target(distro="rocky", release="9.4"),
        Target(distro="rocky", release="10", arch="aarch64"),
        Target(distro="fedora", release="9"),
    ]
    chosen = []
    for file in emit(tuple(repository("baseos", target) for target in targets), SERVED).files:
        script = f"uname() {{ echo {arch}; }}; ID={distro}; VERSION_ID={version}; {file.only_if}"
        if subprocess.run(["sh", "-eu", "-c", script], check=False).returncode == 0:
            chosen.append(file.path.removeprefix("yum.repos.d/demo-").removesuffix(".repo"))
    assert chosen == ([taken] if taken else [])


def test_streams_of_a_mirror_are_enabled() -> None:
    _, module = emit((repository("appstream", modules=["nodejs:20"]),), SERVED).files
    assert (module.path, module.destination) == ("modules.d/nodejs.module", "/etc/dnf/modules.d/nodejs.module")
    assert module.content == "[nodejs]\nname=nodejs\nstream=20\nprofiles=\nstate=enabled\n"


def test_no_check_for_a_package_that_only_some_nodes_have() -> None:
    items = (repository("baseos", ROCKY9), repository("baseos", ROCKY10), package("socat", ROCKY9))
    assert [check.title for check in emit(items, SERVED).checks][-1] == "dnf reads their metadata"


def test_nothing_is_emitted_for_nothing() -> None:
    emitted = emit((), SERVED)
    assert (emitted.files, emitted.checks) == ((), ())


@pytest.mark.parametrize(
    "changes",
    [
        {"repo": "a]\nenabled=0\n["},
        {"path": "rpms/../../etc"},
        {"path": "rpms/a\nproxy=http://evil.example"},
        {"keys": ["keys/a b"]},
        {"keys": ["https://evil.example/key"]},
        {"sample": "$(reboot)"},
        {"modules": ["a\n[b]:1"]},
        {"target": {"distro": "x; reboot", "release": "9", "arch": "x86_64"}},
        {"unknown": 1},
    ],
)
def test_nothing_foreign_reaches_a_node(changes: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        emit((repository("baseos", **changes),), SERVED)
