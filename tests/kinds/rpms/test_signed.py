"""Signatures of packages and of repodata, made by rpmsign and gpg, and refused where they are not by a key at hand."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.errors import TrustError
from bundler.kinds.rpms.openpgp import Keys, SignatureError
from bundler.kinds.rpms.signed import check_package

from .conftest import Bench, Serve
from .test_resolve import CENTOS7, OPENSTACK, of_type, writable_copy

SPEC = """\
Name: thing
Version: 1
Release: 1
Summary: A thing
License: MIT
BuildArch: noarch
%description
A thing.
%install
mkdir -p %{buildroot}/usr/share/thing
head -c 200000 /dev/urandom > %{buildroot}/usr/share/thing/data
%files
/usr/share/thing
"""
# Sorts of keys by gpg's names of them; rpmsign knows the first three.
SORTS = ("rsa3072", "ed25519", "dsa2048", "nistp256", "nistp384", "nistp521")


class Signer:
    """A key of gpg's."""

    def __init__(self, home: Path, sort: str) -> None:
        self._home = home
        home.mkdir(mode=0o700)
        self._gpg("--passphrase", "", "--quick-generate-key", "signer@bundler.invalid", sort, "sign", "never")
        self.public = self._gpg("--armor", "--export")

    def package(self, unsigned: Path, to: Path) -> Path:
        shutil.copyfile(unsigned, to)
        macros = {"__gpg": shutil.which("gpg"), "_gpg_path": self._home, "_gpg_name": "signer@bundler.invalid"}
        options = [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]
        subprocess.run(["rpmsign", *options, "--addsign", str(to)], check=True, capture_output=True)
        return to

    def detached(self, file: Path) -> None:
        self._gpg("--armor", "--detach-sign", "--output", f"{file}.asc", str(file))

    def _gpg(self, *arguments: str) -> bytes:
        command = ["gpg", "--batch", "--yes", "--homedir", str(self._home), *arguments]
        return subprocess.run(command, check=True, capture_output=True).stdout

    def stop(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self._home), "--kill", "all"], check=False)


@pytest.fixture(scope="module")
def signers() -> Iterator[dict[str, Signer]]:
    # gpg-agent's socket lies in its home, and a socket's path may have 108 bytes.
    home = Path("/tmp") / f"bundler-gpg-{os.getpid()}"
    home.mkdir(mode=0o700)
    found = {sort: Signer(home / sort, sort) for sort in SORTS}
    yield found
    for each in found.values():
        each.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def unsigned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("rpm")
    (work / "thing.spec").write_text(SPEC)
    command = ["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {work}", str(work / "thing.spec")]
    subprocess.run(command, check=True, capture_output=True)
    return next(work.rglob("thing-1-1.noarch.rpm"))


def check(data: bytes, *keys: bytes, sha1: bool = False) -> None:
    chunks = (data[start : start + 1000] for start in range(0, len(data), 1000))
    check_package(chunks, Keys(keys, sha1=sha1))


@pytest.mark.parametrize("sort", SORTS)
def test_what_gpg_signs(signers: dict[str, Signer], tmp_path: Path, sort: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    signers[sort].detached(file)
    signature = Path(f"{file}.asc").read_bytes()
    keys = Keys(each.public for each in signers.values())
    keys.verify(signature, [b"con", b"tent"])
    with pytest.raises(SignatureError, match="over other bytes"):
        keys.verify(signature, [b"Content"])


@pytest.mark.parametrize("sort", SORTS[:3])
def test_what_rpmsign_signs(signers: dict[str, Signer], unsigned: Path, tmp_path: Path, sort: str) -> None:
    data = signers[sort].package(unsigned, tmp_path / "thing.rpm").read_bytes()
    others = [each.public for each in signers.values() if each is not signers[sort]]
    check(data, *others, signers[sort].public)
    with pytest.raises(SignatureError, match=r"is by key [0-9a-f]{16}, which is not among its repository's keys"):
        check(data, *others)
    header = data.index(b"A thing")
    with pytest.raises(SignatureError, match="over other bytes"):
        check(data[:header] + b"B" + data[header + 1 :], signers[sort].public)
    with pytest.raises(SignatureError, match="over another payload"):
        check(data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:], signers[sort].public)
    with pytest.raises(SignatureError, match="over another payload"):
        check(data[:-1], signers[sort].public)


def test_what_nobody_signed(signers: dict[str, Signer], unsigned: Path) -> None:
    with pytest.raises(SignatureError, match="is missing"):
        check(unsigned.read_bytes(), signers["rsa3072"].public)


def test_each_package_of_a_distribution_and_none_that_was_changed(shared: Path) -> None:
    """66 packages of EL 7 by three keys: version 3 signatures, one over SHA-1, and one over the payload apart."""
    keys = [
        (shared / f"rpm/keys/RPM-GPG-KEY-{name}").read_bytes() for name in ("CentOS-7", "CentOS-SIG-Cloud", "EPEL-7")
    ]
    packages = sorted((shared / "rpm/centos7").rglob("*.rpm"))
    assert len(packages) == 66
    refused = 0
    for package in packages:
        data = package.read_bytes()
        check(data, *keys, sha1=True)
        for place in (len(data) // 2, len(data) - 10):
            with pytest.raises(SignatureError, match="over other bytes"):
                check(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], *keys, sha1=True)
        try:
            check(data, *keys)
        except SignatureError as error:
            assert str(error) == "is by key f9b9fee7764429e6 over a digest that proves nothing here: sha1"  # noqa: PT017
            refused += 1
    assert refused == 45


