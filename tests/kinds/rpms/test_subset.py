from __future__ import annotations

import gzip
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import createrepo_c
import pytest

from bundler.errors import ResolveError
from bundler.kinds.rpms.metadata import RepoMetadata
from bundler.kinds.rpms.primary import Package, read_packages
from bundler.kinds.rpms.subset import Placed, write_subset

COMMON = "{http://linux.duke.edu/metadata/common}"
REPO = "{http://linux.duke.edu/metadata/repo}"


@pytest.fixture
def rocky8(shared: Path) -> tuple[RepoMetadata, Path]:
    folder = shared / "rpm/rocky8/repodata"
    found = {name: next(folder.glob(f"*-{name}.xml.gz")) for name in ("primary", "filelists", "other")}
    return RepoMetadata("rocky8", found["primary"], found["filelists"]), found["other"]


def placed(metadata: RepoMetadata, *names: str) -> dict[str, Placed]:
    packages = read_packages(metadata.primary, "https://example.org/", "test")
    return {each.pkgid: place(each) for each in packages if each.nevra.name in names}


def place(package: Package) -> Placed:
    return Placed(package, f"Packages/{package.path}")


def written(metadata: RepoMetadata, other: Path | None, names: tuple[str, ...], to: Path) -> dict[str, bytes]:
    """The records of a subset by type, decompressed."""
    files = write_subset(
        metadata, placed(metadata, *names), other=other, modules=None, revision="7", timestamp=1000, to=to
    )
    assert {file.parent for file in files} == {to / "repodata"}
    repomd = createrepo_c.Repomd(str(to / "repodata/repomd.xml"))
    assert {record.timestamp for record in repomd.records} == {1000}
    assert repomd.revision == "7"
    contents = {record.type: (to / record.location_href).read_bytes() for record in repomd.records}
    return {name: gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data for name, data in contents.items()}


def test_all_packages_give_what_createrepo_made(rocky8: tuple[RepoMetadata, Path], tmp_path: Path) -> None:
    metadata, other = rocky8
    packages = read_packages(metadata.primary, "https://example.org/", "test")
    everything = {each.pkgid: Placed(each, each.path) for each in packages}
    write_subset(metadata, everything, other=other, modules=None, revision="", timestamp=0, to=tmp_path)
    for name, source in (("primary", metadata.primary), ("filelists", metadata.filelists), ("other", other)):
        (file,) = tmp_path.glob(f"repodata/*-{name}.xml.gz")
        assert source is not None
        assert gzip.decompress(file.read_bytes()) == gzip.decompress(source.read_bytes())


def test_a_subset_has_its_packages_and_nothing_else(rocky8: tuple[RepoMetadata, Path], tmp_path: Path) -> None:
    found = written(*rocky8, ("socat", "httpd"), tmp_path)
    assert set(found) == {"primary", "filelists", "other"}
    for name in ("primary", "filelists", "other"):
        root = ET.fromstring(found[name])
        assert root.get("packages") == "2" == str(len(root))
    hrefs = [each.get("href", "") for each in ET.fromstring(found["primary"]).iter(f"{COMMON}location")]
    assert [href.rpartition("/")[0] for href in hrefs] == ["Packages", "Packages"]
    assert b"/usr/share/doc/socat" in found["filelists"]
    assert b"/usr/share/doc/apr" not in found["filelists"]
    assert b"<changelog" in found["other"]


def test_the_same_packages_give_the_same_bytes(rocky8: tuple[RepoMetadata, Path], tmp_path: Path) -> None:
    for name in ("one", "another"):
        written(*rocky8, ("socat", "iptables", "httpd"), tmp_path / name)
    one, another = (
        {file.name: file.read_bytes() for file in (tmp_path / name / "repodata").iterdir()}
        for name in ("one", "another")
    )
    assert one == another


def test_a_package_that_listings_forgot_gets_empty_entries(rocky8: tuple[RepoMetadata, Path], tmp_path: Path) -> None:
    metadata, _ = rocky8
    found = written(replace(metadata, filelists=None), None, ("socat",), tmp_path)
    for name in ("filelists", "other"):
        (entry,) = ET.fromstring(found[name])
        assert entry.get("name") == "socat"
        assert len(entry) == 1  # its version
    # primary.xml keeps the files it had, programs among them.
    assert b"<file>/usr/bin/socat</file>" in found["primary"]


def test_a_listing_that_is_cut_short_is_named(rocky8: tuple[RepoMetadata, Path], tmp_path: Path) -> None:
    metadata, other = rocky8
    short = tmp_path / "filelists.xml"
    assert metadata.filelists is not None
    short.write_bytes(gzip.decompress(metadata.filelists.read_bytes())[:5000])
    with pytest.raises(ResolveError, match=r"rocky8: filelists\.xml cannot be parsed"):
        written(replace(metadata, filelists=short), other, ("socat",), tmp_path / "to")


