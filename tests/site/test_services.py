"""nginx, the registry and devpi as processes: the real programs, on loopback."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bundler.errors import SiteError
from bundler.model.site import ExternalIndex, ExternalRegistry, ExternalWeb, Ports, SiteConfig
from bundler.site.services.daemon import Daemon, Probe, Program
from bundler.site.services.ports import Listen
from bundler.site.services.process import ProcessManager
from bundler.site.services.programs import find_program
from tests.site.content import MemoryContent

FreePort = Callable[[], int]
NOTHING = MemoryContent({})


def make_config(root: Path, free_port: FreePort) -> SiteConfig:
    return SiteConfig(
        address="127.0.0.1",
        services="process",
        root=str(root),
        ports=Ports(web=free_port(), registry=free_port(), index=free_port()),
    )


def make_manager(config: SiteConfig) -> ProcessManager:
    web_root = Path(config.root) / "repos"
    web_root.mkdir(parents=True, exist_ok=True)
    return ProcessManager(config, web_root)


def port_of(config: SiteConfig, store: str) -> int:
    return {"web": config.web_port, "registry": config.ports.registry, "index": config.ports.index}[store]


def ask(
    port: int, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body=b"{}" if method not in ("GET", "HEAD") else None, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def require(*programs: str) -> None:
    for program in programs:
        if not any(shutil.which(program, path=path) for path in (None, "/usr/sbin", str(Path(sys.executable).parent))):
            pytest.skip(f"needs {program}")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, free_port: FreePort) -> Iterator[SiteConfig]:
    """A site with all three services up."""
    require("nginx", "docker-registry", "devpi-server")
    root = tmp_path_factory.mktemp("site with space")
    config = make_config(root, free_port)
    manager = make_manager(config)
    try:
        manager.prepare({"web", "registry", "index"}, [], NOTHING)
        manager.start()
        yield config
    finally:
        manager.stop()


def test_all_run_and_say_so(running: SiteConfig) -> None:
    found = make_manager(running).status()
    assert [service.name for service in found] == ["registry", "devpi", "nginx"]
    for service in found:
        assert service.running
        assert (Path(running.root) / "services" / service.name / "pid").read_text() == f"{service.pid}\n"
        assert Path(service.log).is_file()
    assert found[2].address == f"{running.web_url} {running.registry_url} {running.simple_url}"


def test_starting_again_changes_nothing(running: SiteConfig) -> None:
    before = make_manager(running).status()
    make_manager(running).prepare({"web", "registry", "index"}, [], NOTHING)
    make_manager(running).start()
    assert make_manager(running).status() == before


def test_they_have_left_the_session(running: SiteConfig) -> None:
    for service in make_manager(running).status():
        assert service.pid is not None
        assert os.getsid(service.pid) == service.pid
        assert os.readlink(f"/proc/{service.pid}/fd/0") == os.devnull
        tmp = Path(f"/proc/{service.pid}/environ").read_bytes()
        assert b"PYTEST" not in tmp


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH", "MKCOL", "OPTIONS"])
@pytest.mark.parametrize("store", ["web", "registry", "index"])
def test_the_front_door_is_read_only(running: SiteConfig, store: str, method: str) -> None:
    paths = {"web": "/demo/x", "registry": "/v2/x/blobs/uploads/", "index": "/+login"}
    status, _, _ = ask(port_of(running, store), paths[store], method)
    assert status == 405


def test_the_services_behind_nginx_have_no_port(running: SiteConfig) -> None:
    listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    for service in make_manager(running).status()[:2]:
        assert f"pid={service.pid}," not in listening
        assert stat.S_ISSOCK(Path(service.address).stat().st_mode)


def test_reading_passes(running: SiteConfig) -> None:
    assert ask(running.ports.registry, "/v2/")[0] == 200
    assert ask(running.ports.registry, "/v2/_catalog")[0] == 404, "nothing was published"
    assert ask(running.ports.registry, "/metrics")[0] == 404
    outside = f"http://127.0.0.1:{running.ports.index}/+login".encode()
    assert outside in ask(running.ports.index, "/+api")[2]
    assert ask(running.ports.index, "/root/pypi/")[0] == 404


def test_autoindex(running: SiteConfig) -> None:
    repos = Path(running.root) / "repos"
    (repos / ".releases/one").mkdir(parents=True, exist_ok=True)
    (repos / ".releases/one/.treeinfo").write_text("of a repository")
    (repos / ".releases/one/big").write_bytes(b"x" * 5 * 1024 * 1024)
    (repos / ".staging").mkdir(exist_ok=True)
    (repos / ".staging/secret").write_text("not yet")
    (repos / "demo").symlink_to(".releases/one")
    web = running.web_port
    status, headers, page = ask(web, "/demo/")
    assert status == 200
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert b"5M" in page
    assert b"5242880" not in page
    assert ask(web, "/demo/.treeinfo")[2] == b"of a repository"
    assert ask(web, "/demo")[1]["location"] == "/demo/"
    for path in (
        "/.releases/one/big",
        "/.staging/secret",
        "//.staging/secret",
        "/demo/../.staging/secret",
        "/%2estaging/",
    ):
        assert ask(web, path)[0] == 404, path
    assert b".staging" not in ask(web, "/")[2]
    assert ask(web, "/demo/big", headers={"Range": "bytes=1-3"})[0] == 206


def test_secrets_are_private(running: SiteConfig) -> None:
    services = Path(running.root) / "services"
    for path in (services / "registry/secret", services / "registry/config.yml"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secret = (services / "registry/secret").read_bytes()
    for service in make_manager(running).status():
        assert secret not in Path(f"/proc/{service.pid}/cmdline").read_bytes()


def test_stop_a_crash_and_start_again(running: SiteConfig) -> None:
    manager = make_manager(running)
    before = {service.name: service.pid for service in manager.status()}
    assert before["registry"] is not None
    os.kill(before["registry"], signal.SIGKILL)
    _until(lambda: not manager.status()[0].running)
    manager.start()
    after = {service.name: service.pid for service in manager.status()}
    assert after["registry"] not in (None, before["registry"])
    assert {**after, "registry": 0} == {**before, "registry": 0}


def test_only_what_is_needed_is_started(tmp_path: Path, free_port: FreePort) -> None:
    require("nginx")
    config = make_config(tmp_path, free_port)
    manager = make_manager(config)
    assert manager.status() == ()
    manager.prepare({"web"}, [], NOTHING)
    assert [manager.has(store) for store in ("web", "registry", "index")] == [True, False, False]
    manager.start()
    try:
        assert [(service.name, service.address) for service in manager.status()] == [("nginx", config.web_url)]
        pid = manager.status()[0].pid
    finally:
        manager.stop()
    assert not Path(f"/proc/{pid}").exists()
    assert [service.running for service in manager.status()] == [False]
    manager.stop()
    manager.remove()
    assert not (tmp_path / "services").exists()


def test_what_is_external_is_not_started(tmp_path: Path, free_port: FreePort) -> None:
    external = make_config(tmp_path, free_port).model_copy(
        update={
            "web": ExternalWeb(url="http://web.example", directory=str(tmp_path / "www")),
            "registry": ExternalRegistry(url="http://registry.example"),
            "index": ExternalIndex(upload_url="http://index.example/", simple_url="http://index.example/simple"),
        }
    )
    manager = make_manager(external)
    manager.prepare({"web", "registry", "index"}, [], NOTHING)
    manager.start()
    assert manager.status() == ()
    assert manager.has("registry")


def test_a_taken_port_is_named(tmp_path: Path, free_port: FreePort) -> None:
    require("nginx")
    config = make_config(tmp_path, free_port)
    manager = make_manager(config)
    manager.prepare({"web"}, [], NOTHING)
    with socket.socket() as other:
        other.bind(("127.0.0.1", config.web_port))
        other.listen()
        with pytest.raises(SiteError, match=f"port {config.web_port}") as caught:
            manager.start()
    assert "ports.web" in caught.value.hint
    assert manager.status()[0].pid is None


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SiteError, match="no frobnicated or froobd on this machine"):
        find_program("frobnicated", "froobd", hint="install it")


def make_program(folder: Path, script: str, *, port: int = 0) -> Program:
    return Program(
        name="thing",
        argv=("/bin/sh", "-c", script),
        folder=folder,
        listens=(Listen("127.0.0.1", port, "ports.thing"),) if port else (),
        probes=(Probe(port, "/"),) if port else (),
    )


def test_a_program_that_ends_shows_its_log(tmp_path: Path, free_port: FreePort) -> None:
    (tmp_path / "log").write_text("from yesterday\n")
    with pytest.raises(SiteError) as caught:
        Daemon(tmp_path).start(make_program(tmp_path, "echo my last words; exit 1", port=free_port()), timeout=5)
    assert "ended as soon as it was started" in caught.value.message
    assert "my last words" in caught.value.message
    assert "yesterday" not in caught.value.message
    assert Daemon(tmp_path).pid() is None


def test_a_program_that_never_answers_is_stopped(tmp_path: Path, free_port: FreePort) -> None:
    with pytest.raises(SiteError, match="did not answer on"):
        Daemon(tmp_path).start(
            make_program(
                tmp_path, "echo $$ >mypid; exec sleep 60".replace("mypid", str(tmp_path / "mypid")), port=free_port()
            ),
            timeout=0.5,
        )
    assert not Path("/proc", (tmp_path / "mypid").read_text().strip()).exists()


def test_one_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.start(make_program(tmp_path, f"trap '' TERM; : >{tmp_path}/ready; while :; do sleep 0.1; done"), timeout=5)
    _until((tmp_path / "ready").exists)
    pid = daemon.pid()
    daemon.stop(timeout=0.3)
    assert daemon.pid() is None
    assert not Path(f"/proc/{pid}").exists()


def test_a_stale_pid_file_harms_nobody(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as innocent:
        (tmp_path / "pid").write_text(f"{innocent.pid}\n")
        (tmp_path / "identity").write_text("12345@another-boot x\n")
        daemon = Daemon(tmp_path)
        assert daemon.pid() is None
        daemon.stop(timeout=1)
        assert innocent.poll() is None
        daemon.start(make_program(tmp_path, "exec sleep 60"), timeout=5)
        assert daemon.pid() not in (None, innocent.pid)
        daemon.stop(timeout=5)
        innocent.kill()


def test_a_changed_program_is_another_one(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    first = make_program(tmp_path, "exec sleep 60")
    daemon.start(first, timeout=5)
    try:
        assert daemon.runs(first)
        assert not daemon.runs(make_program(tmp_path, "exec sleep 61"))
    finally:
        daemon.stop(timeout=5)
    assert not daemon.runs(first)


def _until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_new_configuration_is_taken_without_letting_go_of_the_ports(tmp_path: Path, free_port: FreePort) -> None:
    """Who waits for a port that nginx lets go of would answer for the site."""
    require("nginx")
    config = make_config(tmp_path, free_port)
    manager = make_manager(config)
    manager.prepare({"web"}, [], NOTHING)
    manager.start()
    stop, taken = threading.Event(), threading.Event()

    def squat() -> None:
        while not stop.is_set():
            with socket.socket() as other, suppress(OSError):
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                other.bind(("0.0.0.0", config.web_port))
                other.listen()
                taken.set()

    thread = threading.Thread(target=squat)
    thread.start()
    try:
        before = manager.status()[-1].pid
        for other in (free_port(), free_port()):
            changed = config.model_copy(update={"ports": config.ports.model_copy(update={"registry": other})})
            manager = make_manager(changed)
            manager.prepare({"web", "registry"}, [], NOTHING)
            manager.start()
            assert ask(other, "/v2/")[0] == 200
            assert ask(config.web_port, "/")[0] == 200
        assert manager.status()[-1].pid == before
        assert not taken.is_set()
    finally:
        stop.set()
        thread.join()
        manager.stop()


def test_a_configuration_that_cannot_be_taken_leaves_the_site_up(tmp_path: Path, free_port: FreePort) -> None:
    require("nginx")
    config = make_config(tmp_path, free_port)
    make_manager(config).prepare({"web"}, [], NOTHING)
    make_manager(config).start()
    try:
        with socket.socket() as other:
            other.bind(("0.0.0.0", 0))
            other.listen()
            ports = config.ports.model_copy(update={"web": other.getsockname()[1]})
            with pytest.raises(SiteError, match=r"by root$" if os.geteuid() == 0 else "already in use by"):
                make_manager(config.model_copy(update={"ports": ports})).start()
        assert ask(config.web_port, "/")[0] == 200
    finally:
        make_manager(config).stop()


def test_a_service_inherits_nothing_that_bundler_was_given(tmp_path: Path) -> None:
    secret = os.open("/etc/hostname", os.O_RDONLY)
    pipes = os.pipe()
    for descriptor in (secret, *pipes):
        os.set_inheritable(descriptor, True)
    daemon = Daemon(tmp_path)
    try:
        daemon.start(make_program(tmp_path, "exec sleep 60"), timeout=5)
        open_there = {int(path.name) for path in Path(f"/proc/{daemon.pid()}/fd").iterdir()}
        assert open_there == {0, 1, 2}
    finally:
        daemon.stop(timeout=5)
        for descriptor in (secret, *pipes):
            os.close(descriptor)


def test_a_log_that_has_grown_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(bytes(17 << 20))
    daemon = Daemon(tmp_path)
    daemon.start(make_program(tmp_path, "echo hello; exec sleep 60"), timeout=5)
    _until(lambda: daemon.log.read_text() == "hello\n")
    daemon.stop(timeout=5)


def test_clients_write_no_logs(running: SiteConfig) -> None:
    services = Path(running.root) / "services"
    logs = [services / "nginx" / name for name in ("access.log", "error.log", "log")] + [services / "devpi" / "log"]
    before = {log: log.stat().st_size for log in logs if log.exists()}
    for _ in range(50):
        for store, path in (("web", "/none"), ("index", "/root/prod/+simple/none/"), ("registry", "/v2/none")):
            ask(port_of(running, store), path)
            ask(port_of(running, store), path, "POST")
    assert {log: log.stat().st_size for log in logs if log.exists()} == before


def test_what_was_taken_off_is_read_by_nobody_else(tmp_path: Path, free_port: FreePort) -> None:
    require("nginx")
    config = make_config(tmp_path, free_port)
    manager = make_manager(config)
    releases = Path(config.root) / "repos" / ".releases"
    (releases / "demo-1").mkdir(parents=True)
    (releases / "demo-1" / "file").write_text("x")
    (releases.parent / "demo").symlink_to(".releases/demo-1")
    manager.prepare({"web"}, [], NOTHING)
    manager.start()
    try:
        assert stat.S_IMODE(releases.stat().st_mode) == 0o750
        assert ask(config.web_port, "/demo/file")[2] == b"x"
    finally:
        manager.stop()
