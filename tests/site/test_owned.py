"""A root that somebody else could change is of no use to root; and nothing depends on the umask."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bundler.errors import SiteError
from bundler.inputs import keep_site, read_site
from bundler.model.site import ExternalWeb, SiteConfig
from bundler.site.owned import require_own
from bundler.site.services.unprivileged import DYNAMIC
from bundler.site.site import Site

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="bundler holds root alone to this rule")

NOBODY = 65534


def make(root: Path, *names: str) -> Path:
    for name in ("", *names):
        (root / name).mkdir(parents=True, exist_ok=True, mode=0o755)
    return root


def test_a_root_of_root_is_taken(tmp_path: Path) -> None:
    root = make(tmp_path / "site", "services/registry", "registry", "devpi", "tls", "run/registry", "repos/.releases")
    for data, user in (("registry", DYNAMIC[5]), ("run/registry", DYNAMIC[5]), ("devpi", 12345)):
        os.chown(root / data, user, user)  # an account that an uninstall has taken away leaves its number
    (root / "repos/.before").symlink_to(".releases")
    require_own(root)
    require_own(tmp_path / "not" / "there")
    require_own(Path("/tmp/bundler-not-there"))  # in a folder that anybody may add to, and nobody else can rename
    (tmp_path / "link").symlink_to("site")
    require_own(tmp_path / "link")


@pytest.mark.parametrize(
    "place",
    ["site", "", "site/services", "site/services/registry", "site/tls", "site/login", "site/registry", "site/devpi"],
)
@pytest.mark.parametrize("how", ["owned", "written by all", "written by a group", "sticky"])
def test_what_somebody_else_could_change_is_refused(tmp_path: Path, place: str, how: str) -> None:
    root = make(tmp_path / "above" / "site", "services/registry", "tls", "login", "registry", "devpi")
    folder = tmp_path / "above" / place
    if how == "owned":
        os.chown(folder, NOBODY, -1)
    elif how == "written by a group":
        os.chown(folder, -1, NOBODY)
        folder.chmod(0o775)
    else:
        folder.chmod(0o1777 if how == "sticky" else 0o777)
    if (place, how) == ("", "sticky"):
        require_own(root)  # as /tmp
        return
    with pytest.raises(SiteError) as caught:
        require_own(root)
    assert str(folder) in caught.value.message
    assert str(folder) in caught.value.hint
    with pytest.raises(SiteError):
        Site(SiteConfig(address="127.0.0.1", root=str(root)))


@pytest.mark.parametrize(
    "place", ["www", "www/html", "www/html/.history", "www/html/.history/demo", "www/html/.published/.index"]
)
@pytest.mark.parametrize("how", ["owned", "written by all"])
def test_a_web_root_that_somebody_else_could_change_is_refused(tmp_path: Path, place: str, how: str) -> None:
    """Who serves it has to read it, and no more."""
    make(tmp_path / "site")
    web_root = make(tmp_path / "www" / "html", ".releases/demo-1", ".history/demo", ".published/.index", "theirs")
    web = ExternalWeb(url="http://www.example", directory=str(web_root))
    config = SiteConfig(address="127.0.0.1", root=str(tmp_path / "site"), web=web)
    os.chown(web_root / "theirs", NOBODY, -1)  # beside bundler's
    Site(config)
    if how == "owned":
        os.chown(tmp_path / place, NOBODY, -1)
    else:
        (tmp_path / place).chmod(0o777)
    with pytest.raises(SiteError) as caught:
        Site(config)
    assert str(tmp_path / place) in caught.value.message
    assert str(tmp_path / place) in caught.value.hint


@pytest.mark.parametrize("place", [".staging", ".releases/demo-1", ".before/demo"])
def test_below_the_sites_own_web_root_all_is_roots(tmp_path: Path, place: str) -> None:
    folder = make(tmp_path / "site", f"repos/{place}") / "repos" / place
    require_own(tmp_path / "site")
    os.chown(folder, NOBODY, -1)
    with pytest.raises(SiteError, match=f"{place} belongs to nobody"):
        require_own(tmp_path / "site")


def test_what_a_link_leads_through_counts(tmp_path: Path) -> None:
    make(tmp_path / "theirs" / "site")
    (tmp_path / "ours").symlink_to(tmp_path / "theirs" / "site")
    require_own(tmp_path / "ours")
    os.chown(tmp_path / "theirs", NOBODY, -1)
    with pytest.raises(SiteError, match=f"{tmp_path}/theirs belongs to nobody"):
        require_own(tmp_path / "ours")
    os.chown(tmp_path / "theirs", 0, -1)
    (tmp_path / "theirs/site/devpi").symlink_to("/proc/self/fd")
    os.chown(tmp_path / "ours", NOBODY, -1, follow_symlinks=False)
    with pytest.raises(SiteError, match=f"{tmp_path}/ours belongs to nobody"):
        require_own(tmp_path / "ours")


def bundler(*arguments: str, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "bundler", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, umask=umask)


@pytest.mark.parametrize("command", [["status"], ["services", "start"], ["doctor"], ["uninstall"]], ids="-".join)
def test_nothing_in_it_is_read_before(tmp_path: Path, command: list[str]) -> None:
    root = make(tmp_path / "site", "services")
    (root / "site.yaml").write_text("address: [this is, no address")
    os.chown(root, NOBODY, -1)
    done = bundler(*command, "--root", str(root))
    assert done.returncode == SiteError.exit_code
    assert f"{root} belongs to nobody" in done.stderr
    os.chown(root, 0, -1)
    (root / "site.yaml").chmod(0o666)
    assert f"{root}/site.yaml may be written by others" in bundler(*command, "--root", str(root)).stderr


def test_nobody_can_hold_the_lock(tmp_path: Path) -> None:
    site = Site(SiteConfig(address="127.0.0.1", services="process", root=str(tmp_path / "site")))
    make(tmp_path / "site")
    lock = tmp_path / "site" / ".lock"
    lock.touch(0o644)  # as earlier versions made it
    site.prune(None, keep=1)
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    lock.unlink()
    before = os.umask(0)
    try:
        site.prune(None, keep=1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600


def test_a_site_yaml_that_names_backends_is_taken_and_written_without(tmp_path: Path) -> None:
    """They had ports in earlier versions."""
    file = tmp_path / "site.yaml"
    file.write_text(f"address: 192.0.2.1\nroot: {tmp_path}\nbackends: {{registry: 15000, index: 13141}}\n")
    config = read_site(file, address=None, root=None)
    before = os.umask(0)
    try:
        keep_site(config)
    finally:
        os.umask(before)
    assert "backends" not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert read_site(file, address=None, root=None) == config
