"""A bare admin host and two nodes, each with systemd as its first process, from a bundle alone.

The machines are Debian's (scripts/demo/machines.py): dnf, rpm, nginx and podman are Debian's own, and the nodes say of
themselves that they are Rocky 9. They reach each other and nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundler.errors import SiteError
from scripts.demo.hosts import HERE
from scripts.demo.internet import ROCKY, Internet, internet
from scripts.demo.journey import bundler
from scripts.demo.machines import Machine, can_make_machines, machines, make_system
from scripts.demo.node import STOCK_REPOSITORIES
from scripts.demo.packages import Package, built_repositories

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(900)]

_NAMES = ("admin", "node1", "node2", "rocky")
_SITE_NAME = "admin.base.example"
_USB = "/media/usb"  # where the disk with the bundle is mounted
_BUNDLE = f"{_USB}/base-1.tar"
_KEY = "/root/release.pub"  # who signed the bundle of the host `rocky`
_UNITS = ("bundler-registry.service", "bundler-devpi.service", "nginx.service")
_PACKAGES = (
    Package("socat"),
    Package("conntrack-tools", requires=("libnetfilter_conntrack",)),
    Package("libnetfilter_conntrack"),
    # What an admin host takes first.
    Package("python3.13", requires=("mpdecimal",)),
    Package("mpdecimal"),
    Package("nginx"),
    Package("podman"),
    Package("policycoreutils-python-utils"),
)
_REPOS = [
    {
        "id": name.lower(),
        "url": f"https://{ROCKY}/9/{name}/x86_64/os/",
        "gpgkey": [f"https://{ROCKY}/RPM-GPG-KEY-Rocky-9"],
        "for": ["rocky"],
    }
    for name in ("BaseOS", "AppStream")
]
_PROFILE = {
    "name": "base",
    "version": "1",
    "targets": [{"distro": "rocky", "release": "9"}, {"distro": "debian", "release": "13"}],
    "admin": {"target": "debian-13", "python": "3.13"},
    "rpms": {
        "repos": _REPOS,
        "packages": [{"names": ["socat", "conntrack-tools"], "for": ["rocky"]}],
    },
    "images": [{"ref": "docker.io/library/registry:3", "role": "registry"}, "docker.io/library/alpine:3.11"],
    "wheels": {"python": ["3.13"], "requirements": ["six==1.17.0"]},
    "files": ["https://dl.k8s.io/release/v1.35.4/bin/linux/amd64/kubeadm.sha256"],
}
# A host that takes its servers from the bundle's RPMs; of the stand-ins only the names are Rocky's.
_ROCKY_PROFILE = {
    "name": "rocky",
    "version": "1",
    "targets": [{"distro": "rocky", "release": "9"}],
    "admin": {"target": "rocky-9", "python": "3.13"},
    "rpms": {"repos": _REPOS, "packages": ["socat"]},
    "images": [{"ref": "docker.io/library/registry:3", "role": "registry"}],
}
# What makes a machine take itself for Rocky 9, and Debian's dnf and rpm work as Rocky's do.
_ROCKY = f"""\
{STOCK_REPOSITORIES}
chmod 640 /etc/yum.repos.d/Rocky-BaseOS.repo
printf '[global]\nindex-url = https://pypi.org/simple\n' >/etc/pip.conf
rm -f /etc/os-release
printf 'ID="rocky"\nVERSION_ID="9.6"\nPLATFORM_ID="platform:el9"\n' >/etc/os-release
printf '%%_dbpath /var/lib/rpm\n' >/root/.rpmmacros
printf '[main]\nmodule_platform_id=platform:el9\n' >/etc/dnf/dnf.conf
mkdir -p /etc/dnf/vars && echo 9 >/etc/dnf/vars/releasever
"""
# Every file, link and folder below some places, with its bytes, permissions and owner.
_SNAPSHOT = """\
set -- "$@" -xdev ! -name '*-' ! -name .pwd.lock ! -path /etc/ld.so.cache
{ find "$@" -printf '%p %y %m %u:%g %l\\n'; find "$@" -type f -exec sha256sum {} +; } | sort
"""


@dataclass(frozen=True)
class World:
    """The machines, with the bundles on a disk that all can read."""

    machines: dict[str, Machine]

    @property
    def admin(self) -> Machine:
        return self.machines["admin"]

    @property
    def approved(self) -> str:
        """The id of the admin host's bundle."""
        return self.admin.sh(f"tar xOf {_BUNDLE} base-1/manifest.json | sha256sum").split()[0]

    @property
    def url(self) -> str:
        return f"http://{self.admin.address}/base"


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Internet]:
    with internet(tmp_path_factory.mktemp("internet") / "up", shared) as running:
        built_repositories(running.folder / "packages-9", running.folder / "www" / ROCKY, _PACKAGES, "9")
        yield running


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, upstream: Internet, project: Path) -> Iterator[World]:
    if not can_make_machines():
        pytest.skip("needs root, podman and debootstrap, for machines with systemd")
    work = tmp_path_factory.mktemp("machines")
    (work / "usb").mkdir()
    config = upstream.write_config(work / "config.yaml")
    for words in (_PROFILE, _ROCKY_PROFILE):
        profile = work / f"{words['name']}.yaml"
        profile.write_text(yaml.safe_dump(words))
        bundler(HERE, "build", profile, "--output", work / "usb", "--config", config)
    bundler(HERE, "key", "new", work / "release")
    bundler(HERE, "sign", work / "usb/rocky-1.tar", "--key", work / "release")
    system = make_system(project / ".cache")
    with machines(system, work, _NAMES, {work / "usb": _USB}) as running:
        for name in ("node1", "node2", "rocky"):
            running[name].sh(_ROCKY)
        running["rocky"].put(_KEY, (work / "release.pub").read_text())
        yield World(running)