def test_dnf_reads_a_subset(rocky8: tuple[RepoMetadata, Path], shared: Path, tmp_path: Path) -> None:
    if shutil.which("dnf") is None:
        pytest.skip("needs dnf")
    metadata, other = rocky8
    written(metadata, other, ("socat", "mailcap"), tmp_path / "repo")
    (tmp_path / "repo/Packages").mkdir()
    for rpm in (shared / "rpm/rocky8").glob("socat-*.rpm"):
        shutil.copyfile(rpm, tmp_path / "repo/Packages" / rpm.name)
    for name in ("cache", "log", "persist", "root", "repos", "down"):
        (tmp_path / name).mkdir()
    command = [
        "dnf", "-q", "-y", "--disableplugin=local,versionlock", f"--installroot={tmp_path}/root", "--releasever=8",
        f"--setopt=reposdir={tmp_path}/repos", "--setopt=varsdir=/dev/null", "--setopt=module_platform_id=platform:el8",
        *(f"--setopt={name}dir={tmp_path}/{name}" for name in ("cache", "log", "persist")),
        "--repofrompath", f"subset,{tmp_path}/repo", "--setopt=subset.gpgcheck=1",
    ]  # fmt: skip
    listed = subprocess.run(
        [*command, "repoquery", "--qf", "%{name}"], capture_output=True, text=True, check=True, timeout=60
    )
    assert listed.stdout.split() == ["mailcap", "socat"]
    owner = subprocess.run(
        [*command, "repoquery", "--whatprovides", "/usr/share/man/man1/socat.1.gz", "--qf", "%{name}"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert owner.stdout.split() == ["socat"]


COMPS = b"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">
<comps>
  <group><id>net</id><name>Net</name><name xml:lang="de">Netz</name><packagelist>
    <packagereq type="mandatory">socat</packagereq><packagereq type="default">nmap</packagereq></packagelist></group>
  <group><id>games</id><packagelist><packagereq type="default">chess</packagereq></packagelist></group>
  <environment><id>server</id><grouplist><groupid>net</groupid><groupid>games</groupid></grouplist></environment>
  <environment><id>fun</id><grouplist><groupid>games</groupid></grouplist><optionlist/></environment>
  <langpacks><match name="socat" install="socat-l10n-%s"/><match name="chess" install="chess-%s"/></langpacks>
</comps>
"""

UPDATEINFO = b"""<?xml version="1.0" encoding="UTF-8"?>
<updates>
  <update from="a" status="final" type="security" version="2"><id>RLSA-1</id><title>socat</title>
    <references><reference href="https://example.org/CVE-1" id="CVE-1" type="cve"/></references>
    <pkglist><collection short="c"><name>c</name>
      <package name="socat" version="1.7.4.1" release="1.el8" epoch="0" arch="x86_64"/>
      <package name="socat" version="1.7.4.1" release="1.el8" epoch="0" arch="aarch64"/>
    </collection></pkglist></update>
  <update from="a" status="final" type="bugfix"><id>RLBA-2</id>
    <pkglist><collection short="c"><package name="socat" version="1.7.3" release="9.el8" epoch="0" arch="x86_64"/>
    </collection></pkglist></update>
</updates>
"""


def test_comps_and_updateinfo_are_cut_to_the_packages(rocky8: tuple[RepoMetadata, Path], tmp_path: Path) -> None:
    metadata, other = rocky8
    comps, updateinfo = tmp_path / "comps.xml", tmp_path / "updateinfo.xml.gz"
    comps.write_bytes(COMPS)
    updateinfo.write_bytes(gzip.compress(UPDATEINFO))
    metadata = replace(metadata, comps=comps, updateinfo=updateinfo)
    found = written(metadata, other, ("socat", "mailcap"), tmp_path / "to")
    root = ET.fromstring(found["group"])
    assert [group.findtext("id") for group in root.iter("group")] == ["net"]
    assert [each.text for each in root.iter("packagereq")] == ["socat"]
    assert "Netz" in [each.text for each in root.iter("name")]
    assert [each.findtext("id") for each in root.iter("environment")] == ["server"]
    assert [each.text for each in root.iter("groupid")] == ["net"]
    assert [each.get("name") for each in root.iter("match")] == ["socat"]
    advisories = ET.fromstring(found["updateinfo"])
    assert [each.findtext("id") for each in advisories] == ["RLSA-1"]
    assert [each.get("arch") for each in advisories.iter("package")] == ["x86_64"]
    assert advisories.find("update/references/reference") is not None


def test_comps_and_updateinfo_that_do_not_concern_the_packages_are_left_out(
    rocky8: tuple[RepoMetadata, Path], tmp_path: Path
) -> None:
    metadata, other = rocky8
    comps, updateinfo = tmp_path / "comps.xml", tmp_path / "updateinfo.xml"
    comps.write_bytes(COMPS)
    updateinfo.write_bytes(UPDATEINFO)
    found = written(replace(metadata, comps=comps, updateinfo=updateinfo), other, ("mailcap",), tmp_path / "to")
    assert set(found) == {"primary", "filelists", "other"}


@pytest.mark.parametrize("name", ["comps", "updateinfo"])
def test_damaged_extras_are_named(rocky8: tuple[RepoMetadata, Path], tmp_path: Path, name: str) -> None:
    metadata, other = rocky8
    file = tmp_path / name
    file.write_bytes(b"<comps><group>")
    metadata = replace(metadata, comps=file) if name == "comps" else replace(metadata, updateinfo=file)
    with pytest.raises(ResolveError, match=rf"rocky8: {name}\.xml cannot be parsed"):
        written(metadata, other, ("socat",), tmp_path / "to")
