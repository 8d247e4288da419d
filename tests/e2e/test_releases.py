"""A bundle every month: each release beside the last one, forward and back again, and the old ones pruned away.

A client asks all three services without pause while the site changes: no answer fails, and none is neither the old nor
the new one.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import yaml

from bundler.bundle.reader import Bundle
from bundler.errors import BundleError, IntegrityError, ProfileError, SiteError, TrustError
from scripts.demo.hosts import HERE
from scripts.demo.internet import Internet
from scripts.demo.journey import Site, bundler, site
from tests.e2e.story import SIZE, Months, a_client, repository, run, seen, size_of

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.timeout(300)
def test_a_month(months: Months, there: Site, tmp_path: Path) -> None:
    """v1 is there; v2 crosses as a signed difference in three volumes; back, forward, and what is old is pruned."""
    states = {version: (version, months.digest(version), f"{version}.0", version) for version in months.bundles}
    there.install(months.bundles["1"])
    assert seen(there) == states["1"]
    receipt = tmp_path / "receipt.json"
    run(there, "receipt", "--output", receipt)

    index = months.delta("2", receipt, tmp_path / "disk", "--split", "7M")
    volumes = sorted(index.parent.glob("*.tar.0*"))
    assert len(volumes) == 3
    known = set(json.loads(receipt.read_text())["objects"])
    with Bundle(index) as opened:
        assert not known & {obj.sha256 for obj in opened.layout.payload}
        assert {obj.path.split("/")[0] for obj in opened.layout.left_out} == {"images", "rpms"}
    _approve(months, index, tmp_path / "report")
    # From now on the site takes what the release manager has signed, and nothing else.
    key = tmp_path / "release.key"
    bundler(HERE, "key", "new", key)
    config = yaml.safe_load((there.root / "site.yaml").read_text())
    (there.root / "site.yaml").write_text(yaml.safe_dump({**config, "trusted_keys": [f"{key}.pub"]}))
    done = bundler(HERE, "install", index, "--root", there.root, check=False)
    assert done.returncode == TrustError.exit_code
    done = bundler(HERE, "sign", index, "--key", key, check=False)
    assert "is a delta" in done.stderr  # what it leaves out cannot be checked
    whole = months.bundles["2"]
    bundler(HERE, "sign", whole, "--key", key)
    signature = whole.with_name(f"{whole.name}.sig.json").rename(tmp_path / "signature.json")

    damaged = bytearray(volumes[1].read_bytes())
    good = bytes(damaged)
    damaged[5_000_000] ^= 1
    volumes[1].write_bytes(damaged)
    done = bundler(HERE, "install", index.parent, "--signature", signature, "--root", there.root, check=False)
    assert done.returncode == IntegrityError.exit_code
    assert f"volume {volumes[1].name} is damaged" in done.stderr
    assert seen(there) == states["1"]

    volumes[1].write_bytes(good)
    with a_client(there) as client:
        installed = run(there, "install", volumes[2], "--signature", signature)  # any of them will do
        assert seen(there) == states["2"]
        assert run(there, "rollback", "story")["version"] == "1"
        assert seen(there) == states["1"]
        run(there, "rollback", "story", "2")
        run(there, "rollback", "story", "1")
        run(there, "rollback", "story")
        assert seen(there) == states["2"]
        second, first = run(there, "releases", "story")["releases"]
        assert [(second["version"], second["current"]), (first["version"], first["current"])] == [
            ("2", True),
            ("1", False),
        ]
        assert 0 < first["alone"] < first["size"]
        pruned = run(there, "prune", "--keep", "1")
        assert [release["version"] for release in pruned["deleted"]] == ["1"]
        # All of it is there, though the release that brought some of it is gone.
        run(there, "rollback", "story", "2")
        assert seen(there) == states["2"]
    assert client.errors == []
    assert client.rounds > 20
    for part, allowed in enumerate(zip(states["1"], states["2"], strict=True)):
        assert {answer[part] for answer in client.answers} <= set(allowed)
    assert installed["id"] == json.loads(bundler(HERE, "inspect", months.bundles["2"], "--json").stdout)["id"]
    assert installed["bytes_written"] < 5 * SIZE  # only what is new
    (tmp_path / "alone").mkdir()
    with site(HERE, tmp_path / "alone", own_ports=False) as alone:
        alone.install(months.bundles["2"])
        assert size_of(there) <= 1.05 * size_of(alone)


def _approve(months: Months, index: Path, folder: Path) -> None:
    """What the one who approves is shown: what changes, in a page and in words."""
    changes = json.loads(bundler(HERE, "diff", months.bundles["1"], index, "--json").stdout)["changes"]
    shown = {(change["what"], change["kind"], change["name"]) for change in changes}
    assert {("changed", "wheels", "thing"), ("changed", "rpms", "story-tool")} <= shown
    assert not [name for _, _, name in shown if name == "story-lib"]
    bundler(HERE, "inspect", index, "--report", folder, "--since", months.bundles["1"])
    assert "story-tool" in (folder / "report.html").read_text()


def test_packages_of_the_release_before_are_there_until_clients_read_again(months: Months, there: Site) -> None:
    """A node's dnf knows what was there when it last asked, and asks every few minutes."""
    there.install(months.bundles["1"])
    base = f"{there.web}/story/rpms/rocky/9/own"
    before = [f"{base}/{path}" for path in repository(base)]
    there.install(months.bundles["2"])
    after = [f"{base}/{path}" for path in repository(base)]
    assert set(before) != set(after)
    for url in (*before, *after):
        assert requests.get(url, timeout=10).status_code == 200, url
    assert "story-tool-1-1" not in requests.get(f"{base}/Packages/", timeout=10).text, "but it is not listed"
    for path in ("/.before/", "/.before/story/rpms/rocky/9/own/repodata/repomd.xml", "/story/files/gone.xml"):
        assert requests.get(f"{there.web}{path}", timeout=10).status_code == 404
    run(there, "prune", "--keep", "1")
    gone = {url for url in before if requests.get(url, timeout=10).status_code == 404}
    assert gone == set(before) - set(after)


