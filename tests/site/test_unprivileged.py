"""The registry and devpi as root starts them: without any rights, and out of everybody else's reach."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundler.errors import SiteError
from bundler.model.site import Ports, SiteConfig
from bundler.site.folders import make_folder
from bundler.site.services import unprivileged
from bundler.site.services.process import ProcessManager
from bundler.site.services.unprivileged import DYNAMIC, Launcher, identity
from bundler.site.session import LOCAL, new_session
from bundler.site.sockets import socket_of
from tests.site.content import MemoryContent
from tests.site.test_services import ask, require

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to lay down")

_NOBODY = 65534
_SOMEBODY = 12345
# As another user: print what of the arguments succeeds.
_TRIES = """\
import fcntl, os, socket, sys
root, user = sys.argv[1], int(sys.argv[2])
os.setgroups([]); os.setresgid(user, user, user); os.setresuid(user, user, user)
def connect(path):
    socket.socket(socket.AF_UNIX).connect(path)
def listen(path):
    socket.socket(socket.AF_UNIX).bind(path)
tries = {f"flock .lock": lambda: fcntl.flock(os.open(f"{root}/.lock", os.O_RDONLY), fcntl.LOCK_EX)}
for name in ("registry", "devpi"):
    at = f"{root}/run/{name}"
    tries |= {
        f"connect {name}": lambda at=at: connect(f"{at}/socket"),
        f"listen {name}": lambda at=at: listen(f"{at}/other"),
        f"unlink {name}": lambda at=at: os.unlink(f"{at}/socket"),
        f"rename {name}": lambda at=at: os.rename(at, f"{at}-old"),
        f"beside {name}": lambda: listen(f"{root}/run/other"),
        f"data {name}": lambda name=name: os.listdir(f"{root}/{name}"),
        f"config {name}": lambda name=name: open(f"{root}/services/{name}/config.yml").read(),
        f"log {name}": lambda name=name: open(f"{root}/services/{name}/log", "a"),
        f"pid {name}": lambda name=name: open(f"{root}/services/{name}/pid", "w"),
    }
for what, attempt in tries.items():
    try:
        attempt()
    except (PermissionError, FileNotFoundError):
        continue
    print(what)
