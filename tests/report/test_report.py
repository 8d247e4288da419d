"""The page for those who approve: all that the bundle holds, nothing from elsewhere, and no word of it is markup."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bundler.bundle.documents import README, SBOM, describe
from bundler.bundle.reader import Bundle
from bundler.bundle.signature import Standing
from bundler.bundle.statement import Signer
from bundler.errors import BundleError
from bundler.model.items import Item, Json, source_text
from bundler.model.lock import Lock
from bundler.report import write_report
from tests.bundle.bundles import TARGETS, forge, item_of, lock_of, write_lock

_FILES = {"files/a": b"alpha" * 1000, "files/b": b"beta"}
_EVIL = '</script><script>alert("x")</script><img src=x onerror=alert(1)>&'


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.words: list[str] = []  # that are shown, in order
        self._within = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within = dict(attrs).get("id") or tag

    def handle_data(self, data: str) -> None:
        self.texts[self._within] = self.texts.get(self._within, "") + data
        if self._within not in ("style", "script", "data"):
            self.words += data.split()


NOBODY = Standing((), None, None)


def report(
    tmp_path: Path, item: Item, since: list[Item] | None = None, standing: Standing = NOBODY
) -> tuple[Page, dict[str, Any], Path]:
    lock = Lock("demo", "1.0", "0" * 64, (item,), TARGETS)
    tmp_path.mkdir(exist_ok=True)
    target = write_lock(tmp_path / "demo-1.0.tar", lock, _FILES)
    with Bundle(target) as bundle:
        before = None if since is None else dataclasses.replace(lock, items=tuple(since))
        write_report(bundle, tmp_path / "report", standing=standing, since=before)
        assert bundle.unchecked() > 0  # the payload was not read
    page = Page()
    page.feed((tmp_path / "report" / "report.html").read_text())
    return page, json.loads(page.texts["data"]), tmp_path / "report"


def test_it_has_every_item_with_what_people_ask_for(tmp_path: Path) -> None:
    item = item_of(_FILES)
    _, data, folder = report(tmp_path, item)
    ((*shown, places, objects, purl, attributes),) = data["items"]
    assert shown == ["files", "sample", "1", 5004, "MIT"]
    assert places == ["files/a", "files/b"]
    assert [data["objects"][number] for number in objects] == [
        [obj.path, obj.size, f"{obj.mode:04o}", obj.sha256, source_text(obj.source)] for obj in item.objects
    ]
    assert purl == item.purl
    assert json.loads(attributes) == item.attributes
    assert data["changes"] is None
    sbom = json.loads((folder / "sbom.cdx.json").read_text())
    assert sbom["bomFormat"] == "CycloneDX"
    assert [component["purl"] for component in sbom["components"]] == ["pkg:generic/sample@1"]


def test_it_says_what_changed(tmp_path: Path) -> None:
    now = item_of(_FILES)
    before = dataclasses.replace(now, version="0", objects=now.objects[1:])
    page, data, _ = report(tmp_path, now, since=[before, dataclasses.replace(before, name="gone")])
    assert data["changes"] == [
        ["removed", "files", "gone", "0", "", "", 0],
        ["changed", "files", "sample", "0", "1", "version, content, path", 5000],
    ]
    assert any(attributes.get("id") == "changes" for _, attributes in page.tags)


def test_it_says_what_changed_of_the_same_version(tmp_path: Path) -> None:
    now = item_of(_FILES)
    before = dataclasses.replace(now, attributes={**now.attributes, "note": "another value"})
    _, data, _ = report(tmp_path, now, since=[before])
    assert data["changes"] == [["changed", "files", "sample", "1", "1", "settings (note)", 0]]


def test_it_hides_no_file_and_no_attribute(tmp_path: Path) -> None:
    files = {f"files/{number:03}": b"x" for number in range(500)} | {"files/dl.k8s.io/kubeadm": b"evil"}
    attributes: dict[str, Json] = {"list": [*range(500)], "deep": {"vars": {"become_exe": "{{ lookup('pipe','id') }}"}}}
    item = dataclasses.replace(item_of(files), attributes=attributes)
    bundle = write_lock(tmp_path / "demo.tar", Lock("demo", "1.0", "0" * 64, (item,)), files)
    with Bundle(bundle) as opened:
        write_report(opened, tmp_path / "report", standing=NOBODY, since=None)
    page = Page()
    page.feed((tmp_path / "report" / "report.html").read_text())
    data = json.loads(page.texts["data"])
    ((*_, objects, _, shown),) = data["items"]
    assert [data["objects"][number][0] for number in objects] == list(files)
    assert json.loads(shown) == attributes


def test_images_are_shown_as_the_registry_has_them(tmp_path: Path) -> None:
    """A name can be any text: what nodes pull stands beside it."""
    claim: dict[str, Json] = {"repository": "kube-apiserver", "tags": ["v1", "v2"], "digest": "sha256:" + "0" * 64}
    _, data, _ = report(tmp_path, dataclasses.replace(item_of(_FILES), name="nginx", attributes=claim))
    assert data["items"][0][5] == ["kube-apiserver:v1", "kube-apiserver:v2", "files/a", "files/b"]


def test_attributes_neither_reorder_nor_hide_text_on_the_page(tmp_path: Path) -> None:
    evil: dict[str, Json] = {"a": "\u202eexe.\u2066\u200b\U000e0041", "b": "번들", "n": 2**60}
    _, data, _ = report(tmp_path, dataclasses.replace(item_of(_FILES), attributes=evil))
    shown = data["items"][0][8]
    assert all(letter.isprintable() or letter == "\n" for letter in shown)
    assert "번들" in shown
    assert str(2**60) in shown
    assert json.loads(shown) == evil


def test_bundle_of_nothing_but_empty_files(tmp_path: Path) -> None:
    for files in ({"files/empty": b""}, {}):
        bundle = write_lock(tmp_path / "demo.tar", Lock("demo", "1.0", "0" * 64, (item_of(files),)), files)
        with Bundle(bundle) as opened:
            write_report(opened, tmp_path / "report", standing=NOBODY, since=None)


def test_it_needs_no_network(tmp_path: Path) -> None:
    page, _, folder = report(tmp_path, item_of(_FILES))
    for tag, attributes in page.tags:
        assert not {"src", "href", "srcset"} & set(attributes), tag
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    text = (folder / "report.html").read_text()
    assert not re.findall(r"@import|url\(", text)


@pytest.mark.parametrize("where", ["name", "version", "licence", "kind"])
def test_nothing_in_a_bundle_becomes_markup(tmp_path: Path, where: str) -> None:
    plain, _, _ = report(tmp_path / "plain", item_of(_FILES))
    change: dict[str, Any] = {where: "x" if where == "kind" else _EVIL}
    evil = dataclasses.replace(item_of(_FILES), **change)
    page, data, _ = report(tmp_path / "evil", evil)
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    if where != "kind":
        assert _EVIL in data["items"][0]


def text_of(folder: Path) -> str:
    """All that a page says, in its order, without what its script puts there."""
    page = Page()
    page.feed((folder / "report.html").read_text())
    return " ".join(page.words)


def program_of(**attributes: Json) -> Item:
    return dataclasses.replace(item_of(_FILES), kind="images", attributes=attributes)


def test_it_says_for_which_machines_it_is(tmp_path: Path) -> None:
    _, _, folder = report(tmp_path, item_of(_FILES))
    assert "For rocky-9-x86_64, debian-12-aarch64; architectures: aarch64, x86_64." in text_of(folder)


def test_it_shows_every_program_with_its_digest(tmp_path: Path) -> None:
    item = program_of(role="registry")
    _, _, folder = report(tmp_path, item)
    for obj in item.objects:
        assert f"registry sample 1 {obj.path} {obj.size} {obj.sha256}" in text_of(folder)
    _, _, folder = report(tmp_path / "none", item_of(_FILES))
    assert "run as item file bytes sha256 none Documents" in text_of(folder)


def test_it_shows_the_documents_and_what_the_readme_says(tmp_path: Path) -> None:
    _, _, folder = report(tmp_path, item_of(_FILES))
    manifest, documents = describe(Lock("demo", "1.0", "0" * 64, (item_of(_FILES),), TARGETS))
    text = text_of(folder)
    for obj in manifest.documents:
        assert f"{obj.path} {obj.size} {obj.sha256}" in text
    assert " ".join(documents[README].decode().split()) in text


@pytest.mark.parametrize(
    ("standing", "said"),
    [
        (NOBODY, "Who signed it signed by nobody Programs"),
        (Standing((), None, False), "not signed: signed by nobody who is trusted here"),
        (Standing((Signer("ab" * 32),), None, None), f"unknown key, not checked: key id {'ab' * 32}"),
        (
            Standing((Signer("cd" * 32, Path("/etc/bundler/trusted.d/release.pub")),), None, True),
            f"signed by those who are trusted here /etc/bundler/trusted.d/release.pub: key id {'cd' * 32}",
        ),
        (
            Standing((Signer("cd" * 32, Path("a.pub")),), datetime(2031, 1, 31, tzinfo=UTC), True),
            "Until 2031-01-31T00:00:00Z.",
        ),
    ],
)
def test_it_says_who_signed(tmp_path: Path, standing: Standing, said: str) -> None:
    _, _, folder = report(tmp_path, item_of(_FILES), standing=standing)
    assert said in text_of(folder)


def test_no_word_of_a_signature_or_a_program_becomes_markup(tmp_path: Path) -> None:
    signers = (Signer("ab" * 32, Path("release.pub")), Signer("cd" * 32))
    plain, _, _ = report(tmp_path / "plain", program_of(role="x"), standing=Standing(signers, None, False, "no"))
    evil = (Signer("ab" * 32, Path(f"/{_EVIL}.pub")), Signer("cd" * 32))
    item = dataclasses.replace(program_of(role=_EVIL), name=_EVIL, version=_EVIL)
    page, _, folder = report(tmp_path / "evil", item, standing=Standing(evil, None, False, _EVIL))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert text_of(folder).count(_EVIL) >= 5


def test_no_word_of_a_readme_becomes_markup(tmp_path: Path) -> None:
    _, documents = describe(lock_of(_FILES))
    pages = []
    for name, text in (("plain", "words"), ("evil", _EVIL + "</pre></details>")):
        bundle = forge(tmp_path / name, _FILES, {**documents, README: text.encode()})
        with Bundle(bundle) as opened:
            write_report(opened, tmp_path / f"{name}.report", standing=NOBODY, since=None)
        page = Page()
        page.feed((tmp_path / f"{name}.report" / "report.html").read_text())
        pages.append(page)
    assert [tag for tag, _ in pages[0].tags] == [tag for tag, _ in pages[1].tags]
    assert _EVIL in pages[1].texts["readme"]


@pytest.mark.parametrize("sbom", [None, b"", b'{"bomFormat":"CycloneDX"}', b"\xff", b"[" * 100_000])
def test_a_bundle_without_its_sbom_is_refused_and_nothing_is_written(tmp_path: Path, sbom: bytes | None) -> None:
    _, documents = describe(lock_of(_FILES))
    others = {path: data for path, data in documents.items() if path != SBOM}
    bundle = forge(tmp_path / "demo.tar", _FILES, others if sbom is None else {SBOM: sbom, **others})
    with pytest.raises(BundleError, match=r"sbom\.cdx\.json"), Bundle(bundle) as opened:
        write_report(opened, tmp_path / "report", standing=NOBODY, since=None)
    assert not (tmp_path / "report").exists()
