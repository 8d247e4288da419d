"""What install.sh does on Rocky 9 and 10 with a bundle that somebody vouches for.

tests/e2e/test_machines.py runs it all for real on machines that are Debian's.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.kinds.bootstrap.hosts import Host, id_of

_PRIVATE = r"/var/tmp/bundler\.\w{10}"
# A local user who waits for a folder to be made, and who makes all that he can guess.
_ATTACK = """\
while :; do
    for folder in /var/tmp/bundler-bootstrap /var/tmp/bundler.*; do
        mkdir -p "$folder/repos.d" "$folder/bundle"
        ln -sfn /etc/shadow "$folder/manifest.json"
        echo '[evil]' >"$folder/repos.d/evil.repo"
        mv "$folder" "$folder-away"
    done
done 2>/dev/null
"""


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_what_it_takes_from_the_bundle(host: Host, bundle: Path, tmp_path: Path, shell: str) -> None:
    (host.folder / "usr/bin/sh").symlink_to(f"/usr/bin/{shell}")
    done = host.run(str(bundle), "--id", id_of(bundle), "--address", "192.168.10.10", "--root", str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    (dnf,) = [call for call in host.calls if call.startswith("dnf ")]
    assert re.search(f"--setopt=reposdir={_PRIVATE}/repos.d ", dnf)
    assert "--setopt=localpkg_gpgcheck=1" in dnf
    # Rocky 9's Python is 3.9, too old; Rocky 10 has 3.12 by itself. podman is there on both.
    missing = "nginx policycoreutils-python-utils"
    assert dnf.endswith(f" install -- {'python3.12 ' if host.release == '9' else ''}{missing}")
    repo = (host.folder / "repo").read_text()
    assert re.search(f"baseurl=file://{_PRIVATE}/bundle/rpms/rocky/{host.release}/baseos/", repo)
    assert "gpgcheck=1" in repo
    taken = (host.folder / "taken").read_text().split()
    assert f"rpms/rocky/{host.release}/baseos/Packages/nginx.rpm" in taken
    assert not [path for path in taken if path.endswith("other.rpm")]
    program = "python3.12" if host.release == "9" else "python3"
    (venv,) = [call for call in host.calls if "-m venv" in call]
    assert venv.startswith(f"{program} -I ")
    (pip,) = [call for call in host.calls if "-m pip install" in call]
    for option in ("python -I", "--no-index", "--require-hashes", "--no-cache-dir"):
        assert option in pip
    assert re.search(f"--find-links {_PRIVATE}/bundle/bootstrap/wheels", pip)
    rest = f"--address 192.168.10.10 --root {tmp_path}/data"
    assert host.calls[-1] == f"bundler install {bundle} --id {id_of(bundle)} {rest}"


def test_its_folder_is_roots_alone_and_goes_away(host: Host, bundle: Path) -> None:
    done = host.run(str(bundle), "--id", id_of(bundle), "--address", "192.168.10.10")
    assert done.returncode == 0, done.stderr
    assert (host.folder / "mode").read_text() == "700 root\n"
    assert (host.folder / "left").read_text() == ""


def test_its_folder_goes_away_when_it_fails(host: Host, bundle: Path) -> None:
    host.command("dnf", "exit 1")
    assert host.run(str(bundle), "--id", id_of(bundle), "--address", "192.168.10.10").returncode == 1
    assert (host.folder / "left").read_text() == ""


@pytest.mark.parametrize("signal", ["HUP", "INT", "TERM"])
def test_its_folder_goes_away_when_it_is_stopped(host: Host, bundle: Path, signal: str) -> None:
    host.command("dnf", f"kill -{signal} $PPID")
    done = host.run(str(bundle), "--id", id_of(bundle), "--address", "192.168.10.10")
    assert done.returncode in (129, 130, 143)
    assert (host.folder / "left").read_text() == ""
    assert not [call for call in host.calls if "venv" in call]


@pytest.mark.parametrize("attempt", range(3))
def test_a_local_user_has_no_say_in_what_dnf_reads(host: Host, bundle: Path, attempt: int) -> None:
    (host.folder / "attack").write_text(_ATTACK)
    done = host.run(str(bundle), "--id", id_of(bundle), "--address", "192.168.10.10")
    assert done.returncode == 0, (attempt, done.stderr)
    assert "evil" not in (host.folder / "repo").read_text()
    assert "bundler-bootstrap" not in "\n".join(host.calls)
    # He is there, and made what can be guessed.
    assert "bundler-bootstrap" in (host.folder / "left").read_text()


def test_the_environment_has_no_say(host: Host, bundle: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil"
    evil.mkdir()
    for name in ("tar", "sha256sum", "find", "python3", "env"):
        (evil / name).write_text(f'#!/bin/sh\ntouch {tmp_path}/ran\nexec /usr/bin/{name} "$@"\n')
        (evil / name).chmod(0o755)
    variables = {
        "PATH": f"{evil}:/usr/sbin:/usr/bin:/sbin:/bin",
        "TAR_OPTIONS": f"--to-command={evil}/tar",
        "ENV": str(evil / "tar"),
        "BASH_ENV": str(evil / "tar"),
        "BASH_FUNC_tar%%": f"() {{ touch {tmp_path}/ran; }}",
        "TMPDIR": str(tmp_path),
        "CDPATH": str(evil),
        "IFS": "/",
        "PIP_INDEX_URL": "https://evil.example",
        "PYTHONPATH": str(evil),
        "BUNDLER_SCRIPT": "clean",
    }
    host.command("bundler", f"env >{host.folder}/environment")
    done = host.run(str(bundle), "--id", id_of(bundle), "--address", "192.168.10.10", environment=variables)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()
    assert "evil" not in (host.folder / "environment").read_text()


@pytest.mark.parametrize("was", [b"an rpm", b"a wheel"])
def test_damaged_files_are_not_used(host: Host, bundle: Path, was: bytes) -> None:
    approved = id_of(bundle)
    data = bundle.read_bytes()
    assert data.count(was) == 1
    bundle.write_bytes(data.replace(was, was[:-1] + b"?"))
    done = host.run(str(bundle), "--id", approved, "--address", "192.168.10.10")
    assert done.returncode == 8
    assert "has other bytes than its manifest says" in done.stderr
    assert not [call for call in host.calls if "pip install" in call or call.startswith("bundler ")]
    assert was == b"a wheel" or not [call for call in host.calls if call.startswith("dnf ")]


def test_another_machine_is_refused(host: Host, bundle: Path) -> None:
    host.command("uname", "echo aarch64")
    host.os_release("fedora", "43")
    done = host.run(str(bundle), "--id", id_of(bundle), "--address", "192.168.10.10")
    assert done.returncode == 9
    assert "the bundle is for x86_64, and this machine is aarch64" in done.stderr
    assert f"admin host is rocky {host.release}, and this machine is fedora 43" in done.stderr
    assert not host.ran


def test_ports_that_are_taken_are_said_at_once(host: Host, bundle: Path) -> None:
    host.command("ss", "echo taken")
    done = host.run(str(bundle), "--id", id_of(bundle), "--address", "192.168.10.10")
    assert re.findall(r"port (\d+) is taken", done.stderr) == ["80", "5000", "3141"]


def test_the_script_has_to_be_the_bundles(host: Host, bundle: Path) -> None:
    with (host.folder / "unpacked/bootstrap/install.sh").open("a") as file:
        file.write("# of last month\n")
    done = host.run(str(bundle), "--id", id_of(bundle), "--address", "192.168.10.10")
    assert done.returncode == 8
    assert "bootstrap/install.sh is not the install.sh of" in done.stderr
    assert not host.ran


@pytest.mark.parametrize(
    "change", ["others write the script", "others write its folder", "somebody owns it", "somebody owns a link to it"]
)
def test_a_script_that_others_can_change_is_not_run(host: Host, bundle: Path, change: str) -> None:
    script = host.folder / "unpacked/bootstrap/install.sh"
    match change:
        case "others write the script":
            script.chmod(0o777)
        case "others write its folder":
            script.parent.chmod(0o777)
        case "somebody owns it":
            os.chown(script.parent, 65534, 65534)
        case _:
            script.parent.rename(script.parent.with_name("away"))
            script.parent.symlink_to("away")
            os.chown(script.parent, 65534, 65534, follow_symlinks=False)
    done = host.run(str(bundle), "--id", id_of(bundle), "--address", "192.168.10.10")
    assert done.returncode == 9
    assert f"others than root can change {script if 'the script' in change else script.parent}" in done.stderr
    assert not host.ran


@pytest.mark.parametrize("host", ["9"], indirect=True)
def test_without_a_bundle_it_says_how(host: Host, bundle: Path) -> None:
    assert host.run().returncode == 2
    assert "usage: sh bootstrap/install.sh BUNDLE --id ID | --key FILE" in host.run().stderr
    assert host.run("--address", "192.168.10.10").returncode == 2
    assert "there is no bundle nowhere.tar" in host.run("nowhere.tar", "--unverified").stderr
    volume = bundle.with_name("demo-1.0.tar.001")
    bundle.rename(volume)
    said = host.run(str(volume), "--unverified").stderr
    assert f"cat {bundle}.[0-9]* >{bundle}" in said
