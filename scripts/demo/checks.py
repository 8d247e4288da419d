"""What must be true of a bundle, a site and a node. Each check runs a real client, and raises when it is not so."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts.demo.hosts import HERE, CommandError
from scripts.demo.journey import PROFILE, Journey, bundler
from scripts.demo.node import Node

_REQUIREMENTS = Path("profiles/demo/requirements.txt")
_PACKAGES = ("socat", "conntrack-tools")
_KUBEADM = "dl.k8s.io/release/v1.35.4/bin/linux/amd64/kubeadm"


@dataclass(frozen=True)
class Check:
    """A title for the table, and the work, which tells what it saw. `needs_root`: why it does, or ""."""

    title: str
    work: Callable[[Journey], str]
    needs_root: str = ""

    def left_out(self, journey: Journey) -> str:
        """Why this check cannot run here; empty when it can."""
        return "" if journey.gap else self.needs_root


def verify(journey: Journey) -> str:
    """bundler reads every byte."""
    answer = json.loads(bundler(HERE, "verify", journey.bundle, "--json").stdout)
    assert answer["intact"], answer
    return f"{answer['objects']} objects, id {answer['id'][:12]}…"


def sha256sums(journey: Journey) -> str:
    """coreutils read every byte, without bundler."""
    printed = HERE.run(["sh", "-c", 'cd "$1" && sha256sum -c SHA256SUMS', "sh", str(journey.unpacked)]).stdout
    lines = printed.splitlines()
    assert lines, "SHA256SUMS lists nothing"
    return f"{len(lines)} files"


def skopeo_reads(journey: Journey) -> str:
    """skopeo reads every image in the unpacked OCI layout by its name."""
    layout = journey.unpacked / "images"
    names = _images(journey)
    for name in names:
        HERE.run(["skopeo", "inspect", "--raw", f"oci:{layout}:{name}"])
    return f"{len(names)} images"


def pip_finds_links(journey: Journey) -> str:
    """pip resolves the whole requirement list from the unpacked wheels/ alone."""
    options = ["--no-index", "--find-links", str(journey.unpacked / "wheels"), "--dry-run", "--quiet", "--report", "-"]
    printed = journey.node.pip("from-folder", "install", *options, "--requirement", str(_REQUIREMENTS.absolute()))
    return f"{len(json.loads(printed)['install'])} wheels"


def dnf_installs_from_folder(journey: Journey) -> str:
    """dnf installs from the unpacked rpms/ alone, signatures checked, on a machine that knows no site."""
    folders = sorted(path.parent for path in (journey.unpacked / "rpms").rglob("repodata"))
    assert folders, "no repository in rpms/"
    keys = " ".join(key.as_uri() for key in sorted((journey.unpacked / "keys").iterdir()))
    options = []
    for folder in folders:
        name = f"unpacked-{folder.name}"
        options += [f"--repofrompath={name},{folder.as_uri()}"]
        options += [f"--setopt={name}.gpgcheck=1", f"--setopt={name}.gpgkey={keys}"]
    machine = Node(journey.node.host, journey.work / "machine")
    machine.prepare(journey.internet.node_base)
    machine.dnf(*options, "--repo=unpacked-*", "install", *_PACKAGES)
    return f"{', '.join(machine.installed(*_PACKAGES))} from {len(folders)} folders"


def no_way_out(journey: Journey) -> str:
    """The node reaches the site's network only: the internet on the machine's own loopback is not there."""
    for host in (journey.site.host, journey.node.host):
        routes = host.run(["ip", "route"]).stdout.splitlines()
        assert len(routes) == 1, f"{host.name} has other routes: {routes}"
        answered = host.run(["curl", "--silent", "--max-time", "3", journey.internet.url], check=False).returncode == 0
        assert not answered, f"{host.name} reaches {journey.internet.url}"
    return "one route each, and it leads to the other"


def second_install(journey: Journey) -> str:
    """Installing once more changes nothing, and says so."""
    answer = journey.site.install(journey.bundle)
    assert answer["changed"] is False, answer
    assert answer["objects_written"] == 0, answer
    return "nothing changed"


def unsigned_is_refused(journey: Journey) -> str:
    """The site takes nothing that nobody vouches for: the same bundle without its signature."""
    alone = journey.work / "unsigned" / journey.bundle.name
    alone.parent.mkdir(exist_ok=True)
    alone.hardlink_to(journey.bundle)
    done = bundler(journey.site.host, "install", alone, *journey.site.options, check=False)
    assert done.returncode == 12, f"exit code {done.returncode}: {done.stderr}"
    return done.stderr.splitlines()[-2].removeprefix("error: ").replace(str(alone), alone.name)


def repolist(journey: Journey) -> str:
    """dnf sees the site's repositories, and no other."""
    lines = journey.node.dnf("repolist", "--quiet").splitlines()[1:]
    names = [line.split()[0] for line in lines if line.strip()]
    assert names, "no repository"
    assert all(name.startswith(f"{PROFILE}-") for name in names), names
    return ", ".join(names)


def makecache(journey: Journey) -> str:
    """dnf takes the metadata."""
    journey.node.dnf("makecache", "--refresh")
    return "metadata taken"


def dnf_installs(journey: Journey) -> str:
    """dnf installs what the profile names, each signature checked."""
    configured = journey.node.run(["sh", "-c", "cat /etc/yum.repos.d/*.repo"]).splitlines()
    assert "gpgcheck=1" in configured, configured
    # No repository of the node may be taken unchecked.
    assert "gpgcheck=0" not in configured, configured
    journey.node.dnf("install", *_PACKAGES)
    return f"{', '.join(journey.node.installed(*_PACKAGES))} with gpgcheck=1"


