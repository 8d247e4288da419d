"""What a vouched bundle may say of packages, and how it may be packed: what install.sh makes of it."""

from __future__ import annotations

import bz2
import gzip
import io
import re
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.bundle.programs import programs
from bundler.bundle.reader import Bundle
from bundler.model.items import Json
from tests.kinds.bootstrap.hosts import ADDRESS, Host, id_of

pytestmark = pytest.mark.parametrize("host", ["9"], indirect=True)

_FORM = "in a form that bundler does not write"


def _refused(host: Host, bundle: Path, **changes: Json) -> None:
    """It ends before rpm or dnf hears of the bundle."""
    bundle.unlink()
    host.write(bundle, packages=host.packages(**changes))
    assert _FORM in host.refuses(bundle, "--id", id_of(bundle), code=7)
    assert not [call for call in host.calls if call.startswith(("rpm ", "dnf "))]


# Names and values


@pytest.mark.parametrize(
    "name",
    [
        # Options that rpm or dnf would obey: the last one turns the check of signatures off.
        "--pipe=id",
        "-e",
        "--setopt=gpgcheck=0",
        "@core",
        "*",
        "a b",
        "$(id)",
        "/etc/passwd",
        "a\nb",
        "",
        "a'b",
        "b\u202e",
        "nginx.rpm",
    ],
)
def test_a_name_that_is_no_package_name_is_refused(host: Host, bundle: Path, name: str) -> None:
    _refused(host, bundle, names=["nginx", name])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        # A line of its own in the .repo file that turns the check of signatures off.
        ("repo", "baseos]\ngpgcheck=0"),
        ("repo", "-x"),
        ("repo", "main x"),
        ("path", "rpms/../etc"),
        ("path", "rpms/a b"),
        ("path", "/etc"),
        ("path", "rpms/a\nproxy=http://x"),
        ("gpgcheck", "1"),
        ("gpgcheck", 0),
        ("gpgcheck", False),
        ("priority", 0),
        ("priority", "9\ngpgcheck=0"),
        ("module_hotfixes", None),
        ("keys", []),
        ("keys", ["keys/../x"]),
        ("keys", ["https://example.com/key"]),
        ("keys", ["keys/a b"]),
    ],
)
def test_a_repository_in_another_form_is_refused(host: Host, bundle: Path, option: str, value: Json) -> None:
    _refused(host, bundle, **{option: value})


@pytest.mark.parametrize(
    "changes",
    [
        {"names": []},
        {"names": "nginx"},
        {"repositories": []},
        {"more": "words"},
        {"role": "harmless"},
        {"role": None},
        {"role": "bootstrap-unchecked"},
        {"type": "package"},
        {"target": {"distro": "rocky", "release": "9", "arch": "aarch64"}},
    ],
    ids=str,
)
def test_other_words_about_the_packages_are_refused(host: Host, bundle: Path, changes: dict[str, Json]) -> None:
    _refused(host, bundle, **changes)


def test_packages_that_nobody_checks_are_said_aloud(host: Host, bundle: Path) -> None:
    """A profile's author may say `gpgcheck: false`: then the role says so, and install.sh warns of it."""
    bundle.unlink()
    host.write(bundle, packages=host.packages(role="bootstrap-unchecked", gpgcheck=False))
    said = host.takes(bundle, "--id", id_of(bundle))
    assert "WARNING: the bundle says gpgcheck: false, so nobody checks who signed the packages of baseos" in said
    assert "gpgcheck=0" in (host.folder / "repo").read_text()


@pytest.mark.parametrize(
    "line",
    [
        "--find-links file:///medium",
        "-r other.txt",
        "--index-url=https://example.com/simple",
        "evil @ file:///medium/evil-1.0.tar.gz --hash=sha256:" + "0" * 64,
        "./evil-1.0.tar.gz --hash=sha256:" + "0" * 64,
        "evil==1.0",
        "evil==1.0 --hash=sha256:" + "0" * 64 + " --global-option=x",
        "",
    ],
)
def test_pip_gets_names_versions_and_digests_alone(host: Host, bundle: Path, line: str) -> None:
    bundle.unlink()
    honest = f"bundler==1 --hash=sha256:{'0' * 64}\n"
    host.write(bundle, {"bootstrap/requirements.txt": f"{honest}{line}\n".encode()})
    assert "asks pip for more than wheels" in host.refuses(bundle, "--id", id_of(bundle), code=7)
    assert not [call for call in host.calls if "-m pip" in call]


# What the approver is shown


def test_dnf_gets_files_alone_that_are_shown_as_programs(host: Host, bundle: Path) -> None:
    host.takes(bundle, "--id", id_of(bundle))
    with Bundle(bundle) as opened:
        shown = {program.file.path for program in programs(opened.manifest.items)}
    taken = (host.folder / "taken").read_text().split()
    assert [path for path in taken if path.endswith("nginx.rpm")]
    assert set(taken) <= shown


def test_packages_without_a_role_are_not_installed(host: Host, bundle: Path) -> None:
    bundle.unlink()
    attributes = host.packages()
    del attributes["role"]
    files = {f"rpms/rocky/9/bootstrap.{name}": b"evil\n" for name in ("names", "members", "repo")}
    host.write(bundle, files, packages=attributes)
    host.command("python3", "", place="local")
    host.python("python3.12", "3.12")
    host.command("nginx", "")
    host.takes(bundle, "--id", id_of(bundle))
    assert not [call for call in host.calls if call.startswith(("rpm ", "dnf "))]


