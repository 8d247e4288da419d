"""A tar that somebody changed on its way, and the bundler that is there already: what install.sh makes of them."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kinds.bootstrap.hosts import ADDRESS, TRUST, WHEEL, Host, Key, id_of, sign

pytestmark = pytest.mark.parametrize("host", ["9"], indirect=True)


# A bundler that is there already


def test_the_bundler_that_is_there_looks_first(host: Host, bundle: Path) -> None:
    host.command("bundler", "", place="local")
    host.takes(bundle, "--id", id_of(bundle))
    assert host.ran[:2] == ["bundler --version", f"bundler verify {bundle}"]
    assert host.ran[2].startswith("dnf ")


def test_its_refusal_is_the_end(host: Host, bundle: Path) -> None:
    host.command("bundler", '[ "$1" != verify ] || exit 12', place="local")
    done = host.run(str(bundle), "--id", id_of(bundle), *ADDRESS)
    assert done.returncode == TRUST
    assert host.ran == ["bundler --version", f"bundler verify {bundle}"]


def test_the_site_that_is_there_has_its_say(host: Host, bundle: Path, tmp_path: Path) -> None:
    host.command("bundler", '[ "$1" != install ] || exit 12', place="local")
    (tmp_path / "site.yaml").write_text("address: 192.168.10.10\ntrusted_keys: [/etc/bundler/release.pub]\n")
    done = host.run(str(bundle), "--id", id_of(bundle), "--root", str(tmp_path))
    assert done.returncode == TRUST
    words = f"--dry-run --root {tmp_path} --site {tmp_path}/site.yaml --signature {bundle}.sig.json"
    assert host.ran[-1] == f"bundler install {bundle} {words}"
    assert not [call for call in host.ran if call.startswith("dnf ") or "venv" in call]


def test_a_site_that_trusts_keys_is_not_gone_around(host: Host, bundle: Path, key: Key, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(f"address: 192.168.10.10\ntrusted_keys:\n- {key.public}\n")
    sign(bundle, key)
    for words in (("--unverified",), ("--id", id_of(bundle))):
        assert f"{site} asks for a signature" in host.refuses(bundle, *words, "--site", str(site))
    host.takes(bundle, "--key", str(key.public), "--site", str(site))
    assert f"--signature {bundle}.sig.json" in host.calls[-1]


def test_a_bundler_that_does_not_work_is_replaced(host: Host, bundle: Path) -> None:
    host.command("bundler", "exit 127", place="local")
    host.takes(bundle, "--id", id_of(bundle))


def test_a_bundler_that_others_can_change_is_not_run(host: Host, bundle: Path) -> None:
    host.command("bundler", "", place="local")
    (host.folder / "local/bundler").chmod(0o777)
    assert "others than root can change /usr/local/bin/bundler" in host.refuses(bundle, "--id", id_of(bundle), code=9)


# What lies in the tar


def _changed(bundle: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]) -> None:
    """Write the tar anew, each member as `change` gives it."""
    with tarfile.open(bundle) as archive:
        members = [(member, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
    with tarfile.open(bundle, "w") as archive:
        for member, data in members:
            entry, content = change(member, data)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def test_sums_that_nobody_signed_count_for_nothing(host: Host, bundle: Path, key: Key) -> None:
    """A wheel and SHA256SUMS changed together, as a carrier could; the signed manifest is as it was."""
    sign(bundle, key)
    old, new = b"a wheel", b"a wheel that takes over"
    sums = [hashlib.sha256(text).hexdigest().encode() for text in (old, new)]

    def change(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if member.name.endswith("SHA256SUMS"):
            assert sums[0] in data
            return member, data.replace(sums[0], sums[1])
        return member, new if data == old else data

    _changed(bundle, change)
    done = host.run(str(bundle), "--key", str(key.public), *ADDRESS)
    assert done.returncode == 8
    assert not [call for call in host.calls if "pip install" in call or call.startswith("bundler ")]


def test_other_lists_of_packages_are_refused(host: Host, bundle: Path, key: Key) -> None:
    sign(bundle, key)

    def change(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        return member, data.replace(b'"nginx"', b'"evil"') if member.name.endswith("manifest.json") else data

    _changed(bundle, change)
    assert "vouches for another bundle" in host.refuses(bundle, "--key", str(key.public))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_a_member_that_is_no_file_is_refused(host: Host, bundle: Path, key: Key, kind: bytes) -> None:
    sign(bundle, key)

    def change(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if not member.name.endswith("requirements.txt"):
            return member, data
        member.type, member.linkname = kind, "/etc/hostname"
        return member, b""

    _changed(bundle, change)
    done = host.run(str(bundle), "--key", str(key.public), *ADDRESS)
    assert done.returncode in (7, 8)
    assert not host.ran


def test_a_second_manifest_counts_for_nothing(host: Host, bundle: Path, key: Key, tmp_path: Path) -> None:
    approved = id_of(bundle)
    sign(bundle, key)
    theirs = host.write(tmp_path / "theirs.tar", {WHEEL: b"a wheel that takes over"})
    with tarfile.open(theirs) as archive:
        evil = archive.extractfile("demo-1.0/manifest.json").read()  # type: ignore[union-attr]
    entry = tarfile.TarInfo("demo-1.0/manifest.json")
    entry.size = len(evil)
    with tarfile.open(bundle, "a") as archive:
        archive.addfile(entry, io.BytesIO(evil))
    done = host.run(str(bundle), "--key", str(key.public), *ADDRESS)
    assert done.returncode == 0, done.stderr
    assert f" --id {approved} " in host.calls[-1]


@pytest.mark.parametrize("name", ["../x", "/etc", "demo 1", "-C", "Demo"])
def test_a_folder_of_another_form_is_no_bundle(host: Host, bundle: Path, name: str) -> None:
    def change(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        member.name = member.name.replace("demo-1.0", name, 1)
        return member, data

    _changed(bundle, change)
    assert "is no bundle" in host.refuses(bundle, "--unverified", code=7)


def test_a_difference_is_not_taken(host: Host, bundle: Path) -> None:
    def change(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        member.name = member.name.replace("manifest.json", "delta.json")
        return member, data

    _changed(bundle, change)
    assert "install it with the bundler of that site" in host.refuses(bundle, "--unverified", code=7)
