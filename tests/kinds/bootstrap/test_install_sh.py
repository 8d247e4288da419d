"""What install.sh would do on Rocky 9 and 10: run for real in a mount namespace, its host's commands recorded.

`python3` is 3.9 on the one and 3.12 on the other; rpm says what is there, dnf installs nothing but notes how it was
called and with which repositories. tests/e2e/test_machines.py runs it all for real on machines that are Debian's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from bundler.templates import render

_BOOTSTRAP = ("python3.12", "nginx", "podman", "policycoreutils-python-utils")
_REPO = "[bundle-baseos]\nname=baseos\nbaseurl=file://@HERE@/rpms/rocky/{release}/baseos/\ngpgcheck=1\n"
# Places of the machine that the script looks at and changes, each put in place for it alone.
_INSIDE = """\
set -eu
mount --bind "$1/os-release" /etc/os-release
for folder in /opt /run /usr/local/bin /var/tmp; do
    mount -t tmpfs tmpfs "$folder"
done
mkdir -p /run/systemd/system
shift
cd "$1"
shift
exec sh bootstrap/install.sh "$@"
"""


@dataclass
class Host:
    """A machine of a release: what its commands say, and what was asked of them."""

    folder: Path
    release: str

    def command(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        note = f'printf "%s\\n" "${{0##*/}} $*" >>{self.folder}/calls'
        path.write_text(f"#!/bin/sh\n{note}\n{script}\n")
        path.chmod(0o755)

    def python(self, name: str, version: str) -> None:
        """A Python that says its version and makes environments whose pip `installs` bundler."""
        self.command(
            name,
            f'if [ "$1" = -c ]; then [ "$3" = {version} ]; exit; fi\n'
            'if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi\n'
            'if [ "$1 $2 $3" = "-m pip install" ]; then\n'
            f'    cp {self.folder}/bin/bundler "${{0%/*}}/bundler"\nfi',
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.folder / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"}
        argv = ["unshare", "--mount", "--", "sh", "-c", _INSIDE, "sh", str(self.folder), str(self.folder / "unpacked")]
        return subprocess.run([*argv, *arguments], env=environment, capture_output=True, text=True, check=False)

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture(params=["9", "10"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root, for a mount namespace")
    release: str = request.param
    made = Host(tmp_path, release)
    (tmp_path / "bin").mkdir()
    (tmp_path / "os-release").write_text(f'ID="rocky"\nVERSION_ID="{release}.1"\n')
    made.command("rpm", 'for name; do :; done; case " $THERE " in *" $name "*) ;; *) exit 1 ;; esac')
    there = "podman" if release == "9" else "podman python3.12"
    (tmp_path / "bin/rpm").write_text((tmp_path / "bin/rpm").read_text().replace("$THERE", there))
    made.command("bundler", "")
    made.command("ss", "")
    made.command("uname", "echo x86_64")
    if release == "10":
        made.python("python3", "3.12")
        made.command("dnf", "")
    else:
        made.python("python3", "3.9")
        made.python("later", "3.12")
        # What dnf was to read, and what there is once it has installed it.
        made.command(
            "dnf",
            f"cat /var/tmp/bundler-bootstrap/repos.d/*.repo >{tmp_path}/repo\n"
            f"cp {tmp_path}/bin/later {tmp_path}/bin/python3.12",
        )
    return made


@pytest.fixture
def bundle(host: Host, tmp_path: Path) -> Path:
    """A bundle of the parts that the script reads, and its bootstrap folder unpacked beside it."""
    folder, rpms = tmp_path / "b-1", f"rpms/rocky/{host.release}"
    values = {"distro": "rocky", "release": host.release, "arch": "x86_64", "python": "3.12"}
    files = {
        "bootstrap/install.sh": render("bundler.kinds.bootstrap", "install.sh.j2", **values),
        "bootstrap/uninstall.sh": "#!/bin/sh\n",
        "bootstrap/requirements.txt": "bundler==1 --hash=sha256:0\n",
        f"{rpms}/bootstrap.names": "".join(f"{name}\n" for name in _BOOTSTRAP),
        f"{rpms}/bootstrap.members": f"{rpms}/baseos/Packages/nginx.rpm\n{rpms}/baseos/repodata/repomd.xml\n",
        f"{rpms}/bootstrap.size": "1000\n",
        f"{rpms}/bootstrap.repo": _REPO.format(release=host.release),
        f"{rpms}/baseos/Packages/nginx.rpm": "an rpm",
        f"{rpms}/baseos/Packages/other.rpm": "another, which nobody asked for",
        f"{rpms}/baseos/repodata/repomd.xml": "<repomd/>",
    }
    sums = "".join(f"{hashlib.sha256(text.encode()).hexdigest()}  {path}\n" for path, text in files.items())
    for path, text in {"SHA256SUMS": sums, **files}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    with tarfile.open(tmp_path / "b-1.tar", "w") as archive:
        for path in ("SHA256SUMS", *files):
            archive.add(folder / path, f"b-1/{path}")
    shutil.copytree(folder / "bootstrap", tmp_path / "unpacked" / "bootstrap")
    return tmp_path / "b-1.tar"


def test_what_it_takes_from_the_bundle(host: Host, bundle: Path, tmp_path: Path) -> None:
    done = host.run(str(bundle), "--address", "192.168.10.10", "--root", str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    (dnf,) = [call for call in host.calls if call.startswith("dnf ")]
    assert "--setopt=reposdir=/var/tmp/bundler-bootstrap/repos.d" in dnf
    # Rocky 9's Python is 3.9, too old; Rocky 10 has 3.12 by itself. podman is there on both.
    missing = "nginx policycoreutils-python-utils"
    assert dnf.endswith(f" install {'python3.12 ' if host.release == '9' else ''}{missing}")
    if host.release == "9":
        assert "baseurl=file:///var/tmp/bundler-bootstrap/rpms/rocky/9/baseos/" in (tmp_path / "repo").read_text()
        assert "gpgcheck=1" in (tmp_path / "repo").read_text()
    program = "python3.12" if host.release == "9" else "python3"
    venv = [call for call in host.calls if "-m venv" in call]
    assert [call.split()[0] for call in venv] == [program]
    (pip,) = [call for call in host.calls if "-m pip install" in call]
    for option in ("--no-index", "--require-hashes", "--find-links", "--no-cache-dir"):
        assert option in pip
    assert host.calls[-1] == f"bundler install {bundle} --address 192.168.10.10 --root {tmp_path}/data"


def test_damaged_packages_are_not_installed(host: Host, bundle: Path) -> None:
    data = bundle.read_bytes()
    assert data.count(b"an rpm") == 1
    bundle.write_bytes(data.replace(b"an rpm", b"no rpm"))
    done = host.run(str(bundle), "--address", "192.168.10.10")
    assert done.returncode == 1
    assert "nginx.rpm" in done.stdout + done.stderr
    assert not [call for call in host.calls if call.startswith("dnf ")]


def test_another_machine_is_refused(host: Host, bundle: Path, tmp_path: Path) -> None:
    host.command("uname", "echo aarch64")
    (tmp_path / "os-release").write_text('ID="fedora"\nVERSION_ID="43"\n')
    done = host.run(str(bundle), "--address", "192.168.10.10")
    assert done.returncode == 1
    assert "the bundle is for x86_64, and this machine is aarch64" in done.stderr
    assert f"admin host is rocky {host.release}, and this machine is fedora 43" in done.stderr
    assert not [call for call in host.calls if call.startswith(("dnf ", "bundler "))]


@pytest.mark.parametrize("host", ["9"], indirect=True)
def test_without_a_bundle_it_says_how(host: Host, bundle: Path) -> None:
    assert bundle.exists()
    assert host.run().returncode == 2
    assert "usage: sh bootstrap/install.sh BUNDLE" in host.run().stderr
    assert "there is no bundle nowhere.tar" in host.run("nowhere.tar").stderr
