"""A site that asks for a log-in: who has it reads with every client (test_tls does), and nobody else reads anything."""

from __future__ import annotations

import base64
import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.demo.hosts import CommandError
from scripts.demo.journey import PROFILE, Journey, bundler

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.slow, pytest.mark.xdist_group("whole path")]


@pytest.fixture
def without(sealed_way: Journey) -> Iterator[Journey]:
    """The node as it is with the CA and all of the site's files, but without what it logs in with."""
    node = sealed_way.node
    printed = node.run(["sh", "-c", "ls -d /etc/bundler/*.netrc /etc/dnf/vars/*_password ~/.netrc ~/.config"])
    places = printed.split()
    assert len(places) == 4
    hosts = node.run(["sh", "-c", "grep -l Authorization /etc/containerd/certs.d/*/hosts.toml"]).split()
    for place in places:
        node.run(["mv", place, f"{place}.away"])
    for place in hosts:
        node.run(["sh", "-c", 'cp -p "$1" "$1.away" && sed -i "/header\\|Authorization/d" "$1"', "sh", place])
    yield sealed_way
    for place in (*places, *hosts):
        node.run(["mv", f"{place}.away", place])


def urls(way: Journey) -> list[str]:
    root = f"https://{way.site.address}"
    web = [f"{root}/", f"{way.url}/", f"{way.url}/nodes/setup.sh", f"{way.url}/manifest.json", f"{root}/.before/"]
    registry = ["/v2/", "/v2/_catalog", "/v2/library/alpine/manifests/3.11"]
    index = ["/", "/+api", "/root/prod/", "/root/prod/+simple/", "/root/prod/+simple/ansible/"]
    return [*web, *(f"{root}:5000{path}" for path in registry), *(f"{root}:3141{path}" for path in index)]


def status(way: Journey, *arguments: str) -> str:
    argv = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--max-time", "20"]
    return way.node.host.run([*argv, *arguments], check=False).stdout


def test_curl_is_asked_on_all_three(sealed_way: Journey) -> None:
    root_of_devpi = next((sealed_way.site.root / "devpi").glob("*password*")).read_text().strip()
    for url in urls(sealed_way):
        expected = "404" if "/." in url else "401"
        assert status(sealed_way, url) == expected
        for login in ("nodes:wrong", "nodes:", f"root:{root_of_devpi}"):
            assert status(sealed_way, "--user", login, url) == expected
        token = base64.b64encode(f"root:{root_of_devpi}".encode()).decode()
        assert status(sealed_way, "--header", f"X-Devpi-Auth: {token}", url) == expected
        assert status(sealed_way, "--netrc", url) in ("200", "404")


def test_dnf_is_refused(without: Journey) -> None:
    refused = without.node.host.run([str(without.node.folder / "bin" / "dnf"), "--refresh", "makecache"], check=False)
    # dnf goes on without repositories that it cannot have, as long as nothing is asked for that is in them.
    assert "Status code: 401" in refused.stderr
    assert f"Ignoring repositories: {PROFILE}-" in refused.stderr


def test_podman_is_refused(without: Journey) -> None:
    for name in (f"{without.site.registry}/library/alpine:3.11", "docker.io/library/alpine:3.11"):
        refused = without.node.host.run([str(without.node.folder / "bin" / "podman"), "pull", name], check=False)
        assert refused.returncode != 0
        assert re.search("401|authentication required|unauthorized", refused.stderr), refused.stderr


def test_containerd_is_refused(without: Journey) -> None:
    with pytest.raises(CommandError, match="401"):
        without.node.containerd_pull("docker.io/library/alpine:3.11")


def test_pip_is_refused(without: Journey, tmp_path: Path) -> None:
    options = ["download", "--no-deps", "--no-cache-dir", "--dest", str(tmp_path), "ansible"]
    with pytest.raises(CommandError, match="No matching distribution found for ansible"):
        without.node.pip("refused", "--no-input", *options)


def test_set_up_without_it_says_what_is_wanted(without: Journey) -> None:
    nodes = without.site.root / "repos" / PROFILE / "nodes"
    done = without.node.host.run(["sh", str(nodes / "setup.sh")], check=False)
    assert done.returncode == 1
    assert "the site asks for a log-in" in done.stderr
    assert "BUNDLER_NETRC=FILE" in done.stderr


def test_secrets_of_a_node_are_for_its_root_alone(sealed_way: Journey) -> None:
    password = (sealed_way.site.root / "login/password").read_text().strip()
    basic = base64.b64encode(f"nodes:{password}".encode()).decode()
    found = sealed_way.node.run(["grep", "-rlF", "-e", password, "-e", basic, "/etc", "/var/lib"]).split()
    home = sealed_way.node.run(["sh", "-c", "echo ~/.netrc ~/.config/containers/auth.json"]).split()
    assert len(found) > 3
    for path in (*found, *home):
        assert sealed_way.node.run(["stat", "-c", "%a", path]).strip() == "600", path


def test_what_the_site_keeps_of_it(sealed_way: Journey) -> None:
    folder = sealed_way.site.root / "login"
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert modes == {"password": 0o600, "netrc": 0o600, "htpasswd": 0o640}
    password = (folder / "password").read_text().strip()
    assert password not in (folder / "htpasswd").read_text()
    published = sealed_way.node.host.run(["grep", "-rlF", password, str(sealed_way.site.root / "repos")], check=False)
    assert published.stdout == ""


def test_a_later_install_keeps_it(sealed_way: Journey) -> None:
    folder = sealed_way.site.root / "login"
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}
    sealed_way.site.install(sealed_way.bundle)
    assert {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()} == before


def doctor(way: Journey, *options: str) -> dict[str, tuple[str, str]]:
    done = bundler(way.site.host, "doctor", "--root", way.site.root, "--json", *options, check=False)
    return {each["check"]: (each["state"], each["said"]) for each in json.loads(done.stdout)["findings"]}


def test_doctor_reads_as_nodes_do(sealed_way: Journey) -> None:
    found = doctor(sealed_way, "--all")
    assert [(check, said) for check, (state, said) in found.items() if state != "ok"] == []


def test_doctor_sees_a_door_that_does_not_ask(sealed_way: Journey) -> None:
    """As an nginx would be that somebody changed by hand."""
    folder = sealed_way.site.root / "services/nginx"
    conf = folder / "nginx.conf"
    asking = conf.read_text()
    conf.write_text(asking.replace("auth_basic ", "# auth_basic "))
    signal = ["kill", "-HUP", (folder / "pid").read_text().strip()]
    sealed_way.site.host.run(signal)
    try:
        sealed_way.site.host.run(["sleep", "1"])
        found = doctor(sealed_way)
        for store in ("web", "registry", "index"):
            state, said = found[f"door {store}"]
            assert state == "failed"
            assert "asks for no log-in" in said
    finally:
        conf.write_text(asking)
        sealed_way.site.host.run(signal)
        sealed_way.site.host.run(["sleep", "1"])
    assert doctor(sealed_way)["door web"][0] == "ok"
