"""The kind `files`: what may be asked for, where it lies, what is held to its digests."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bundler.errors import FetchError, IntegrityError, ProfileError
from bundler.kinds.files.emit import emit
from bundler.kinds.files.place import place_of, place_of_local
from bundler.kinds.files.resolve import resolve
from bundler.kinds.files.spec import Spec
from bundler.model.contents import check_path
from bundler.model.items import Download, LocalFile
from bundler.model.site import Served, SiteConfig
from bundler.transfer.upstream import Upstream
from tests.fakes import upstream as fake


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"url": "https://x/y", "path": "y"},
        {"url": "ftp://x/y"},
        {"url": "https://x/folder/"},
        {"url": "https://user:secret@x/y"},
        {"url": "https://x/a\nb"},
        {"url": "https://x/y", "sha256": "abc"},
        {"url": "https://x/y", "mode": "4755"},
        {"url": "https://x/y", "mode": "rwx"},
        {"url": "https://x/y", "mode": 755},
        {"url": "https://x:99999/y"},
        {"url": "https://[::1/y"},
        {"url": "https://x"},
        {"url": "https://x/y", "size": -1},
        {"url": "https://x/y", "name": "../y"},
        {"url": "https://x/y", "name": ""},
        {"url": "https://x/y", "name": ".y"},
        {"url": "https://x/y", "sha1": "a"},
    ],
)
def test_what_makes_no_sense_is_refused(entry: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Spec.model_validate([entry])


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://dl.k8s.io/release/v1.35.4/bin/kubeadm", "files/dl.k8s.io/release/v1.35.4/bin/kubeadm"),
        ("https://HOST.example:8443/a", "files/host.example_8443/a"),
        ("https://github.com/v1.2+rc1/a%20b", "files/github.com/v1.2+rc1/a%20b"),
        ("https://x/a?version=1&b=../..", "files/x/a%3Fversion=1%26b=..%2F.."),
        ("https://x/%2e%2e%2fetc", "files/x/..%2Fetc"),
        ("http://[::1]:80/a", "files/__1_80/a"),
    ],
)
def test_a_file_lies_under_its_origin(url: str, place: str) -> None:
    assert place_of(url) == place


@pytest.mark.parametrize("url", ["https://x/../a", "https://x/a/%2e%2e/b", "https://x//a", "https://x/./a"])
def test_a_path_that_climbs_is_refused(url: str) -> None:
    with pytest.raises(ProfileError):
        place_of(url)


@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=5), st.text(max_size=20))
def test_no_url_leads_out_of_the_bundle(segments: list[str], query: str) -> None:
    path = "/".join(quote(segment.encode("utf-8", "replace"), safe="") for segment in segments)
    try:
        place = place_of(f"https://example.org/{path}?{query}")
    except (ProfileError, ValueError):
        return
    assert check_path(place) == place
    assert place.startswith("files/example.org/")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://x/get?id=7", "files/x/tool.bin"),
        ("https://x/latest/", "files/x/latest/tool.bin"),
        ("https://x", "files/x/tool.bin"),
        (f"https://x/{'a' * 300}", "files/x/tool.bin"),
    ],
)
def test_a_name_stands_in_place_of_the_last_part(url: str, place: str) -> None:
    (file,) = Spec.model_validate([{"url": url, "name": "tool.bin"}]).root
    assert file.url is not None
    assert place_of(file.url, file.name) == place


def test_a_name_too_long_for_a_file_system_is_refused() -> None:
    with pytest.raises(ProfileError) as caught:
        place_of(f"https://x/a?{'b' * 255}")
    assert "name:" in caught.value.hint


@given(st.text(max_size=40))
def test_no_local_name_leads_out_of_the_bundle(name: str) -> None:
    try:
        place = place_of_local(name)
    except (ProfileError, UnicodeEncodeError):
        return
    assert check_path(place) == place
    assert place.startswith("files/local/")
    assert place.count("/") == 2


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_different_paths_have_different_places(one: str, other: str) -> None:
    def place(text: str) -> str | None:
        try:
            return place_of(f"https://x/{quote(text.encode('utf-8', 'surrogatepass'), safe='')}")
        except ProfileError:
            return None

    assert one == other or place(one) is None or place(one) != place(other)


def test_two_urls_never_share_a_place() -> None:
    assert place_of("https://x/a?b=1") != place_of("https://x/a?b=2")
    assert place_of("https://x:1/a") != place_of("https://x/a")


def test_a_digest_that_is_known_is_not_measured_again(server: fake.Upstream, outside: Upstream) -> None:
    url = server.put("/tool", b"tool")
    digest = fake.sha256(b"tool")
    (item,) = resolve(Spec.model_validate([{"url": url, "sha256": digest, "mode": "0755"}]), (), outside)
    (obj,) = item.objects
    assert (obj.size, obj.sha256, obj.mode, obj.source) == (4, digest, 0o755, Download(url))
    assert server.sent == 0
    assert item.purl is not None
    assert digest in item.purl


def test_an_unknown_digest_is_learnt(server: fake.Upstream, outside: Upstream) -> None:
    (item,) = resolve(Spec.model_validate([server.put("/tool", b"tool")]), (), outside)
    assert item.objects[0].sha256 == fake.sha256(b"tool")


def test_other_bytes_than_the_profile_says_are_told_with_both_digests(server: fake.Upstream, outside: Upstream) -> None:
    url = server.put("/tool", b"tool")
    right, wrong = hashlib.sha512(b"tool").hexdigest(), hashlib.sha512(b"other").hexdigest()
    (item,) = resolve(Spec.model_validate([{"url": url, "sha512": right}]), (), outside)
    assert item.attributes["sha512"] == right
    with pytest.raises(IntegrityError) as caught:
        resolve(Spec.model_validate([{"url": url, "sha512": wrong}]), (), outside)
    assert right in caught.value.message
    assert wrong in caught.value.message
    assert "re-published" in caught.value.message


def test_what_the_profile_knows_is_not_asked_for(server: fake.Upstream, outside: Upstream) -> None:
    entry = {"url": f"{server.url}/tool", "sha256": fake.sha256(b"tool"), "size": 4}
    (item,) = resolve(Spec.model_validate([entry]), (), outside)
    assert item.objects[0].size == 4
    assert server.seen == []


@pytest.mark.parametrize("promise", [{"size": 5}, {"sha512": "0" * 128}, {"sha256": "0" * 64, "sha512": "0" * 128}])
def test_a_promise_is_kept_by_urls_and_local_files(
    tmp_path: Path, server: fake.Upstream, outside: Upstream, promise: dict[str, object]
) -> None:
    (tmp_path / "tool").write_bytes(b"tool")
    for entry in ({"url": server.put("/tool", b"tool")}, {"path": "tool"}):
        with pytest.raises(IntegrityError, match="was promised"):
            resolve(Spec.model_validate([{**entry, **promise}]), (), outside)


def test_a_file_and_a_folder_of_one_name_are_refused(server: fake.Upstream, outside: Upstream) -> None:
    urls = [server.put("/latest", b"1"), server.put("/latest/tool", b"2")]
    with pytest.raises(ProfileError, match="would be a file and") as caught:
        resolve(Spec.model_validate(urls), (), outside)
    assert "name:" in caught.value.hint
    assert len(resolve(Spec.model_validate([{"url": urls[0], "name": "index"}, urls[1]]), (), outside)) == 2


def test_an_items_name_can_be_shown(server: fake.Upstream, outside: Upstream) -> None:
    (item,) = resolve(Spec.model_validate([server.put("/a%1B%5B2J", b"tool")]), (), outside)
    assert item.name == "a%1B%5B2J"


def test_a_missing_file_is_named(server: fake.Upstream, outside: Upstream) -> None:
    with pytest.raises(FetchError, match="/none: upstream answered 404"):
        resolve(Spec.model_validate([f"{server.url}/none"]), (), outside)


def test_one_place_twice_is_refused(server: fake.Upstream, outside: Upstream) -> None:
    url = server.put("/tool", b"tool")
    with pytest.raises(ProfileError, match="twice"):
        resolve(Spec.model_validate([url, {"url": url, "mode": "0755"}]), (), outside)


def test_a_local_file_is_taken_from_the_profiles_folder(tmp_path: Path, outside: Upstream) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read me.txt").write_text("hello")
    (item,) = resolve(Spec.model_validate([{"path": "notes/read me.txt"}]), (), outside)
    assert item.objects[0].path == place_of_local("read me.txt") == "files/local/read%20me.txt"
    assert item.objects[0].source == LocalFile("notes/read me.txt")


def test_nodes_get_a_list_with_checksums(server: fake.Upstream, outside: Upstream) -> None:
    items = resolve(Spec.model_validate([server.put("/a%20b", b"tool")]), (), outside)
    emitted = emit(items, Served(SiteConfig(address="10.0.0.1"), "demo", "1"))
    host = server.url.removeprefix("http://").replace(":", "_")
    line = f"{fake.sha256(b'tool')}  http://10.0.0.1/demo/files/{host}/a%2520b\n"
    assert emitted.files[0].content == line
    assert emit((), Served(SiteConfig(address="10.0.0.1"), "demo", "1")).files == ()


def test_a_local_folder_is_carried_as_a_tar(tmp_path: Path, outside: Upstream) -> None:
    (tmp_path / "playbooks/roles").mkdir(parents=True)
    (tmp_path / "playbooks/roles/main.yml").write_text("a: 1\n")
    for entry, place in (
        ({"path": "playbooks/"}, "files/local/playbooks.tar"),
        ({"path": "playbooks", "name": "p-1.tar"}, "files/local/p-1.tar"),
    ):
        (item,) = resolve(Spec.model_validate([entry]), (), outside)
        (obj,) = item.objects
        assert obj.path == place
        with (
            outside.open(obj, offset=0) as answer,
            tarfile.open(fileobj=io.BytesIO(b"".join(answer.chunks))) as archive,
        ):
            assert "playbooks/roles/main.yml" in archive.getnames()
    with pytest.raises(IntegrityError, match="was promised"):
        resolve(Spec.model_validate([{"path": "playbooks", "sha256": "0" * 64}]), (), outside)
