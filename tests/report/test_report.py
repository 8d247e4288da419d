"""The page for those who approve: all that the bundle holds, nothing from elsewhere, and no word of it is markup."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bundler.bundle.documents import describe
from bundler.bundle.reader import Bundle
from bundler.bundle.writer import Writer
from bundler.model.items import Item
from bundler.model.lock import Lock
from bundler.report import write_report
from tests.bundle.bundles import item_of

_FILES = {"files/a": b"alpha" * 1000, "files/b": b"beta"}
_EVIL = '</script><script>alert("x")</script><img src=x onerror=alert(1)>&'


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._within = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within = dict(attrs).get("id") or tag

    def handle_data(self, data: str) -> None:
        self.texts[self._within] = self.texts.get(self._within, "") + data


def report(tmp_path: Path, item: Item, since: list[Item] | None = None) -> tuple[Page, dict[str, Any], Path]:
    lock = Lock("demo", "1.0", "0" * 64, (item,))
    manifest, documents = describe(lock)
    tmp_path.mkdir(exist_ok=True)
    target = tmp_path / "demo-1.0.tar"
    with Writer(target, manifest, documents) as writer:
        for obj in writer.pending():
            with writer.slot(obj) as slot:
                slot.write(_FILES[obj.path])
                slot.finish()
        writer.commit()
    with Bundle(target) as bundle:
        write_report(bundle, tmp_path / "report", since=since)
        assert bundle.unchecked() > 0  # the payload was not read
    page = Page()
    page.feed((tmp_path / "report" / "report.html").read_text())
    return page, json.loads(page.texts["data"]), tmp_path / "report"


def test_it_has_every_item_with_what_people_ask_for(tmp_path: Path) -> None:
    item = item_of(_FILES)
    _, data, folder = report(tmp_path, item)
    ((kind, name, version, size, licence, _, digests),) = data["items"]
    assert (kind, name, version, size, licence) == ("files", "sample", "1", 5004, "MIT")
    assert digests.split() == [obj.sha256 for obj in item.objects]
    assert data["changes"] is None
    sbom = json.loads((folder / "sbom.cdx.json").read_text())
    assert sbom["bomFormat"] == "CycloneDX"
    assert [component["purl"] for component in sbom["components"]] == ["pkg:generic/sample@1"]


def test_it_says_what_changed(tmp_path: Path) -> None:
    now = item_of(_FILES)
    before = dataclasses.replace(now, version="0", objects=now.objects[1:])
    page, data, _ = report(tmp_path, now, since=[before, dataclasses.replace(before, name="gone")])
    assert data["changes"] == [["removed", "files", "gone", "0", "", 0], ["changed", "files", "sample", "0", "1", 5000]]
    assert any(attributes.get("id") == "changes" for _, attributes in page.tags)


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
