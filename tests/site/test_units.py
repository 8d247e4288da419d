"""Units as text, and who is to run them; tests/e2e/test_machines.py has systemd run them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.errors import SiteError
from bundler.model.site import SiteConfig
from bundler.site.services import choice, units
from bundler.site.services.daemon import Program
from bundler.site.services.registry_container import RegistryContainer, prepared
from bundler.site.services.unprivileged import Identity

PROGRAM = Program(
    name="x",
    argv=("/opt/x y/run", "--say=50%", "a$b", 'q"uote', "back\\slash"),
    folder=Path("/data/services/x"),
    socket=Path("/data/run/x/socket"),
)


def unit_of(root: str) -> str:
    return units.service(PROGRAM, description="x", user="bundler-x", writable=[Path(root)], root=Path(root))


def test_words_reach_the_program_as_they_are() -> None:
    line = next(line for line in unit_of("/data").splitlines() if line.startswith("ExecStart="))
    assert line == r'ExecStart="/opt/x y/run" "--say=50%%" "a$$b" "q\"uote" "back\\slash"'


def test_a_root_among_homes_is_not_hidden_from_its_services() -> None:
    assert "ProtectHome=yes" in unit_of("/data")
    assert "ProtectHome" not in unit_of("/home/site")


@pytest.mark.parametrize("root", ["/my data", "/da%ta", "/a:b", '/a"b', "/a\nb"])
def test_a_root_that_units_cannot_name_is_refused(root: str) -> None:
    with pytest.raises(SiteError, match="systemd units cannot name"):
        unit_of(root)


def test_a_container_may_do_little() -> None:
    found = RegistryContainer("localhost/bundler-registry:abc", "/etc/distribution/config.yml")
    places = {
        "configuration": Path("/data/services/registry/config.yml"),
        "data": Path("/data/registry"),
        "socket": Path("/data/run/registry/socket"),
        "root": Path("/data"),
    }
    quadlet = units.container("bundler-registry", found, user=Identity(990, 991), **places)
    service = units.container_service("bundler-registry", found, user=Identity(990, 991), **places)
    for line in (
        "ReadOnly=true",
        "NoNewPrivileges=true",
        "DropCapability=all",
        "Pull=never",
        "User=990",
        "PrivateNetwork=yes",
    ):
        assert f"\n{line}\n" in quadlet
    for option in (
        "--read-only",
        "--security-opt=no-new-privileges",
        "--cap-drop=all",
        "--pull=never",
        "--user=990:991",
        "--umask=0007",
    ):
        assert f" {option} " in service
    for text in (quadlet, service):
        assert "/data/services/registry/config.yml:/etc/distribution/config.yml:ro,Z" in text
        assert "/data/run/registry:/run/bundler:rw,Z" in text
        assert "\nPrivateNetwork=yes\n" in text
        assert "\nExecStartPre=/bin/rm -f /data/run/registry/socket\n" in text


def test_a_service_has_no_network_and_its_socket_is_for_nginx() -> None:
    unit = unit_of("/data")
    for line in ("RestrictAddressFamilies=AF_UNIX", "PrivateNetwork=yes", "IPAddressDeny=any"):
        assert f"\n{line}\n" in unit
    assert [line for line in unit.splitlines() if line.startswith("UMask=")] == ["UMask=0007"]
    assert "\nReadWritePaths=/data /data/run/x\n" in unit


def test_who_runs_the_services_is_decided_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = SiteConfig(address="192.168.10.10")
    monkeypatch.setattr(choice, "_SYSTEMD_RUNS", tmp_path / "absent")
    assert choice.settled(config).services == "process"
    monkeypatch.setattr(choice, "_SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert choice.settled(config).services == "process"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    decided = choice.settled(config)
    assert decided.services == "systemd"
    assert decided.engine in ("podman", "none")
    assert choice.settled(decided) == decided
    asked = SiteConfig(address="192.168.10.10", services="process")
    assert choice.settled(asked) == asked


def test_nothing_was_prepared_for_podman(tmp_path: Path) -> None:
    assert prepared(tmp_path) is None
