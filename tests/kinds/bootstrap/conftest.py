"""Rocky 9 and 10 as install.sh sees them.

`python3` is 3.9 on the one and 3.12 on the other; rpm says what is there, dnf installs nothing but notes how it was
called, with which repositories and from what folder.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.kinds.bootstrap.hosts import Host, Key

_DNF = """\
for word; do
    case $word in --setopt=reposdir=*) repos=${{word#*reposdir=}} ;; esac
done
cat "$repos"/*.repo >{folder}/repo
stat -c '%a %U' "${{repos%/*}}" >{folder}/mode
find "${{repos%/*}}/bundle" -type f -printf '%P\\n' >{folder}/taken
[ {release} != 9 ] || cp {folder}/usr/bin/later /usr/local/bin/python3.12
"""


@pytest.fixture(params=["9", "10"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root, for a mount namespace")
    made = Host(tmp_path / "host", request.param)
    there = "podman" if made.release == "9" else "podman python3.12"
    made.command("rpm", f'for name; do :; done; case " {there} " in *" $name "*) ;; *) exit 1 ;; esac')
    made.command("bundler", "")
    made.command("ss", "")
    made.command("uname", "echo x86_64")
    made.command("dnf", _DNF.format(folder=made.folder, release=made.release))
    made.python("later", "3.12")
    made.python("python3", "3.9" if made.release == "9" else "3.12")
    return made


@pytest.fixture
def bundle(host: Host, tmp_path: Path) -> Path:
    return host.write(tmp_path / "demo-1.0.tar")


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return Key.at(tmp_path / "release.pub")


@pytest.fixture
def other(tmp_path: Path) -> Key:
    return Key.at(tmp_path / "other.pub")