def snapshot(machine: Machine, *places: str) -> list[str]:
    return machine.run(["sh", "-c", _SNAPSHOT, "sh", *places]).stdout.splitlines()


@pytest.fixture(scope="module")
def bare(world: World) -> list[str]:
    """The admin host as it was before."""
    return snapshot(world.admin, "/etc", "/usr/local", "/opt", "/var/lib/systemd/linger")


@pytest.fixture(scope="module")
def installed(world: World, bare: list[str]) -> World:
    """One command from the disk to running services."""
    assert bare
    world.admin.sh(f"cd /root && tar xf {_BUNDLE} --strip-components=1 base-1/bootstrap/install.sh")
    options = f"--id {world.approved} --address {world.admin.address}"
    said = world.admin.sh(f"cd /root && sh bootstrap/install.sh {_BUNDLE} {options}")
    assert "installed base 1" in said
    return world


def status(machine: Machine) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(machine.run(["bundler", "status", "--json"]).stdout)
    return document


def test_everything_runs_as_its_own_user(installed: World) -> None:
    found = status(installed.admin)
    assert [(release["name"], release["current"]) for release in found["releases"]] == [("base", True)]
    assert {service["name"] for service in found["services"] if service["running"]} == {"registry", "devpi", "nginx"}
    users = installed.admin.sh("ps -e -o user:32=,args= | grep -E 'registry serve|devpi-server|nginx: worker'")
    by_user = {line.split()[0] for line in users.splitlines() if "grep" not in line}
    assert by_user == {"bundler-registry", "bundler-devpi", "www-data"}
    assert "quadlet" in installed.admin.sh(
        "systemctl show -p SourcePath -p FragmentPath bundler-registry; echo quadlet"
    )
    assert installed.admin.sh("podman ps --format '{{.Names}}'").split() == ["bundler-registry"]
    assert installed.admin.sh("stat -c '%a %U' /data/devpi/.root-password").split() == ["600", "root"]
    _nobody_else_gets_at_them(installed.admin)


def _nobody_else_gets_at_them(admin: Machine) -> None:
    """What takes writes has no port, and a socket in a folder of its own; its data is its own as well."""
    ports = admin.sh("ss -Hltn | awk '{print $4}' | sed 's/.*://' | sort -nu").split()
    assert ports == ["80", "3141", "5000"]
    for service in ("registry", "devpi"):
        socket, owner = f"/data/run/{service}/socket", f"bundler-{service}"
        assert admin.sh(f"stat -c '%a %U %G' /data/run/{service}").split() == ["2750", owner, "www-data"]
        assert admin.sh(f"stat -c '%a %U' /data/{service}").split() == ["700", owner]
        asking = f"curl -s -o /dev/null -w '%{{http_code}}' --unix-socket {socket} http://localhost/"
        assert admin.sh(asking) in ("200", "404")
        tries = (asking, f"ls /data/{service}", f"touch /data/run/{service}/x", "flock -n /data/.lock true")
        for attempt in tries:
            done = admin.run(["setpriv", "--reuid=12345", "--clear-groups", "sh", "-c", attempt], check=False)
            assert done.returncode != 0, attempt


