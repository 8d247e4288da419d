"""What happens to a bundle on its way: a build that is killed, bytes that flip on the medium."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from bundler.errors import IntegrityError
from scripts.demo.hosts import HERE
from scripts.demo.internet import Internet, internet
from scripts.demo.journey import Site, bundler
from tests.e2e import small

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

_RATE = 6 << 20  # bytes a second and connection: the largest file takes four seconds
_IN_FLIGHT = (
    20 << 20
)  # bytes that a killed build may have had in buffers or not yet in its journal, over all its workers


@pytest.fixture(scope="module")
def bundle(upstream: Internet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.build(upstream, tmp_path_factory.mktemp("reference"))


@pytest.fixture
def slow_upstream(tmp_path: Path, test_data: Path | None) -> Iterator[Internet]:
    with internet(tmp_path / "internet", test_data, bytes_per_second=_RATE) as running:
        yield running


def test_the_same_lock_gives_the_same_bytes(bundle: Path, upstream: Internet, tmp_path: Path) -> None:
    """Also in another folder, fetched in another order."""
    (lock,) = bundle.parent.glob("*.lock.json")
    again = small.build(upstream, tmp_path / "again", "--lock", str(lock), "--jobs", "1")
    assert filecmp.cmp(bundle, again, shallow=False)


def test_a_killed_build_goes_on(slow_upstream: Internet, tmp_path: Path) -> None:
    """SIGKILL in the middle; run again, it ends with the same bytes and fetches only what was missing."""
    folder = tmp_path / "killed"
    process = subprocess.Popen(small.command(slow_upstream, folder), stdout=subprocess.DEVNULL)
    try:
        _wait_until_in_the_middle(process, folder)
    finally:
        process.kill()
        process.wait()
    first = _fetched_once_logged(slow_upstream)
    assert not list(folder.glob("*.tar")), "the build ended before it was killed"

    slow_upstream.forget()
    resumed = small.build(slow_upstream, folder)
    second = _payload(slow_upstream)
    whole = (slow_upstream.folder / "www" / small.KUBEADM[1:]).stat().st_size
    assert first[small.KUBEADM] < whole, "killed too late"
    assert second[small.KUBEADM] < whole, "the large file came whole again"

    slow_upstream.forget()
    reference = small.build(slow_upstream, tmp_path / "reference")
    assert filecmp.cmp(resumed, reference, shallow=False)
    uninterrupted = sum(_payload(slow_upstream).values())
    assert sum(first.values()) + sum(second.values()) <= uninterrupted + _IN_FLIGHT


@pytest.mark.parametrize("place", ["manifest", "header", "payload", "padding", "last payload", "tail"])
def test_a_flipped_byte_is_found(bundle: Path, tmp_path: Path, there: Site, place: str) -> None:
    """`verify` and `install` end with the code for it, name what is wrong, and nothing is served."""
    damaged = tmp_path / bundle.name
    shutil.copyfile(bundle, damaged)
    offset, named = _offset(bundle, place)
    with damaged.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0x10]))

    for command in (["verify", str(damaged)], ["install", str(damaged), *there.options]):
        done = bundler(HERE, *command, check=False)
        assert done.returncode == IntegrityError.exit_code, done.stderr
        assert "error: " in done.stderr
        assert named in done.stderr, done.stderr
    _serves_nothing(there)


def test_a_bundle_cut_short_is_found(bundle: Path, tmp_path: Path, there: Site) -> None:
    damaged = tmp_path / bundle.name
    shutil.copyfile(bundle, damaged)
    os.truncate(damaged, bundle.stat().st_size // 2)
    done = bundler(HERE, "install", damaged, *there.options, check=False)
    assert done.returncode == IntegrityError.exit_code, done.stderr
    assert "cut short" in done.stderr
    _serves_nothing(there)


def test_a_good_bundle_installs_after_a_bad_one(bundle: Path, tmp_path: Path, there: Site) -> None:
    """What a failed install left behind is taken up by the next; then a third one changes nothing."""
    damaged = tmp_path / bundle.name
    shutil.copyfile(bundle, damaged)
    offset, _ = _offset(bundle, "last payload")
    with damaged.open("r+b") as file:
        file.seek(offset)
        file.write(bytes([bundle.read_bytes()[offset] ^ 0xFF]))
    assert bundler(HERE, "install", damaged, *there.options, check=False).returncode == IntegrityError.exit_code
    assert there.install(bundle)["changed"]
    assert requests.get(f"{there.web}/small/nodes/setup.sh", timeout=10).ok
    assert there.install(bundle)["changed"] is False


def _wait_until_in_the_middle(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Until the journal says that some object is done, and the largest one's first checkpoint is in."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the build ended by itself"
        for journal in folder.glob("*.journal"):
            words = [line.split()[0] for line in journal.read_text().splitlines()]
            if "done" in words and "part" in words:
                return
        time.sleep(0.02)
    pytest.fail("the build did not get anywhere")


def _fetched_once_logged(upstream: Internet) -> dict[str, int]:
    """What was fetched, once nginx has noticed that the other side is gone and said how far it came."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = _payload(upstream)
        if any(path == small.KUBEADM for path in found):
            return found
        time.sleep(0.1)
    pytest.fail("nginx did not log the fetch that was cut off")


def _payload(upstream: Internet) -> dict[str, int]:
    """Bytes sent by path."""
    sizes: dict[str, int] = {}
    for fetch in upstream.fetches():
        if fetch.method == "GET" and fetch.status in (200, 206):
            sizes[fetch.path] = sizes.get(fetch.path, 0) + fetch.size
    return sizes


def _offset(bundle: Path, place: str) -> tuple[int, str]:
    """Where to flip a byte, found by tarfile and not by bundler's own idea of it, and what the message must name."""
    import tarfile

    with tarfile.open(bundle) as tar:
        members = tar.getmembers()
    names = {member: member.name.split("/", 1)[1] for member in members}
    first, largest, last = members[0], max(members, key=lambda member: member.size), members[-1]
    padded = next(member for member in members[5:] if member.size % 512)
    match place:
        case "manifest":
            return first.offset_data + first.size // 2, names[first]
        case "header":
            return largest.offset + 110, bundle.name
        case "payload":
            return largest.offset_data + largest.size // 2, names[largest]
        case "padding":
            return padded.offset_data + padded.size, bundle.name
        case "last payload":
            return last.offset_data, names[last]
        case _:
            return bundle.stat().st_size - 1, bundle.name


def _serves_nothing(there: Site) -> None:
    """No file of the release answers, and the registry and the index know nothing of it."""
    try:
        answer = requests.get(f"{there.web}/small/", timeout=10)
    except requests.ConnectionError:
        return  # not even nginx was started
    assert answer.status_code == 404, answer.text
    tags = requests.get(f"http://{there.registry}/v2/library/alpine/tags/list", timeout=10)
    assert tags.status_code == 404 or not tags.json().get("tags"), tags.text