def test_a_difference_to_nothing_is_nothing(months: Months, there: Site, tmp_path: Path) -> None:
    there.install(months.bundles["1"])
    run(there, "receipt", "--output", tmp_path / "receipt.json")
    delta = months.delta("1", tmp_path / "receipt.json", tmp_path / "out")
    with Bundle(delta) as opened:
        # An index has no place for requirements files, so the site has not got that.
        assert [obj.path for obj in opened.layout.payload] == ["wheels/requirements-3.12.txt"]
        head = sum(map(len, opened.layout.head.values())) + sum(obj.size for obj in opened.manifest.documents)
    assert delta.stat().st_size - head < 1_000_000
    assert there.install(delta)["changed"] is False


def test_a_site_that_lacks_what_is_left_out_says_so_first(months: Months, there: Site, tmp_path: Path) -> None:
    there.install(months.bundles["1"])
    run(there, "receipt", "--output", tmp_path / "receipt.json")
    delta = months.delta("2", tmp_path / "receipt.json", tmp_path / "out")
    run(there, "uninstall", "story", "--purge")
    done = bundler(HERE, "install", delta, *there.options, check=False)
    assert done.returncode == SiteError.exit_code
    assert "leaves out what is missing on this site: images/blobs/sha256/" in done.stderr
    assert not (there.root / "repos" / "story").exists()


@pytest.mark.timeout(300)
def test_what_is_pruned_leaves_no_bytes(months: Months, there: Site, tmp_path: Path) -> None:
    for version in ("1", "2", "3"):
        there.install(months.bundles[version])
    pruned = run(there, "prune", "--keep", "2")
    assert [release["version"] for release in pruned["deleted"]] == ["1"]
    run(there, "rollback", "story")  # to 2: all of it is still there
    assert seen(there)[0] == "2"
    run(there, "rollback", "story", "3")
    pruned = run(there, "prune", "story", "--keep", "1")
    assert [release["version"] for release in pruned["deleted"]] == ["2"]
    assert seen(there) == ("3", months.digest("3"), "3.0", "3")

    (tmp_path / "alone").mkdir()
    with site(HERE, tmp_path / "alone", own_ports=False) as alone:
        alone.install(months.bundles["3"])
        assert size_of(there) <= 1.05 * size_of(alone)
    assert run(there, "prune") == {"deleted": []}


@pytest.mark.timeout(300)
def test_a_bundle_comes_through_a_pipe(months: Months, there: Site, tmp_path: Path) -> None:
    """As out of a diode: nothing is sent again, nothing is sought, and it is served as if it had come in a file."""
    there.install(months.bundles["1"])
    run(there, "receipt", "--output", tmp_path / "receipt.json")
    delta = months.delta("3", tmp_path / "receipt.json", tmp_path / "out")
    for bundle, version in ((months.bundles["2"], "2"), (delta, "3")):
        done = _piped(f"cat {bundle}", there)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["changed"] is True
        assert seen(there) == (version, months.digest(version), f"{version}.0", version)
    run(there, "rollback", "story", "2")
    assert seen(there)[0] == "2"


def test_a_pipe_that_breaks_publishes_nothing(months: Months, there: Site) -> None:
    there.install(months.bundles["1"])
    size = months.bundles["2"].stat().st_size
    for command in (f"head -c {size - 20_000}", f"head -c {size // 2}", "sed s/2/3/"):
        done = _piped(f"{command} {months.bundles['2']}", there)
        assert done.returncode in (BundleError.exit_code, IntegrityError.exit_code), done.stderr
        assert seen(there) == ("1", months.digest("1"), "1.0", "1")
    assert _piped(f"cat {months.bundles['2']}", there).returncode == 0


def test_the_first_install_from_a_pipe_needs_a_registry(months: Months, there: Site) -> None:
    """Its program cannot come out of the pipe: this machine's own serves."""
    done = _piped(f"cat {months.bundles['1']}", there, *there.options)
    assert done.returncode == 0, done.stderr
    assert seen(there)[0] == "1"


