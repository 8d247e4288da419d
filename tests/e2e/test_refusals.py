"""From a node nothing can be written: not by real clients, nor by requests that none sends; with TLS or without."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from scripts.demo.hosts import HERE
from scripts.demo.journey import PROFILE, Journey

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.slow, pytest.mark.xdist_group("whole path")]

_METHODS = (
    *("PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE"),
    *("MKCOL", "COPY", "MOVE", "PROPFIND", "PROPPATCH", "LOCK", "UNLOCK"),
    *("get", "FROB"),
)
# Ways out of what is published: to releases that are not, to what lies beside the web root, to the backends' own pages.
_TRICKS = (
    "/../services/registry/secret",
    "/..%2fservices/registry/secret",
    "/%2e%2e/services/registry/config.yml",
    f"/{PROFILE}/../../tls/ca.key",
    f"/{PROFILE}//..//..//tls/server.key",
    f"/{PROFILE}/..%252f..%252ftls/ca.key",
    f"/{PROFILE}/..\\..\\tls\\ca.key",
    f"/{PROFILE}%00/../../tls/ca.key",
    "/.releases/",
    "/.staging/",
    "/.before/",
    "/.published/.catalog.json",
    "/%2epublished/.index/",
    "/%2ereleases/",
    "/./.releases/",
    "//.releases/",
    "/.lock",
    "/site.yaml",
    "/devpi/.secret",
)


@pytest.fixture(params=["http", "https"])
def there(request: pytest.FixtureRequest) -> Journey:
    way: Journey = request.getfixturevalue("way" if request.param == "http" else "sealed_way")
    if not way.gap:
        pytest.skip("network namespaces take root")
    return way


def fronts(way: Journey) -> dict[str, str]:
    root = f"{way.site.scheme}://{way.site.address}"
    return {"web": root, "registry": f"{root}:5000", "index": f"{root}:3141"}


def curl(way: Journey, *arguments: str) -> str:
    """What the node's curl is answered: the status."""
    trust = ["--cacert", str(way.site.ca)] if way.site.ca else []
    argv = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--max-time", "20", *trust]
    argv.append("--netrc-optional")
    return way.node.host.run([*argv, *arguments], check=False).stdout


def contents(way: Journey) -> dict[str, tuple[int, int]]:
    """Every file of the site's data, with its size and when it changed; logs and devpi's clock are nobody's writing."""
    found = {}
    for part in ("repos", "registry", "devpi/+files", "tls"):
        for path in sorted((way.site.root / part).rglob("*")):
            state = path.lstat()
            found[str(path)] = (state.st_size, state.st_mtime_ns)
    return found


def test_no_method_but_get(there: Journey) -> None:
    before = contents(there)
    paths = {
        "web": [f"/{PROFILE}/evil", f"/{PROFILE}/nodes/setup.sh", "/"],
        "registry": ["/v2/evil/blobs/uploads/", "/v2/library/alpine/manifests/3.11", "/v2/"],
        "index": ["/+login", "/root/prod", "/root/prod/", "/root/evil", "/user"],
    }
    for store, url in fronts(there).items():
        for method in _METHODS:
            for path in paths[store]:
                answer = curl(there, "--request", method, "--data-binary", "evil", f"{url}{path}")
                assert answer in ("405", "400"), (method, url, path, answer)
    # A method that another header names does not count either.
    for header in ("X-HTTP-Method-Override: DELETE", "X-HTTP-Method: PUT", "X-Method-Override: PUT"):
        curl(there, "--header", header, f"{fronts(there)['registry']}/v2/library/alpine/manifests/3.11")
        curl(there, "--header", header, f"{fronts(there)['index']}/root/prod")
    # Nor is what is asked for in a form that nobody stored made and kept.
    curl(there, f"{fronts(there)['registry']}/v2/library/alpine/manifests/3.11")
    assert contents(there) == before


@pytest.mark.parametrize("path", _TRICKS)
def test_no_path_leads_out(there: Journey, path: str) -> None:
    answer = curl(there, "--path-as-is", f"{fronts(there)['web']}{path}")
    assert answer in ("400", "403", "404"), answer


@pytest.mark.parametrize("path", ["/metrics", "/debug/vars", "/v2/../metrics", "/v2/..%2fdebug/pprof", "/"])
def test_of_the_registry_only_its_api_is_there(there: Journey, path: str) -> None:
    assert curl(there, "--path-as-is", f"{fronts(there)['registry']}{path}") in ("400", "404")


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/root", "/root/", "/root/prod", "/root/prod/", "/root/prod/+api", "/+status", "/+search", "/+login"),
        *("/root/prod/ansible", "/root/prod/ansible/1.0", "/root/base-1/", "/root/prod/+simple/../../base-1"),
        *("/root/prod/%2e%2e/", "/root%2fprod%2f", "/root/prod//", "/root/prod/+Simple/", "/root/nothing/+simple/"),
    ],
)
def test_of_the_index_only_published_pages_are_there(there: Journey, path: str) -> None:
    url = f"{fronts(there)['index']}{path}"
    assert curl(there, "--path-as-is", url) == "404"
    assert curl(there, "--path-as-is", "--user-agent", "pip/26.0", url) == "404", "devpi has pages of its own for pip"
    assert curl(there, f"{fronts(there)['index']}/root/prod/+simple/") == "200"