def test_no_bytes_make_it_fail_in_another_way(signers: dict[str, Signer], unsigned: Path, tmp_path: Path) -> None:
    """Every byte of the headers changed, and the package cut off everywhere: refused, or not part of what is signed."""
    data = signers["ed25519"].package(unsigned, tmp_path / "thing.rpm").read_bytes()
    keys = Keys([signers["ed25519"].public])
    header = data.index(b"\x8e\xad\xe8\x01", data.index(b"\x8e\xad\xe8\x01") + 1)
    end = header + 16 + int.from_bytes(data[header + 8 : header + 12], "big") * 16
    end += int.from_bytes(data[header + 12 : header + 16], "big")
    passed = []
    for place in range(end):
        for changed in (data[place] ^ 1, data[place] ^ 0x80):
            try:
                check_package(iter([data[:place], bytes([changed]), data[place + 1 :]]), keys)
                passed.append(place)
            except SignatureError:
                pass
    assert all(4 <= place < header for place in passed)  # the lead's fields, and tags that nobody reads
    for length in range(0, end, 7):
        with pytest.raises(SignatureError):
            check_package(iter([data[:length]]), keys)


def signed(url: str, key: str, **options: str) -> str:
    extra = "".join(f", {name}: {value}" for name, value in options.items())
    return f'repos: [{{id: all, url: "{url}", mode: mirror, gpgkey: [{key}]{extra}}}]'


def repository(folder: Path, *packages: Path) -> Path:
    folder.mkdir()
    for package in packages:
        shutil.copy(package, folder)
    subprocess.run(["createrepo_c", "--quiet", str(folder)], check=True)
    return folder


def test_a_repository_with_a_package_of_somebody_else(
    signers: dict[str, Signer], unsigned: Path, serve: Serve, bench: Bench, tmp_path: Path
) -> None:
    source = repository(tmp_path / "repo", signers["ed25519"].package(unsigned, tmp_path / "thing-1-1.noarch.rpm"))
    for name, sort in (("right", "ed25519"), ("wrong", "rsa3072")):
        (bench.folder / name).write_bytes(signers[sort].public)
    bench.resolve(signed(serve(source), "right"))
    with pytest.raises(TrustError) as refused:
        bench.resolve(signed(serve(source), "wrong"))
    message = refused.value.message
    assert message.startswith("repository all for rocky-8-x86_64: rpms/rocky/8/all/thing-1-1.noarch.rpm: its signature")
    assert "which is not among its repository's keys" in message
    assert "gpgkey" in refused.value.hint
    (told,) = of_type(bench.resolve(signed(serve(source), "wrong", gpgcheck="false")), "repository")
    assert told.attributes["gpgcheck"] is False


def test_a_package_that_nobody_signed_among_others(
    shared: Path, signers: dict[str, Signer], unsigned: Path, serve: Serve, bench: Bench, tmp_path: Path
) -> None:
    good = signers["ed25519"].package(unsigned, tmp_path / "thing-1-1.noarch.rpm")
    source = repository(tmp_path / "repo", good, *sorted((shared / "rpm/node-base").glob("*.rpm")))
    (bench.folder / "key").write_bytes(signers["ed25519"].public)
    with pytest.raises(TrustError) as refused:
        bench.resolve(signed(serve(source), "key"))
    assert refused.value.message.count("its signature is missing") == 2
    assert "thing" not in refused.value.message


def test_signed_metadata(
    signers: dict[str, Signer], unsigned: Path, serve: Serve, bench: Bench, tmp_path: Path
) -> None:
    source = repository(tmp_path / "repo", signers["ed25519"].package(unsigned, tmp_path / "thing-1-1.noarch.rpm"))
    url, repomd = serve(source), source / "repodata" / "repomd.xml"
    (bench.folder / "key").write_bytes(signers["ed25519"].public)
    bench.resolve(signed(url, "key"))
    with pytest.raises(TrustError, match=r"repomd.xml is missing: there is no repomd.xml.asc"):
        bench.resolve(signed(url, "key", repo_gpgcheck="true"))
    signers["ed25519"].detached(repomd)
    bench.resolve(signed(url, "key", repo_gpgcheck="true"))
    repomd.write_bytes(repomd.read_bytes() + b"<!-- changed -->")
    with pytest.raises(TrustError, match=r"the signature of its repomd.xml is by key \w+ over other bytes"):
        bench.resolve(signed(url, "key"))
    signers["rsa3072"].detached(repomd)
    with pytest.raises(TrustError, match="not among its repository's keys") as refused:
        bench.resolve(signed(url, "key"))
    assert "repo_gpgcheck: false" in refused.value.hint
    bench.resolve(signed(url, "key", repo_gpgcheck="false"))


def test_what_a_distribution_signed_is_taken(shared: Path, serve: Serve, bench: Bench, tmp_path: Path) -> None:
    """And a package of it in which a byte was changed, with the metadata made anew, is not."""
    bench.resolve(OPENSTACK.format(url=serve(shared / "rpm")), CENTOS7)
    copy = writable_copy(shared / "rpm", tmp_path / "copy")
    package = next((copy / "centos7/cloud").rglob("python-openstackclient-*.rpm"))
    data = bytearray(package.read_bytes())
    data[len(data) // 2] ^= 1
    package.write_bytes(data)
    subprocess.run(["createrepo_c", "--quiet", str(copy / "centos7/cloud")], check=True)
    with pytest.raises(TrustError, match=r"python-openstackclient-.*: its signature is by key f9b9fee7764429e6"):
        bench.resolve(OPENSTACK.format(url=serve(copy)), CENTOS7)