@pytest.mark.parametrize("unit", _UNITS)
def test_units_are_sound(installed: World, unit: str) -> None:
    admin = installed.admin
    path = admin.sh(f"systemctl show -P FragmentPath {unit}").strip()
    said = admin.sh(f"systemd-analyze verify --man=no {path} 2>&1")
    assert not said.strip(), said
    exposure = re.search(r"level for \S+: ([0-9.]+)", admin.sh(f"systemd-analyze security --no-pager {unit}"))
    assert exposure
    assert float(exposure[1]) < 4


def test_the_quadlet_is_what_podman_reads(installed: World) -> None:
    """podman's own generator, told to say what it would make, has no complaint."""
    said = installed.admin.run(["/usr/libexec/podman/quadlet", "-dryrun"])
    assert "localhost/bundler-registry" in said.stdout
    assert "error" not in said.stderr.lower()


def test_a_node_is_set_up_and_reverted_byte_for_byte(installed: World) -> None:
    node = installed.machines["node1"]
    places = ("/etc", "/var/lib", "/usr/local", "/root")
    before = snapshot(node, *places)
    first = node.sh(f"curl -fsS {installed.url}/nodes/setup.sh | sh")
    assert "moved /etc/yum.repos.d/Rocky-BaseOS.repo away" in first
    again = node.sh(f"curl -fsS {installed.url}/nodes/setup.sh | sh")
    assert "changed" not in again
    assert snapshot(node, *places) != before
    node.sh(f"curl -fsS {installed.url}/nodes/revert.sh | sh")
    assert snapshot(node, *places) == before


def test_a_node_uses_it(installed: World) -> None:
    node = installed.machines["node1"]
    node.sh(f"curl -fsS {installed.url}/nodes/setup.sh | sh")
    table = node.sh(f"curl -fsS {installed.url}/nodes/check.sh | sh")
    assert "FAIL" not in table
    for done in ("dnf finds socat at the site", "podman pulls an image by its original name", "pip downloads six"):
        assert re.search(rf"^ok +{done}", table, re.MULTILINE), table
    node.sh("dnf -y -q install conntrack-tools")
    assert "From repo    : base-baseos" in node.sh("dnf info conntrack-tools")
    assert node.sh("podman run --rm --network=none docker.io/library/alpine:3.11 cat /etc/alpine-release").startswith(
        "3.11"
    )
    node.sh(
        "python3 -m venv /root/venv && /root/venv/bin/pip install --quiet six && /root/venv/bin/python -c 'import six'"
    )


def test_another_node_by_file_and_checked_from_python(installed: World) -> None:
    node = installed.machines["node2"]
    for script in ("setup.sh", "revert.sh"):
        node.sh(f"curl -fsS -o /root/{script} {installed.url}/nodes/{script}")
    before = snapshot(node, "/etc")
    node.sh(f"cd /root && tar xf {_BUNDLE} --strip-components=1 base-1/bootstrap")
    # bundler from the bundle's wheels, as where it is installed on a node
    node.sh(
        "cd /root && python3 -m venv bundler && env -u PIP_INDEX_URL PIP_CONFIG_FILE=/dev/null bundler/bin/pip install "
        "--quiet --no-index --find-links bootstrap/wheels bundler"
    )
    failing = node.run(["/root/bundler/bin/bundler", "check-node", installed.url], check=False)
    assert failing.returncode == SiteError.exit_code
    assert "dnf lists the site's repositories" in failing.stderr
    node.sh("sh /root/setup.sh")
    checked = json.loads(node.run(["/root/bundler/bin/bundler", "check-node", installed.url, "--json"]).stdout)
    states = {check["title"]: check["state"] for check in checked["checks"]}
    assert states["dnf could install socat"] == "ok"
    assert "failed" not in states.values()
    node.sh("sh /root/revert.sh")
    assert snapshot(node, "/etc") == before


def test_a_reboot_brings_everything_back(installed: World) -> None:
    installed.machines["admin"] = admin = installed.admin.reboot()
    assert admin.sh("systemctl is-active " + " ".join(_UNITS)).split() == ["active"] * 3
    node = installed.machines["node1"]
    wait = "for try in $(seq 60); do curl -fsS -o /dev/null {0} && exit 0; sleep 0.5; done; exit 1"
    for port in ("80/base/nodes/README.txt", "5000/v2/library/alpine/manifests/3.11", "3141/root/prod/+simple/six/"):
        node.sh(wait.format(f"http://{admin.address}:{port}"))
    assert {service["running"] for service in status(admin)["services"]} == {True}