def dnf_info(journey: Journey) -> str:
    """dnf knows which of the site's repositories an installed package came from."""
    printed = journey.node.dnf("info", "--installed", _PACKAGES[0])
    origin = [line.partition(":")[2].strip() for line in printed.splitlines() if line.startswith("From repo")]
    assert origin, printed
    assert origin[0].startswith(f"{PROFILE}-"), printed
    return f"{_PACKAGES[0]} from {origin[0]}"


def pull_by_site_name(journey: Journey) -> str:
    """podman pulls every image under the site's name."""
    return _pull(journey, [f"{journey.site.registry}/{_path(name)}" for name in _images(journey)])


def pull_by_original_name(journey: Journey) -> str:
    """podman pulls every image under its upstream's name, as unmodified manifests do."""
    return _pull(journey, _images(journey))


def containerd_pulls(journey: Journey) -> str:
    """containerd fetches every image under its upstream's name, by the hosts.toml that the site made."""
    names = _images(journey)
    for name in names:
        journey.node.containerd_pull(name)
    return f"{len(names)} images, {names[0]} …"


def pip_installs(journey: Journey) -> str:
    """pip installs ansible from devpi into a fresh virtual environment, and it runs."""
    journey.node.pip("ansible", "install", "--quiet", "--requirement", str(_REQUIREMENTS.absolute()))
    program = journey.node.folder / "venv" / "ansible" / "bin" / "ansible"
    return journey.node.run([str(program), "--version"]).splitlines()[0]


def curl_fetches(journey: Journey) -> str:
    """A file comes as upstream had it: upstream's own checksum file says so."""
    url = f"{journey.url}/files/{_KUBEADM}"
    file = journey.work / "kubeadm"
    journey.node.curl(url, file)
    promised = journey.node.curl(f"{url}.sha256").split()[0]
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    assert found == promised, f"{url}: sha256 {found}, upstream says {promised}"
    return f"kubeadm, sha256 {found[:12]}…"


def read_only_front(journey: Journey) -> str:
    """A node can write neither to the registry nor to the index."""
    for method, url in (
        ("POST", f"{journey.site.scheme}://{journey.site.registry}/v2/library/alpine/blobs/uploads/"),
        ("PUT", f"{journey.site.scheme}://{journey.site.registry}/v2/library/alpine/manifests/evil"),
    ):
        options = ["--silent", "--output", os.devnull, "--write-out", "%{http_code}", "--max-time", "10"]
        code = journey.node.run(["curl", *options, "--request", method, "--data", "", url])
        assert code.startswith("4"), f"{method} {url} was answered {code}"
    return "refused"


def check_script(journey: Journey) -> str:
    """The site's own proof, as an operator runs it on a node: no check of it fails."""
    script = 'curl -fsS --netrc-optional "$1" | sh'
    printed = journey.node.run(["sh", "-c", script, "sh", f"{journey.url}/nodes/check.sh"])
    verdicts = [line.split()[0] for line in printed.splitlines() if line and not line[0].isspace()]
    return f"{verdicts.count('ok')} ok, {verdicts.count('skipped')} skipped"


CHECKS = (
    Check("bundle: bundler verify", verify),
    Check("bundle: sha256sum -c SHA256SUMS", sha256sums),
    Check("bundle: skopeo inspect oci:images", skopeo_reads),
    Check("bundle: pip --no-index --find-links wheels", pip_finds_links),
    Check("bundle: dnf --repofrompath rpms", dnf_installs_from_folder, "dnf installs as root only"),
    Check("site: no way out", no_way_out, "network namespaces take root"),
    Check("site: installing again changes nothing", second_install),
    Check("site: a bundle that nobody signed is refused", unsigned_is_refused),
    Check("site: read-only for nodes", read_only_front),
    Check("node: dnf repolist", repolist),
    Check("node: dnf makecache", makecache),
    Check("node: dnf install", dnf_installs, "dnf installs as root only"),
    Check("node: dnf info", dnf_info, "nothing was installed"),
    Check("node: pull images, the site's names", pull_by_site_name),
    Check("node: pull images, the original names", pull_by_original_name),
    Check("node: containerd, the original names", containerd_pulls, "containerd runs as root only"),
    Check("node: pip install ansible", pip_installs),
    Check("node: curl a file, compare its checksum", curl_fetches),
    Check("node: the site's check.sh", check_script, "setup.sh, which goes first, takes root"),
)


@dataclass(frozen=True)
class Outcome:
    """How a check ended: `verdict` is `ok`, `FAIL` or `left out`."""

    title: str
    verdict: str
    detail: str


def run(check: Check, journey: Journey) -> Outcome:
    """Run a check; a failure is an outcome, not an exception, so that the others run too."""
    if why := check.left_out(journey):
        return Outcome(check.title, "left out", why)
    try:
        return Outcome(check.title, "ok", check.work(journey))
    except (AssertionError, CommandError, OSError, ValueError, KeyError, IndexError) as problem:
        return Outcome(check.title, "FAIL", f"{type(problem).__name__}: {problem}")


def _images(journey: Journey) -> list[str]:
    items = journey.manifest()["items"]
    return [item["attributes"]["reference"] for item in items if item["kind"] == "images"]


def _pull(journey: Journey, names: list[str]) -> str:
    tools = {journey.node.pull(name) for name in names}
    return f"{len(names)} images with {', '.join(tools)}, {names[0]} …"


def _path(name: str) -> str:
    """An image's name without its registry's host."""
    return name.partition("/")[2]
