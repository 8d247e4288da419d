"""Small rpm-md repositories for tests, written by createrepo_c, and those of CentOS Stream 9 in the shared data."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import createrepo_c
import pytest

from bundler.kinds.rpms.metadata import NEVRA, RepoMetadata

_SYSTEM_PYTHON = "/usr/bin/python3"
_FLAGS = {"=": "EQ", "<": "LT", "<=": "LE", ">": "GT", ">=": "GE"}


@dataclass(frozen=True)
class Rpm:
    """A package as metadata describes it. Dependencies are words such as `libfoo >= 2`."""

    nevra: str
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    obsoletes: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    recommends: tuple[str, ...] = ()
    supplements: tuple[str, ...] = ()
    files: tuple[str, ...] = field(default=())


def write_repo(
    folder: Path,
    repo_id: str,
    rpms: list[Rpm],
    *,
    comps: str | None = None,
    modules: str | None = None,
    priority: int = 99,
    module_hotfixes: bool = False,
) -> RepoMetadata:
    """Write primary.xml and filelists.xml of `rpms` into `folder`/`repo_id`; say where all is."""
    place = folder / repo_id
    place.mkdir(parents=True)
    primary, filelists = place / "primary.xml.gz", place / "filelists.xml.gz"
    writers = (
        createrepo_c.PrimaryXmlFile(str(primary), createrepo_c.GZ_COMPRESSION),
        createrepo_c.FilelistsXmlFile(str(filelists), createrepo_c.GZ_COMPRESSION),
    )
    for writer in writers:
        writer.set_num_of_pkgs(len(rpms))
        for number, rpm in enumerate(rpms):
            writer.add_pkg(_package(rpm, number))
        writer.close()
    return RepoMetadata(
        repo_id,
        primary,
        filelists,
        comps=_text(place / "comps.xml", comps),
        modules=_text(place / "modules.yaml", modules),
        priority=priority,
        module_hotfixes=module_hotfixes,
    )


def cs9(shared: Path) -> tuple[RepoMetadata, RepoMetadata]:
    """BaseOS and AppStream of CentOS Stream 9, in the order of the reference answers."""
    return _cs9(shared, "baseos"), _cs9(shared, "appstream")


def ask_dnf(
    repos: Mapping[str, Path], requests: Sequence[Mapping[str, object]], root: Path, arch: str = "x86_64"
) -> list[set[tuple[str, str]]]:
    """The (repository, NEVRA) pairs the real dnf would install into an empty system, for each of `requests`.

    `repos` are folders that hold repodata/. The test is skipped where dnf is not installed.
    """
    probe = [_SYSTEM_PYTHON, "-c", "import dnf, hawkey"]
    if not Path(_SYSTEM_PYTHON).exists() or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip(f"needs dnf and its modules for {_SYSTEM_PYTHON} (apt install dnf)")
    asked = {
        "root": str(root),
        "arch": arch,
        "repos": [[repo_id, folder.as_uri()] for repo_id, folder in repos.items()],
        "requests": requests,
    }
    script = Path(__file__).with_name("ask_dnf.py")
    ran = subprocess.run(
        [_SYSTEM_PYTHON, script], input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True, timeout=120
    )
    answers = json.loads(ran.stdout.splitlines()[-1])
    refused = [answer for answer in answers if isinstance(answer, str)]
    assert not refused, refused
    return [{(repo_id, nevra) for repo_id, nevra in answer} for answer in answers]


def write_repomd(folder: Path, files: Mapping[str, Path]) -> None:
    """Make `folder` a repository that dnf reads: `files` by their type, copied into repodata/."""
    repodata = folder / "repodata"
    repodata.mkdir(parents=True)
    repomd = createrepo_c.Repomd()
    for kind, file in files.items():
        record = createrepo_c.RepomdRecord(kind, str(shutil.copy(file, repodata / file.name)))
        record.fill(createrepo_c.SHA256)
        repomd.set_record(record)
    (repodata / "repomd.xml").write_text(repomd.xml_dump())


def _cs9(shared: Path, repo_id: str) -> RepoMetadata:
    folder = shared / "rpm" / "cs9-metadata" / repo_id / "repodata"
    return RepoMetadata(
        repo_id,
        primary=next(folder.glob("*-primary.xml.gz")),
        filelists=next(folder.glob("*-filelists.xml.gz")),
        comps=next(folder.glob("*-comps*.xml*")),
        modules=next(folder.glob("*-modules.yaml.xz"), None),
    )


def _package(rpm: Rpm, number: int) -> createrepo_c.Package:
    nevra = NEVRA.parse(rpm.nevra)
    package = createrepo_c.Package()
    package.name, package.arch = nevra.name, nevra.arch
    package.epoch, package.version, package.release = str(nevra.epoch), nevra.version, nevra.release
    package.pkgId, package.checksum_type = f"{number:064x}", "sha256"
    package.location_href = f"Packages/{nevra.name}-{nevra.version}-{nevra.release}.{nevra.arch}.rpm"
    package.size_package = 1000 + number
    evr = f"{nevra.name} = {nevra.epoch}:{nevra.version}-{nevra.release}"
    for kind in ("requires", "obsoletes", "conflicts", "recommends", "supplements"):
        setattr(package, kind, [_dependency(word) for word in getattr(rpm, kind)])
    package.provides = [_dependency(word) for word in (evr, *rpm.provides)]
    package.files = [("", f"{folder}/", name) for folder, _, name in (path.rpartition("/") for path in rpm.files)]
    return package


def _dependency(word: str) -> tuple[str, str | None, str | None, str | None, str | None, bool]:
    name, *rest = word.split(" ") if not word.startswith("(") else [word]
    if not rest:
        return name, None, None, None, None, False
    epoch, _, version_release = rest[1].rpartition(":")
    version, _, release = version_release.partition("-")
    return name, _FLAGS[rest[0]], epoch or "0", version, release or None, False


def _text(file: Path, content: str | None) -> Path | None:
    if content is None:
        return None
    file.write_text(content)
    return file