def test_install_sh_again_changes_nothing(installed: World) -> None:
    admin = installed.admin
    before = snapshot(admin, "/etc", "/usr/local", "/opt")
    pids = admin.sh("systemctl show -P MainPID " + " ".join(_UNITS))
    said = admin.sh(f"cd /root && sh bootstrap/install.sh {_BUNDLE} --id {installed.approved}")
    assert "nothing changed" in said
    assert admin.sh("systemctl show -P MainPID " + " ".join(_UNITS)) == pids
    assert snapshot(admin, "/etc", "/usr/local", "/opt") == before


def test_services_stop_and_start(installed: World) -> None:
    admin = installed.admin
    admin.run(["bundler", "services", "stop"])
    assert {service["running"] for service in status(admin)["services"]} == {False}
    admin.run(["bundler", "services", "start"])
    assert {service["running"] for service in status(admin)["services"]} == {True}


def test_uninstall_puts_the_host_back_and_keeps_the_data(installed: World, bare: list[str]) -> None:
    admin = installed.admin
    admin.run(["bundler", "uninstall", "base"])
    assert snapshot(admin, "/etc") == [line for line in bare if line.startswith("/etc") or "  /etc/" in line]
    assert admin.sh("ss -Hltn").strip() == ""
    assert admin.sh("podman images --quiet").strip() == ""
    assert int(admin.sh("du -s /data/registry").split()[0]) > 1000


def test_a_podman_without_quadlets_gets_a_unit(installed: World) -> None:
    """As podman 4.3 and older would: its version is all that is different here."""
    admin = installed.admin
    admin.put(
        "/usr/local/bin/podman",
        '#!/bin/sh\n[ "$1" = version ] && { echo 4.3.1; exit; }\nexec /usr/bin/podman "$@"\n',
        mode=0o755,
    )
    # By a name: the nodes' pip cannot check a certificate for an address.
    for machine in (admin, installed.machines["node1"]):
        machine.sh(f"cp /etc/hosts /root/hosts; echo '{admin.address} {_SITE_NAME}' >>/etc/hosts")
    admin.run(["bundler", "install", _BUNDLE, "--address", _SITE_NAME, "--tls", "self-signed", "--login", "nodes"])
    assert admin.sh("systemctl show -P FragmentPath bundler-registry").strip().startswith("/etc/systemd/system/")
    assert admin.sh("podman ps --format '{{.Names}}'").split() == ["bundler-registry"]
    test_units_are_sound(installed, "bundler-registry.service")
    _a_node_speaks_tls_and_logs_in(installed)
    admin.run(["bundler", "uninstall"])
    admin.run(["rm", "/usr/local/bin/podman"])
    admin.sh("cat /root/hosts >/etc/hosts")


def _a_node_speaks_tls_and_logs_in(installed: World) -> None:
    """With what the admin host gives it in another way; doctor sees nothing amiss there."""
    node, url = installed.machines["node1"], f"https://{_SITE_NAME}/base/nodes"
    node.put("/root/ca.pem", installed.admin.sh("cat /data/tls/ca.pem"))
    node.put("/root/netrc", installed.admin.sh("cat /data/login/netrc"), mode=0o600)
    theirs = '{"auths": {"quay.io": {"auth": "eDp5"}}}'
    node.sh("mkdir -p /root/.config/containers")
    node.put("/root/.config/containers/auth.json", theirs)
    curl = "cd /root && curl -fsS --cacert ca.pem --netrc-file netrc"
    assert node.sh(f"curl -s -o /dev/null -w '%{{http_code}}' --cacert /root/ca.pem {url}/setup.sh") == "401"
    node.sh(f"{curl} {url}/setup.sh | BUNDLER_NETRC=netrc sh")
    auths = json.loads(node.sh("cat /root/.config/containers/auth.json"))["auths"]
    assert auths.keys() == {"quay.io", f"{_SITE_NAME}:5000"}
    assert "nothing to change" in node.sh(f"{curl} {url}/setup.sh | sh")
    table = node.sh(f"{curl} {url}/check.sh | sh")
    assert "FAIL" not in table
    assert "podman pulls an image by its original name" in table
    found = json.loads(installed.admin.run(["bundler", "doctor", "--all", "--json"]).stdout)
    assert {finding["check"]: finding["state"] for finding in found["findings"]}.get("TLS") == "ok"
    assert found["well"]
    node.sh(f"{curl} {url}/revert.sh | sh")
    assert node.sh("cat /root/.config/containers/auth.json") == theirs
    assert node.sh("ls -A /etc/bundler /root/.netrc 2>/dev/null || true") == ""