"""


@pytest.fixture
def root() -> Iterator[Path]:
    """In a folder that everybody may enter."""
    with tempfile.TemporaryDirectory(prefix="bundler-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "site"


@pytest.fixture
def config(root: Path, free_port: Callable[[], int]) -> SiteConfig:
    ports = Ports(web=free_port(), registry=free_port(), index=free_port())
    return SiteConfig(address="127.0.0.1", services="process", root=str(root), ports=ports)


def started(config: SiteConfig, umask: int) -> ProcessManager:
    require("nginx", "docker-registry", "devpi-server")
    before = os.umask(umask)
    try:
        manager = ProcessManager(config, make_folder(Path(config.root) / "repos"))
        manager.prepare({"web", "registry", "index"}, [], MemoryContent({}))
        (Path(config.root) / ".lock").touch(0o600)
        manager.start()
    finally:
        os.umask(before)
    return manager


def answer(config: SiteConfig) -> list[int]:
    """The three, by way of nginx."""
    ports = config.ports
    return [ask(config.web_port, "/")[0], ask(ports.registry, "/v2/")[0], ask(ports.index, "/+api")[0]]


@as_root
@pytest.mark.parametrize("umask", [0o000, 0o077], ids="{:04o}".format)
def test_nobody_else_gets_at_them_whatever_the_umask(root: Path, config: SiteConfig, umask: int) -> None:
    manager = started(config, umask)
    try:
        assert answer(config) == [200, 200, 200]
        for user in (_NOBODY, _SOMEBODY):
            argv = [sys.executable, "-c", _TRIES, str(root), str(user)]
            assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == ""
        for service in manager.status()[:2]:
            status = Path(f"/proc/{service.pid}/status").read_text()
            said = dict(line.split(":\t") for line in status.splitlines() if line.count(":\t") == 1)
            ids = set(said["Uid"].split()) | set(said["Gid"].split())
            assert len(ids) == 1
            assert int(ids.pop()) in DYNAMIC
            assert said["Groups"].strip() == ""
            assert {said[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
            assert said["NoNewPrivs"] == "1"
        users = {service.name: Path(f"/proc/{service.pid}").stat().st_uid for service in manager.status()}
        assert len(set(users.values())) == 3
    finally:
        manager.stop()
    temporary = {root / "services" / name / "tmp" for name in ("registry", "devpi")}
    data = {root / "registry", root / "devpi", *temporary}
    guarded = {*data, root / "run" / "registry", root / "run" / "devpi"}
    for path in (root, *root.rglob("*")):
        found = path.lstat()
        mode = stat.S_IMODE(found.st_mode)
        if stat.S_ISLNK(found.st_mode) or not guarded.isdisjoint(path.parents):
            continue
        assert not mode & 0o002, (path, oct(mode))
        assert not mode & 0o020 or found.st_gid == 0, (path, oct(mode))
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in data} == {0o700}
    for name in ("registry", "devpi"):
        assert stat.S_IMODE((root / "run" / name).stat().st_mode) == 0o2750


@as_root
def test_data_of_an_earlier_version_is_handed_over(root: Path, config: SiteConfig) -> None:
    """It ran both as root, and left folders that everybody may read."""
    (root / "registry" / "docker").mkdir(parents=True)
    (root / "registry" / "docker" / "blob").write_text("x")
    (root / "registry").chmod(0o755)
    manager = started(config, 0o022)
    try:
        assert answer(config) == [200, 200, 200]
        user = Path(f"/proc/{manager.status()[0].pid}").stat().st_uid
        assert {path.stat().st_uid for path in (root / "registry").rglob("*")} == {user}
        assert stat.S_IMODE((root / "registry").stat().st_mode) == 0o700
        assert (root / "devpi" / ".root-password").stat().st_uid == 0
    finally:
        manager.stop()


@as_root
def test_a_killed_service_is_started_over_its_socket(config: SiteConfig) -> None:
    manager = started(config, 0o022)
    try:
        for service in manager.status()[:2]:
            assert service.pid
            os.kill(service.pid, 9)
            assert Path(service.address).exists()
        manager.start()
        assert answer(config) == [200, 200, 200]
    finally:
        manager.stop()


@as_root
def test_a_user_id_is_kept_and_is_no_accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = identity(tmp_path)
    assert first.user in DYNAMIC
    assert identity(tmp_path) == first
    monkeypatch.setattr(unprivileged, "_has_account", lambda number: number == first.user)
    assert identity(tmp_path) != first
    (tmp_path / "user").write_text("0\n")
    assert identity(tmp_path).user in DYNAMIC


@as_root
def test_of_a_closed_folder_a_program_sees_what_it_needs_and_no_more(tmp_path: Path) -> None:
    own, data = tmp_path / "closed" / "services" / "x", tmp_path / "closed" / "data"
    for folder in (own, data, tmp_path / "closed" / "secret"):
        folder.mkdir(parents=True)
    (data / "file").write_text("mine")
    (tmp_path / "closed" / "secret" / "file").write_text("not mine")
    own.chmod(0o755)
    (tmp_path / "closed").chmod(0o700)
    launcher = Launcher(identity(own), own)
    script = f"cat {data}/file; cat {tmp_path}/closed/secret/file 2>/dev/null; id -u"
    data.chmod(0o755)
    (data / "file").chmod(0o644)
    done = subprocess.run(launcher.command(["/bin/sh", "-c", script], [data]), capture_output=True, text=True)
    assert done.stdout == f"mine{launcher.identity.user}\n", done.stderr
    assert (tmp_path / "closed" / "secret" / "file").read_text() == "not mine"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others may enter, unlike pytest's."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@as_root
def test_the_command_is_the_same_in_each_process(open_folder: Path) -> None:
    """Else every command of bundler's would start the service again."""
    folders = [open_folder / str(number) for number in range(6)]
    for folder in folders:
        (folder / "x").mkdir(parents=True)
        folder.chmod(0o700)
    script = """import sys; from pathlib import Path
from bundler.site.services.unprivileged import Identity, Launcher
own, *needs = map(Path, sys.argv[1:])
print(Launcher(Identity(61184, 61184), own).command(["/bin/true"], needs))"""
    argv = [sys.executable, "-c", script, *(str(folder / "x") for folder in folders)]
    said = {
        subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1
    assert "unshare" in said.pop()


@as_root
def test_a_closed_folder_without_mount_namespaces_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "unshare").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "unshare").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    closed = tmp_path / "closed"
    (closed / "x").mkdir(parents=True)
    for folder in (closed, tmp_path):
        folder.chmod(0o700)
    with pytest.raises(SiteError, match="is closed to others") as caught:
        Launcher(identity(closed / "x"), closed / "x").command(["/bin/true"])
    assert "chmod o+x /" in caught.value.hint


def test_a_root_that_is_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    config = SiteConfig(address="127.0.0.1", root=f"/{'r' * 86}")
    assert len(str(socket_of(config, "registry"))) == 107
    longer = SiteConfig(address="127.0.0.1", root=f"/{'r' * 89}")
    with pytest.raises(SiteError, match="too long for a socket") as caught:
        socket_of(longer, "registry")
    assert "shorter by 3 bytes" in caught.value.hint
    assert tmp_path.exists()


def test_a_session_over_a_socket_reaches_nothing_else(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        session = new_session(socket=tmp_path / "socket")
        for url in ("http://127.0.0.1/", "https://localhost/", "http://localhost.example/"):
            with pytest.raises(Exception, match="No connection adapters"):
                session.get(url, timeout=1)
        assert LOCAL == "http://localhost"


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs util-linux")
def test_somebody_else_runs_them_as_himself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    launcher = Launcher(identity(tmp_path), tmp_path)
    assert launcher.identity.user == 1000
    assert "setpriv" not in " ".join(launcher.command(["/bin/true"]))
