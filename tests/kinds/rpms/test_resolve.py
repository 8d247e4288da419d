from __future__ import annotations

import filecmp
import gzip
import hashlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import createrepo_c
import pytest
import yaml

from bundler.bundle.programs import programs
from bundler.errors import FetchError, IntegrityError, ProfileError, ResolveError
from bundler.kinds.rpms.attributes import BootstrapAttributes
from bundler.kinds.rpms.emit import emit
from bundler.kinds.rpms.resolve import resolve
from bundler.kinds.rpms.spec import Spec
from bundler.model.items import Download, Item, Made, objects_of
from bundler.model.site import Ports, Served, SiteConfig
from bundler.model.target import Target

from .conftest import Bench, Serve

CENTOS7 = Target(distro="centos", release="7")
OPENSTACK = """
repos:
  - {{id: base, url: "{url}/centos7/base", gpgkey: ["{url}/keys/RPM-GPG-KEY-CentOS-7"]}}
  - {{id: cloud, url: "{url}/centos7/cloud/", gpgkey: ["{url}/keys/RPM-GPG-KEY-CentOS-SIG-Cloud"]}}
  - {{id: epel, url: "{url}/centos7/epel", gpgkey: ["{url}/keys/RPM-GPG-KEY-EPEL-7"]}}
packages: [python-openstackclient]
assume_installed: "{url}/node-base"
"""


def mirror(url: str, **options: object) -> str:
    extra = "".join(f", {key}: {value}" for key, value in options.items())
    return f'repos: [{{id: all, url: "{url}", mode: mirror, gpgcheck: false{extra}}}]'


def of_type(items: Iterable[Item], type_: str) -> list[Item]:
    return [item for item in items if item.attributes["type"] == type_]


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def writable_copy(source: Path, to: Path) -> Path:
    shutil.copytree(source, to, copy_function=shutil.copyfile)
    for folder in [to, *to.rglob("*/")]:
        folder.chmod(0o755)
    return to


# Whole repositories