def _piped(command: str, there: Site, *options: str) -> subprocess.CompletedProcess[str]:
    where = options or ("--root", str(there.root))
    script = f"{command} | {shlex.join([sys.executable, '-m', 'bundler', 'install', '-', '--json', *where])}"
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)


def test_what_is_not_there_cannot_come_back(months: Months, there: Site) -> None:
    there.install(months.bundles["1"])
    done = bundler(HERE, "rollback", "story", "--root", there.root, check=False)
    assert done.returncode == SiteError.exit_code
    assert "an earlier release of story is not on this site; it has: 1" in done.stderr
    done = bundler(HERE, "rollback", "story", "9", "--root", there.root, check=False)
    assert "story 9 is not on this site; it has: 1" in done.stderr


def test_a_release_whose_bytes_are_gone_is_not_made_current(months: Months, there: Site) -> None:
    """What the registry lost since cannot be rolled back to; what is served stays as it is."""
    there.install(months.bundles["1"])
    there.install(months.bundles["2"])
    lost = months.digest("1").removeprefix("sha256:")
    (there.root / "registry/docker/registry/v2/blobs/sha256" / lost[:2] / lost / "data").unlink()
    before = seen(there)
    done = bundler(HERE, "rollback", "story", "--root", there.root, check=False)
    assert done.returncode == SiteError.exit_code
    assert seen(there) == before


def test_a_kept_release_stays_at_its_versioned_address(months: Months, there: Site) -> None:
    """A cluster's upgrade reads from the old release and the new one for weeks."""
    there.install(months.bundles["1"])
    there.install(months.bundles["2"])
    assert there.install(months.bundles["2"])["changed"] is False
    _, first = run(there, "releases", "story")["releases"]
    assert first["kept_at"] == f"{there.web}/story@1"
    assert [release["url"] for release in run(there, "status")["releases"]] == [first["kept_at"], f"{there.web}/story"]

    def found() -> list[int]:
        urls = [f"{first['kept_at']}/files/files.example/version.txt", f"{first['wheels_kept_at']}thing/"]
        urls.append(f"http://{there.registry}/v2/team/app/manifests/{months.digest('1')}")
        accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        return [requests.get(url, headers=accept, timeout=10).status_code for url in urls]

    assert found() == [200, 200, 200]
    assert requests.get(f"{first['kept_at']}/files/files.example/version.txt", timeout=10).text == "1"
    repository(f"{first['kept_at']}/rpms/rocky/9/own")
    assert "thing-1.0" in requests.get(f"{first['wheels_kept_at']}thing/", timeout=10).text
    run(there, "prune", "--keep", "1")
    assert found() == [404, 404, 404]
    run(there, "uninstall", "story")
    assert [release["state"] for release in run(there, "releases")["releases"]] == ["not served"]


def test_what_another_release_serves_is_taken_when_it_is_meant(
    months: Months, upstream: Internet, there: Site, tmp_path: Path
) -> None:
    there.install(months.bundles["1"])
    before = seen(there)
    config = upstream.write_config(tmp_path / "config.yaml")
    profile = tmp_path / "rival.yaml"

    def build(*more: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return bundler(HERE, "build", profile, "--output", tmp_path, "--config", config, *more, check=check)

    document = {"name": "rival", "version": "1", "targets": [{"distro": "rocky", "release": "9"}]}
    profile.write_text(yaml.safe_dump({**document, "images": ["docker.io/team/app:stable"]}))
    bundle = Path(build().stdout.splitlines()[-1])
    said = bundler(HERE, "install", bundle, "--dry-run", "--root", there.root).stdout
    assert "it would be refused without --replace: rival 1 brings different content for what is served already" in said
    done = bundler(HERE, "install", bundle, "--root", there.root, check=False)
    assert done.returncode == SiteError.exit_code
    assert "team/app:stable of story 1" in done.stderr
    assert seen(there) == before
    run(there, "install", bundle, "--replace")
    assert seen(there)[1] == months.digest("3") != before[1]
    done = bundler(HERE, "doctor", "--all", "--root", there.root, check=False)
    assert "another release has taken what it serves: team/app:stable of rival 1" in done.stdout
    assert "remedy for story 1: bundler uninstall rival, or" in done.stdout

    # The same version again, once the profile has changed.
    profile.write_text(yaml.safe_dump({**document, "files": ["https://files.example/version.txt"]}))
    old = bundle.read_bytes()
    done = build(check=False)
    assert done.returncode == ProfileError.exit_code
    assert "rival-1.tar is rival 1 with different content" in done.stderr
    assert bundle.read_bytes() == old
    assert build("--replace").returncode == 0
    done = bundler(HERE, "install", bundle, "--root", there.root, check=False)
    assert done.returncode == SiteError.exit_code
    assert "rival 1 is on this site with different content" in done.stderr
    run(there, "install", bundle, "--replace")
    assert [(each["version"], each["state"]) for each in run(there, "releases", "rival")["releases"]] == [
        ("1", "served"),
        ("1", "kept"),
    ]
    run(there, "uninstall", "rival", "--purge")
    assert seen(there) == before