@pytest.mark.parametrize("member", ["files/x", "bootstrap/wheels/bundler-1-py3-none-any.whl"])
def test_files_from_elsewhere_are_no_packages(host: Host, bundle: Path, member: str) -> None:
    bundle.unlink()
    host.write(bundle, {"files/x": b"x"}, members=[member])
    assert _FORM in host.refuses(bundle, "--id", id_of(bundle), code=7)


# The bundler that is there


def test_nothing_is_asked_of_rpm_before_the_bundler_that_is_there_agrees(host: Host, bundle: Path) -> None:
    host.command("bundler", '[ "$1" != verify ] || exit 12', place="local")
    host.run(str(bundle), "--id", id_of(bundle), *ADDRESS)
    assert host.calls == ["bundler --version", f"bundler verify {bundle}"]


def test_it_is_asked_again_where_its_environment_is_there(host: Host, bundle: Path) -> None:
    host.command("bundler", '[ "$1" != verify ] || exit 12', place="local")
    host.command("rpm", "exit 0")  # nothing is missing
    assert host.run(str(bundle), "--id", id_of(bundle), *ADDRESS).returncode == 12


# How it is packed


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_a_bundle_that_is_compressed_is_not_unpacked(host: Host, bundle: Path, pack: Callable[[bytes], bytes]) -> None:
    approved = id_of(bundle)
    bundle.write_bytes(pack(bundle.read_bytes()))
    assert "is no bundle" in host.refuses(bundle, "--id", approved, code=7)


def test_a_bomb_is_not_unpacked(host: Host, bundle: Path) -> None:
    entry = tarfile.TarInfo("demo-1.0/manifest.json")
    entry.size = 4 << 30
    packer = bz2.BZ2Compressor()
    with bundle.open("wb") as file:
        file.write(packer.compress(entry.tobuf(tarfile.USTAR_FORMAT)))
        for _ in range(128):
            file.write(packer.compress(bytes(1 << 20)))
        file.write(packer.flush())
    started = time.monotonic()
    assert "is no bundle" in host.refuses(bundle, "--unverified", code=7)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("form", ["gnu", "pax"])
@pytest.mark.parametrize("member", ["manifest.json", "bootstrap/requirements.txt"])
def test_a_sparse_member_is_refused(host: Host, bundle: Path, form: str, member: str) -> None:
    approved = id_of(bundle)
    unpacked = bundle.with_name("unpacked")
    unpacked.mkdir()
    with tarfile.open(bundle) as archive:
        names = archive.getnames()
        archive.extractall(unpacked, filter="data")
    with (unpacked / "demo-1.0" / member).open("ab") as file:
        file.truncate(1 << 40)
    argv = ["tar", f"--format={form}", "--owner=root", "-cSf", str(bundle), "-C", str(unpacked), *names]
    subprocess.run(argv, check=True)
    done = host.run(str(bundle), "--id", approved, *ADDRESS)
    assert done.returncode in (7, 8, 12)
    assert not host.ran
    assert (host.folder / "left").read_text() == ""


# Names


def test_names_are_printed_without_what_a_terminal_obeys(host: Host, bundle: Path) -> None:
    link = bundle.with_name("b\u202e.tar")
    link.symlink_to(bundle.name)
    assert "\u202e" not in host.refuses(link, "--id", "0" * 64)
    said = host.refuses(bundle.with_name("x\x9b\u202e.tar"), "--id", "0" * 64, code=7)
    assert re.search(r"there is no bundle \S*/x\?+\.tar", said)


@pytest.mark.parametrize("name", ["\x1b[31mX.tar", "x.tar\nerror: none", "\rx.tar"])
def test_a_name_with_control_characters_is_refused(host: Host, bundle: Path, name: str) -> None:
    said = host.refuses(bundle.with_name(name), "--id", id_of(bundle), code=2)
    assert "there is a control character in" in said
    assert len(said.splitlines()) == 2
    assert said.replace("\n", "").isprintable()
    link = bundle.with_name("link.tar")
    bundle.rename(bundle.with_name(name))
    link.symlink_to(name)
    assert "there is a control character in" in host.refuses(link, "--id", "0" * 64, code=2)


@pytest.mark.parametrize(
    "path", ["a/../../b", "./a", "a//b", "a\x1b[2J", 'a", "b'], ids=["up", "here", "nothing", "control", "quote"]
)
def test_a_manifest_with_other_paths_is_refused(host: Host, bundle: Path, path: str) -> None:
    """Whoever vouched for it had no bundler that would have refused it."""
    with tarfile.open(bundle) as archive:
        members = [(member, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
    with tarfile.open(bundle, "w", format=tarfile.USTAR_FORMAT) as archive:
        for member, data in members:
            changed = data.replace(b'"path": "rpms/rocky/9/baseos/Packages/other.rpm"', f'"path": "{path}"'.encode())
            member.size = len(changed)
            archive.addfile(member, io.BytesIO(changed))
    assert "is not as bundler writes it" in host.refuses(bundle, "--unverified", code=7)
