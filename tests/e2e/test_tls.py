"""A site that speaks nothing but https, with a CA of its own: the whole job again, and nothing of it goes unchecked.

It asks for a log-in too, which makes no difference to what is tried here (see test_login).
"""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.demo.checks import CHECKS, Check
from scripts.demo.journey import PROFILE, Journey, bundler

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.slow, pytest.mark.xdist_group("whole path")]

# pip is part of the site's check.sh.
_INSIDE = [check for check in CHECKS if not check.title.startswith(("bundle:", "node: pip"))]
# What makes a client take a server for what it is not.
_UNCHECKED = re.compile(
    r"sslverify=(0|false)|insecure ?[=:] ?true|skip_verify ?[=:] ?true|trusted-host|--insecure|curl [^|]*-k\\b|http://",
    re.I,
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("check", _INSIDE, ids=lambda check: check.title)
def test_check(sealed_way: Journey, check: Check) -> None:
    assert check.work(sealed_way)


def test_no_node_file_goes_without_checking(sealed_way: Journey, tmp_path: Path) -> None:
    bundler(sealed_way.site.host, "nodes", tmp_path / "nodes", "--root", sealed_way.site.root)
    read = 0
    for file in (path for path in (tmp_path / "nodes").rglob("*") if path.is_file()):
        assert not (found := _UNCHECKED.search(file.read_text())), f"{file}: {found}"
        read += 1
    assert read > 10


def test_who_does_not_trust_the_ca_is_told(sealed_way: Journey) -> None:
    """The site's own host has not been set up: for it all three are strangers."""
    for port in (443, 5000, 3141):
        url = f"https://{sealed_way.site.address}:{port}/"
        done = sealed_way.site.host.run(["curl", "--silent", "--show-error", url], check=False)
        assert done.returncode == 60, done  # "Peer certificate cannot be authenticated with known CA certificates"


def test_plain_http_is_answered_by_none(sealed_way: Journey) -> None:
    for port in (443, 5000, 3141):
        url = f"http://{sealed_way.site.address}:{port}/"
        argv = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", url]
        assert sealed_way.node.host.run(argv, check=False).stdout == "400"
    assert (
        sealed_way.node.host.run(["curl", "--silent", f"http://{sealed_way.site.address}/"], check=False).returncode
        == 7
    )


def test_old_protocols_are_refused(sealed_way: Journey) -> None:
    ca = sealed_way.site.ca
    argv = ["openssl", "s_client", "-connect", f"{sealed_way.site.address}:443", "-CAfile", str(ca)]
    new = sealed_way.node.host.run([*argv, "-tls1_2"], check=False)
    assert "Verify return code: 0 (ok)" in new.stdout
    old = sealed_way.node.host.run([*argv, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], check=False)
    assert "Cipher is (NONE)" in old.stdout


def test_keys_are_for_nobody_else(sealed_way: Journey) -> None:
    folder = sealed_way.site.root / "tls"
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert modes == {"ca.pem": 0o644, "ca.key": 0o600, "server.pem": 0o644, "server.key": 0o600}
    served = sealed_way.site.root / "repos"
    for key in ("ca.key", "server.key"):
        secret = (folder / key).read_text().splitlines()[1]
        assert subprocess.run(["grep", "-rqF", secret, str(served)], check=False).returncode == 1


def test_a_later_install_keeps_the_ca(sealed_way: Journey) -> None:
    ca = sealed_way.site.ca
    assert ca is not None
    before = {file.name: file.read_bytes() for file in ca.parent.iterdir()}
    sealed_way.site.install(sealed_way.bundle)
    assert {file.name: file.read_bytes() for file in ca.parent.iterdir()} == before


def test_check_node_trusts_what_setup_put_there(sealed_way: Journey) -> None:
    argv = [sys.executable, "-m", "bundler", "check-node", f"{sealed_way.site.web}/{PROFILE}", "--json"]
    document = json.loads(sealed_way.node.run(argv))
    states = {check["title"]: check["state"] for check in document["checks"]}
    assert states["the admin host answers"] == "ok"
    assert set(states.values()) <= {"ok", "skipped"}


def test_the_node_is_put_back(sealed_way: Journey) -> None:
    """Last: its trust goes with the set-up."""
    node, url = sealed_way.node, f"{sealed_way.site.web}/{PROFILE}/nodes/revert.sh"
    trusted = "/etc/ssl/certs/ca-certificates.crt"
    assert sealed_way.site.ca is not None
    line = sealed_way.site.ca.read_text().splitlines()[1]
    assert node.run(["grep", "-cF", line, trusted]).strip() == "1"
    node.run(["sh", "-c", 'curl -fsS --netrc "$1" | sh', "sh", url])
    assert node.host.run(["grep", "-cF", line, trusted], check=False).stdout.strip() == "0"
    assert node.host.run(["curl", "--silent", url], check=False).returncode == 60