def test_a_mirror_is_byte_for_byte_its_source(
    shared: Path, serve: Serve, bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = shared / "rpm/rocky8"
    items = bench.resolve(mirror(serve(source)))
    copy = bench.unpack(items, tmp_path / "bundle") / "rpms/rocky/8/all"
    assert files(copy) == files(source)
    assert filecmp.cmpfiles(source, copy, files(source), shallow=False)[1:] == ([], [])
    # Its primary.xml lists one package that is not there, as mirrors in the middle of an update have it.
    assert "lists containerd.io-1.6.24-3.1.el8.x86_64.rpm and has it not" in caplog.text
    (repository,) = of_type(items, "repository")
    assert repository.attributes["packages"] == 29
    assert repository.attributes["module_hotfixes"] is True  # modular packages, and no modules.yaml


def test_a_signature_of_the_metadata_is_mirrored(shared: Path, serve: Serve, bench: Bench, tmp_path: Path) -> None:
    source = writable_copy(shared / "rpm/node-base", tmp_path / "source")
    (source / "repodata/repomd.xml.asc").write_text("signature")
    items = bench.resolve(mirror(serve(source)))
    assert "rpms/rocky/8/all/repodata/repomd.xml.asc" in [obj.path for obj in objects_of(items)]


def test_optional_metadata_may_be_lost_and_primary_may_not(
    shared: Path, serve: Serve, bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = writable_copy(shared / "rpm/node-base", tmp_path / "source")
    url = serve(source)
    (lost,) = source.glob("repodata/*-other.xml.gz")
    lost.unlink()
    bench.resolve(mirror(url))
    assert f"lists repodata/{lost.name} and has it not" in caplog.text
    for name in ("filelists", "primary"):
        (lost,) = source.glob(f"repodata/*-{name}.xml.gz")
        lost.unlink()
        with pytest.raises(ResolveError, match=f"{name}.xml.gz is not there"):
            bench.resolve(mirror(url))


def test_metadata_that_is_not_what_repomd_promises(shared: Path, serve: Serve, bench: Bench, tmp_path: Path) -> None:
    source = writable_copy(shared / "rpm/node-base", tmp_path / "source")
    (primary,) = source.glob("repodata/*-primary.xml.gz")
    content = bytearray(primary.read_bytes())
    content[-1] ^= 1
    primary.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"primary\.xml\.gz"):
        bench.resolve(mirror(serve(source)))


def test_a_mirror_of_packages_elsewhere_is_refused(shared: Path, serve: Serve, bench: Bench, tmp_path: Path) -> None:
    url = serve(shared / "rpm/node-base")
    source = rewritten(shared / "rpm/node-base", tmp_path / "source", base=f"{url}/")
    with pytest.raises(ResolveError, match="another server"):
        bench.resolve(mirror(serve(source)))
    items = bench.resolve(mirror(serve(source), newest_only="true"))
    package = of_type(items, "package")[0].objects[0]
    assert isinstance(package.source, Download)
    assert package.source.url.startswith(f"{url}/node-base-el")
    unpacked = bench.unpack(items, tmp_path / "bundle")
    (primary,) = unpacked.glob("**/*-primary.xml.gz")
    assert b"xml:base" not in gzip.decompress(primary.read_bytes())


def rewritten(source: Path, to: Path, *, base: str | None = None, checksum: str = "sha256", sizes: bool = True) -> Path:
    """`source` with its metadata in other words: xml:base for its packages, checksums of another type, no sizes."""
    shutil.copytree(source, to, ignore=shutil.ignore_patterns("repodata"), copy_function=shutil.copyfile)
    to.chmod(0o755)
    (to / "repodata").mkdir()
    type_ = getattr(createrepo_c, checksum.upper())
    primary = to / "repodata/primary.xml"
    writer = createrepo_c.PrimaryXmlFile(str(primary), createrepo_c.NO_COMPRESSION)
    rpms = sorted(to.glob("*.rpm"))
    writer.set_num_of_pkgs(len(rpms))
    for rpm in rpms:
        package = createrepo_c.package_from_rpm(str(rpm), checksum_type=type_, location_href=rpm.name)
        package.location_base = base
        package.size_package = package.size_package if sizes else 0
        writer.add_pkg(package)
    writer.close()
    record = createrepo_c.RepomdRecord("primary", str(primary))
    record.fill(type_)
    repomd = createrepo_c.Repomd()
    repomd.set_record(record)
    (to / "repodata/repomd.xml").write_text(repomd.xml_dump())
    return to


@pytest.mark.parametrize(("checksum", "sizes"), [("sha512", True), ("sha256", False)])
def test_what_metadata_does_not_say_is_measured(
    shared: Path, serve: Serve, bench: Bench, tmp_path: Path, checksum: str, sizes: bool
) -> None:
    source = rewritten(shared / "rpm/node-base", tmp_path / "source", checksum=checksum, sizes=sizes)
    items = bench.resolve(mirror(serve(source)))
    for item in of_type(items, "package"):
        (obj,) = item.objects
        content = (source / Path(obj.path).name).read_bytes()
        assert (obj.size, obj.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    (source / "node-base-el7-1-1.noarch.rpm").write_bytes(b"something else")
    if checksum != "sha256":
        with pytest.raises(IntegrityError, match="node-base-el7"):
            bench.resolve(mirror(serve(source)))


# Packages


def test_the_closure_installs_from_what_is_emitted(shared: Path, serve: Serve, bench: Bench, tmp_path: Path) -> None:
    """Three repositories with three keys, resolved, served again as a site does, and used by dnf with gpgcheck=1."""
    items = bench.resolve(OPENSTACK.format(url=serve(shared / "rpm")), CENTOS7)
    bench.unpack(items, tmp_path / "www/demo")
    port = int(serve(tmp_path / "www").rpartition(":")[2])
    emitted = emit(items, Served(SiteConfig(address="127.0.0.1", ports=Ports(web=port)), "demo", "1.0"))
    dnf = Dnf(tmp_path / "node", emitted.files[0].content)
    # These two stand-ins for what a node has already are nobody's: no key signs them. What is tested is checked.
    node_base = ["--repofrompath", f"node-base,{shared}/rpm/node-base", "--setopt=node-base.gpgcheck=0"]
    dnf(*node_base, "install", "node-base-el7", "node-base-el8")
    for check in emitted.checks:
        dnf.shell(check.command)
    assert "demo-cloud" in dnf("info", "python-openstackclient")
    said = dnf("install", "python-openstackclient")
    assert "Complete!" in said
    installed = dnf("repoquery", "--installed", "--qf", "%{name}-%{evr}.%{arch}").split()
    carried = {str(item.attributes["nevra"]) for item in of_type(items, "package")}
    assert carried == {nevra for nevra in installed if not nevra.startswith("node-base")}


class Dnf:
    """Debian's dnf as a node: everything of it lies under one folder, and `dnf` in its shell is this one."""

    def __init__(self, folder: Path, repo_file: str) -> None:
        dnf = shutil.which("dnf")
        if dnf is None:
            pytest.skip("needs dnf")
        for name in ("root", "cache", "log", "persist", "repos", "bin"):
            (folder / name).mkdir(parents=True)
        (folder / "repos/demo.repo").write_text(repo_file)
        options = [
            "-y", "--disableplugin=local,versionlock", f"--installroot={folder}/root", "--releasever=7",
            "--forcearch=x86_64", "--setopt=varsdir=/dev/null", "--setopt=module_platform_id=platform:el8",
            "--setopt=tsflags=noscripts", f"--setopt=reposdir={folder}/repos",
            *(f"--setopt={name}dir={folder}/{name}" for name in ("cache", "log", "persist")),
        ]  # fmt: skip
        program = folder / "bin/dnf"
        program.write_text(f'#!/bin/sh\nexec {shlex.join([dnf, *options])} "$@"\n')
        program.chmod(0o755)
        self._path = f"{program.parent}:{os.environ['PATH']}"

    def __call__(self, *arguments: str) -> str:
        return self.shell(shlex.join(["dnf", *arguments]))

    def shell(self, command: str) -> str:
        environment = {**os.environ, "PATH": self._path}
        done = subprocess.run(
            ["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, command + done.stdout + done.stderr
        return done.stdout + done.stderr


def test_the_same_profile_gives_the_same_items_and_bytes(
    shared: Path, serve: Serve, make_bench: Callable[[], Bench]
) -> None:
    section = OPENSTACK.format(url=serve(shared / "rpm"))
    one, another = make_bench().resolve(section, CENTOS7), make_bench().resolve(section, CENTOS7)
    assert one == another


def test_items_of_packages_say_what_a_list_needs(shared: Path, serve: Serve, bench: Bench) -> None:
    items = bench.resolve(OPENSTACK.format(url=serve(shared / "rpm")), CENTOS7)
    (item,) = (item for item in items if item.name == "pytz")
    assert item.version == "2012d-5.el7"
    assert item.purl == "pkg:rpm/centos/pytz@2012d-5.el7?arch=noarch&distro=centos-7"
    assert item.licence == "MIT"
    assert item.objects[0].path == "rpms/centos/7/base/Packages/pytz-2012d-5.el7.noarch.rpm"
    assert item.attributes == {
        "type": "package",
        "repo": "base",
        "target": "centos-7-x86_64",
        "nevra": "pytz-2012d-5.el7.noarch",
        "arch": "noarch",
        "href": "Packages/pytz-2012d-5.el7.noarch.rpm",
        "sourcerpm": "pytz-2012d-5.el7.src.rpm",
    }
    keys = of_type(items, "key")
    assert [(key.objects[0].path, key.version) for key in keys] == [
        ("keys/RPM-GPG-KEY-CentOS-7", "24c6a8a7f4a80eb5"),
        ("keys/RPM-GPG-KEY-CentOS-SIG-Cloud", "f9b9fee7764429e6"),
        ("keys/RPM-GPG-KEY-EPEL-7", "6a2faea2352c64e5"),
    ]
    assert all(isinstance(key.objects[0].source, Made) for key in keys)


def test_modules_and_groups_of_a_subset(shared: Path, serve: Serve, bench: Bench, tmp_path: Path) -> None:
    url = serve(shared / "rpm/cs9-metadata")
    section = f"""
      repos:
        - {{id: baseos, url: "{url}/baseos", gpgcheck: false}}
        - {{id: appstream, url: "{url}/appstream", gpgcheck: false}}
      packages: [nodejs, {{name: nginx, for: [x86_64]}}]
      modules: ["nodejs:20"]
    """
    items = bench.resolve(section, Target(distro="centos", release="9"))
    by_name = {item.name: item for item in of_type(items, "package")}
    assert by_name["nodejs"].version.startswith("1:20.")
    made = [item for item in of_type(items, "repository") if item.name == "appstream"]
    folder = bench.unpack(made, tmp_path / "bundle") / "rpms/centos/9/appstream/repodata"
    (modules,) = folder.glob("*-modules.yaml.gz")
    text = gzip.decompress(modules.read_bytes()).decode()
    assert set(re.findall(r"^  name: (\S+)$", text, re.MULTILINE)) == {"nodejs"}
    assert set(re.findall(r"^  stream: \W?(\w+)", text, re.MULTILINE)) == {"20"}
    baseos = [item for item in of_type(items, "repository") if item.name == "baseos"]
    folder = bench.unpack(baseos, tmp_path / "bundle") / "rpms/centos/9/baseos/repodata"
    (comps,) = folder.glob("*-comps.xml")
    assert "<id>core</id>" in comps.read_text()
    assert set(re.findall(r"<packagereq[^>]*>([^<]+)<", comps.read_text())) <= set(by_name)


def test_what_the_admin_host_takes_first(shared: Path, serve: Serve, bench: Bench) -> None:
    section = OPENSTACK.replace(
        "[python-openstackclient]", "[python-openstackclient, {{name: python-six, bootstrap: true}}]"
    )
    items = bench.resolve(section.format(url=serve(shared / "rpm")), CENTOS7)
    (first,) = of_type(items, "bootstrap")
    said = BootstrapAttributes.of(first)
    assert (said.role, said.names) == ("bootstrap", ("python-six",))
    members = [obj.path for obj in first.objects]
    packages = [path for path in members if path.endswith(".rpm")]
    assert len(packages) == 1  # all that it needs is in what is installed
    assert packages[0].startswith("rpms/centos/7/cloud/Packages/python-six-")
    assert {path for path in members if path.startswith("keys/")} == {
        f"keys/RPM-GPG-KEY-{name}" for name in ("CentOS-7", "CentOS-SIG-Cloud", "EPEL-7")
    }
    assert "rpms/centos/7/cloud/repodata/repomd.xml" in members
    epel = next(repo for repo in said.repositories if repo.repo == "epel")
    assert (epel.path, epel.gpgcheck, epel.keys) == ("rpms/centos/7/epel", True, ("keys/RPM-GPG-KEY-EPEL-7",))
    assert {program.file.path for program in programs(items)} == set(members)


def test_several_architectures_of_a_release_lie_apart(shared: Path, serve: Serve, bench: Bench) -> None:
    targets = [Target(distro="rocky", release="8", arch=arch) for arch in ("x86_64", "aarch64")]
    items = bench.resolve(mirror(serve(shared / "rpm/node-base")), *targets)
    assert {str(item.attributes["path"]) for item in of_type(items, "repository")} == {
        "rpms/rocky/8/x86_64/all",
        "rpms/rocky/8/aarch64/all",
    }


def test_a_repository_that_nothing_is_needed_of_is_left_out(shared: Path, serve: Serve, bench: Bench) -> None:
    url = serve(shared / "rpm")
    section = f"""
      repos:
        - {{id: base, url: "{url}/node-base", gpgcheck: false}}
        - {{id: epel, url: "{url}/centos7/epel", gpgcheck: false}}
      packages: [node-base-el7]
    """
    assert [item.name for item in of_type(bench.resolve(section), "repository")] == ["base"]


def test_a_package_that_is_lost_upstream_is_left_to_the_fetch(
    shared: Path, serve: Serve, bench: Bench, tmp_path: Path
) -> None:
    source = writable_copy(shared / "rpm/node-base", tmp_path / "source")
    (source / "node-base-el7-1-1.noarch.rpm").unlink()
    section = f'{{repos: [{{id: a, url: "{serve(source)}", gpgcheck: false}}], packages: [node-base-el7]}}'
    items = bench.resolve(section)
    with pytest.raises(FetchError, match=r"node-base-el7-1-1\.noarch\.rpm: upstream answered 404"):
        bench.unpack(items, tmp_path / "bundle")


def test_a_mirror_may_not_lack_what_the_packages_need(shared: Path, serve: Serve, bench: Bench, tmp_path: Path) -> None:
    source = writable_copy(shared / "rpm/node-base", tmp_path / "source")
    (source / "node-base-el7-1-1.noarch.rpm").unlink()
    section = mirror(serve(source))
    assert len(of_type(bench.resolve(section + "\npackages: [node-base-el8]"), "package")) == 1
    with pytest.raises(ResolveError, match=r"has lost node-base-el7-1-1\.noarch\.rpm"):
        bench.resolve(section + "\npackages: [node-base-el7]")


def test_two_files_of_one_name_do_not_meet(shared: Path, serve: Serve, bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name, rpm in (("a", "node-base-el7"), ("b", "node-base-el8")):
        (source / name).mkdir()
        shutil.copyfile(shared / f"rpm/node-base/{rpm}-1-1.noarch.rpm", source / name / "same.rpm")
    subprocess.run([shutil.which("createrepo_c") or "createrepo_c", "-q", source], check=True)
    section = f'{{repos: [{{id: a, url: "{serve(source)}", gpgcheck: false}}], packages: ["node-base-*"]}}'
    items = bench.resolve(section)
    paths = {item.name: item.objects[0].path for item in of_type(items, "package")}
    assert all(re.fullmatch(r"rpms/rocky/8/a/Packages/[0-9a-f]{16}/same\.rpm", path) for path in paths.values())
    assert len(set(paths.values())) == 2
    bench.unpack(items, tmp_path / "bundle")


# Profiles that cannot be


def test_two_repositories_of_one_id(bench: Bench) -> None:
    repo = '{id: a, url: "http://127.0.0.1:9/", mode: mirror, gpgcheck: false}'
    with pytest.raises(ProfileError, match="have the id a"):
        bench.resolve(f"repos: [{repo}, {repo}]")


def test_packages_for_a_target_without_repositories(bench: Bench) -> None:
    repo = '{id: a, url: "http://127.0.0.1:9/", gpgcheck: false, for: ["10"]}'
    with pytest.raises(ProfileError, match="no repository is for it"):
        bench.resolve(f"{{repos: [{repo}], packages: [socat]}}", Target(distro="rocky", release="9"))


def test_a_key_that_is_none(shared: Path, serve: Serve, bench: Bench) -> None:
    url = serve(shared / "rpm")
    section = f"repos: [{{id: a, url: '{url}/node-base', mode: mirror, gpgkey: ['{url}/keys/RPM-GPG-KEY-Rocky-8']}}]"
    with pytest.raises(ProfileError, match="is no OpenPGP key"):
        bench.resolve(section)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ('repos: [{id: a, url: "http://127.0.0.1:9/", gpgcheck: false}]', "`packages` lists none"),
        ("packages: [socat]", "names no repository"),
    ],
)
def test_a_section_that_nothing_can_come_of(bench: Bench, section: str, words: str) -> None:
    with pytest.raises(ProfileError, match=words):
        bench.resolve(section)


def test_a_section_for_no_target(bench: Bench) -> None:
    section = 'repos: [{id: a, url: "http://127.0.0.1:9/", mode: mirror, gpgcheck: false}]'
    with pytest.raises(ProfileError, match="no `targets`"):
        resolve(Spec.model_validate(yaml.safe_load(section)), (), bench.upstream)