def test_without_an_engine_the_registry_runs_by_itself(installed: World, bare: list[str]) -> None:
    """Beside an nginx that serves others, and goes on doing so."""
    admin = installed.admin
    admin.sh("systemctl start nginx")
    nginx = admin.sh("systemctl show -P MainPID nginx")
    site = {"address": admin.address, "services": "systemd", "engine": "none"}
    admin.put("/root/site.yaml", yaml.safe_dump(site))
    admin.run(["bundler", "install", _BUNDLE, "--site", "/root/site.yaml"])
    assert "rootfs" in admin.sh("systemctl show -P ExecStart bundler-registry")
    assert admin.sh("podman ps --quiet").strip() == ""
    _nobody_else_gets_at_them(admin)
    test_units_are_sound(installed, "bundler-registry.service")
    node = installed.machines["node1"]
    node.sh(f"curl -fsS {installed.url}/nodes/setup.sh | sh")
    assert "FAIL" not in node.sh(f"curl -fsS {installed.url}/nodes/check.sh | sh")
    assert "Welcome to nginx" in admin.sh("curl -fsS -H 'Host: other.example' http://127.0.0.1/")
    admin.run(["bundler", "services", "stop"])
    assert "Welcome to nginx" in admin.sh("curl -fsS http://127.0.0.1/")
    admin.sh("sh /opt/bundler/uninstall.sh --purge")
    assert snapshot(admin, "/etc", "/usr/local", "/opt", "/var/lib/systemd/linger") == bare
    assert admin.sh("ls -A /data 2>/dev/null || true").strip() == ""
    assert admin.sh("systemctl show -P MainPID nginx") == nginx
    admin.sh("systemctl stop nginx")


def test_install_sh_takes_its_packages_from_the_bundle_alone(world: World) -> None:
    """The way of a host whose own Python is too old: dnf, with no repository but the bundle's, signatures checked."""
    host = world.machines["rocky"]
    host.sh(f"cd /root && tar xf {_USB}/rocky-1.tar --strip-components=1 rocky-1/bootstrap/install.sh")
    said = host.sh(f"cd /root && sh bootstrap/install.sh {_USB}/rocky-1.tar --key {_KEY} --address {host.address}")
    assert "installing from the bundle: python3.13 nginx podman policycoreutils-python-utils" in said
    for name in ("python3.13", "mpdecimal", "nginx", "podman"):
        assert "From repo    : bundle-" in host.sh(f"dnf --disablerepo='*' info {name}")
    assert "gpg-pubkey" in host.sh("rpm -qa gpg-pubkey*")
    assert host.sh("ls /etc/yum.repos.d").split() == ["Rocky-BaseOS.repo"]
    assert host.sh("ls -d /var/tmp/bundler* 2>/dev/null || true") == ""
    assert {service["running"] for service in status(host)["services"]} == {True}
    again = host.sh(f"cd /root && sh bootstrap/install.sh {_USB}/rocky-1.tar --key {_KEY}")
    assert "installing from" not in again
    host.sh("sh /opt/bundler/uninstall.sh --purge")


def test_install_sh_says_all_that_is_wrong_at_once(world: World) -> None:
    host = world.machines["rocky"]
    host.sh(
        "mkdir -p /small && mount -t tmpfs -o size=1m tmpfs /small\n"
        "systemd-run --quiet --unit=squatter python3 -m http.server 80\n"
        "for try in $(seq 50); do [ -n \"$(ss -Hltn 'sport = :80')\" ] && break; sleep 0.1; done"
    )
    host.sh(f"rm -rf /root/bootstrap && cd /root && tar xf {_BUNDLE} --strip-components=1 base-1/bootstrap/install.sh")
    before = snapshot(host, "/etc", "/opt", "/usr/local")
    command = f"cd /root && sh bootstrap/install.sh {_BUNDLE} --unverified --address {host.address} --root /small/site"
    done = host.run(["sh", "-c", command], check=False)
    assert done.returncode == SiteError.exit_code
    for problem in (
        "admin host is debian 13, and this machine is rocky 9.6",
        "port 80 is taken",
        "/small has 1 MiB free and needs",
    ):
        assert problem in done.stderr
    assert snapshot(host, "/etc", "/opt", "/usr/local") == before
    host.sh("systemctl stop squatter; umount /small")


@pytest.mark.parametrize("script", ["install.sh", "uninstall.sh"])
def test_the_scripts_are_clean(world: World, tmp_path: Path, script: str) -> None:
    text = world.admin.sh(f"tar xOf {_BUNDLE} base-1/bootstrap/{script}")
    (tmp_path / script).write_text(text)
    HERE.run(["shellcheck", "--shell=sh", str(tmp_path / script)])