def test_the_release_is_at_its_versioned_address_too(there: Journey) -> None:
    web = fronts(there)["web"]
    version = json.loads((there.site.root / "repos" / PROFILE / "manifest.json").read_bytes())["version"]
    for path in ("/manifest.json", "/nodes/setup.sh", "/rpms/"):
        assert curl(there, f"{web}/{PROFILE}@{version}{path}") == "200"
    for path in (f"/{PROFILE}@0/", f"/{PROFILE}@", "/.published/", f"/{PROFILE}@{version}/../.index/", "/@/", "/..@/"):
        assert curl(there, "--path-as-is", f"{web}{path}") == "404", path


def test_podman_cannot_push(there: Journey) -> None:
    image = f"{there.site.registry}/library/alpine:3.11"
    there.node.run(["podman", "pull", "--quiet", image])
    there.node.run(["podman", "tag", image, f"{there.site.registry}/evil/alpine:3.11"])
    for name in (f"{there.site.registry}/evil/alpine:3.11", image):
        pushed = there.node.host.run([str(there.node.folder / "bin" / "podman"), "push", name], check=False)
        assert pushed.returncode != 0
        assert "405" in pushed.stderr
    assert curl(there, f"{fronts(there)['registry']}/v2/evil/alpine/tags/list") == "404"


def test_devpi_can_neither_log_in_nor_upload(there: Journey, tmp_path: Path) -> None:
    client = str(Path(sys.executable).with_name("devpi"))
    known = ["--clientdir", str(tmp_path / "client")]
    trust = {"REQUESTS_CA_BUNDLE": str(there.site.ca)} if there.site.ca else {}

    def devpi(*words: str) -> tuple[int, str]:
        done = there.node.host.run([client, words[0], *known, *words[1:]], env=trust, check=False)
        return done.returncode, done.stdout + done.stderr

    assert devpi("use", fronts(there)["index"])[0] == 0
    # Even with the right password.
    password = next(iter((there.site.root / "devpi").glob("*password*"))).read_text().strip()
    code, said = devpi("login", "root", "--password", password)
    assert code != 0
    assert "405" in said
    for words in (("user", "-c", "evil", "password=evil"), ("index", "-c", "root/evil")):
        code, said = devpi(*words)
        assert code != 0 or "405" in said, said
    wheel = next((there.unpacked / "wheels").glob("*.whl"))
    url = f"{fronts(there)['index']}/root/prod/"
    form = ["--form", ":action=file_upload", "--form", "name=evil", "--form", "version=1"]
    assert curl(there, *form, "--form", f"content=@{wheel}", "--user", f"root:{password}", url) == "405"


def test_nothing_but_nginx_has_a_port(there: Journey) -> None:
    """What takes writes listens on sockets: on this host too nobody writes who is neither bundler nor nginx."""
    listening = there.site.host.run(["ss", "-Hltn"]).stdout
    ports = {int(line.split()[3].rpartition(":")[2]) for line in listening.splitlines()}
    assert ports == {443 if there.site.ca else 80, 5000, 3141}
    for service in ("registry", "devpi"):
        guard = there.site.root / "run" / service
        assert (guard / "socket").is_socket()
        assert (guard.stat().st_mode & 0o7777, guard.stat().st_uid == 0) == (0o2750, False)


def test_listings_show_what_is_published_and_no_more(there: Journey) -> None:
    trust = ["--cacert", str(there.site.ca)] if there.site.ca else []
    page = there.node.host.run(["curl", "--silent", "--netrc-optional", *trust, f"{fronts(there)['web']}/"]).stdout
    assert re.findall(r'href="([^"]+)"', page) == ["../", f"{PROFILE}/"]


def test_secrets_are_in_no_process_list_log_or_published_file(there: Journey) -> None:
    secrets = [
        path.read_text().strip()
        for path in ((there.site.root / "services/registry/secret"), *(there.site.root / "devpi").glob("*password*"))
    ]
    if there.site.netrc:
        secrets.append((there.site.root / "login/password").read_text().strip())
    assert all(len(secret) >= 20 for secret in secrets)
    seen = HERE.run(["sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"]).stdout
    logs = [path for path in (there.site.root / "services").rglob("*") if path.is_file() and "log" in path.name]
    assert logs
    for secret in secrets:
        assert secret not in seen
        for path in (*logs, *(there.site.root / "repos").rglob("*.*")):
            if path.is_file() and path.stat().st_size < 4 << 20:
                assert secret.encode() not in path.read_bytes(), path
