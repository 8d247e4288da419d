"""What a site does with a manifest that holds together and lies: each kind's items with something wrong in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from bundler.bundle.content import Content
from bundler.bundle.documents import describe
from bundler.bundle.layout import layout
from bundler.bundle.manifest import Manifest
from bundler.install import emit
from bundler.kinds import KINDS
from bundler.model.items import Item, Made, Object
from bundler.model.lock import Lock
from bundler.model.site import Served, SiteConfig
from bundler.proof import prove
from bundler.sections import items_by_section
from bundler.site.site import Site
from scripts.fuzz.mutation import Choices, mutated

_SERVED = Served(SiteConfig(address="192.168.10.10"), "demo", "1.0")
_STORE = SimpleNamespace(stage=print, stage_blob=print, stage_manifest=print)
_SITE = cast("Site", SimpleNamespace(web=_STORE, registry=_STORE, index=_STORE))
_SEEDS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("items.json").read_bytes())


class _Known(Content):
    """Objects whose bytes are what the seed or the fuzzer says."""

    def __init__(self, content: dict[str, bytes]) -> None:
        self._content = content

    def stream(self, obj: Object) -> Iterator[bytes]:
        """See `Content.stream`."""
        yield self._content.get(obj.path, b"")


def read_items(data: bytes) -> None:
    """All that install, verify --closure and inspect do with items, as far as these alone decide."""
    choices = Choices(data)
    items, content = _items(mutated(_SEEDS, choices), choices)
    manifest, _ = describe(Lock("demo", "1.0", "0" * 64, ()))
    manifest = Manifest.from_bytes(replace(manifest, items=items).data)
    layout(manifest)
    by_section = items_by_section(manifest.items, "fuzz")
    for kind in KINDS:
        for step in kind.load(by_section[kind.name], _SITE):
            assert ".." not in step.obj.path.split("/")
    for file in emit(manifest.items, _SERVED).files:
        assert ".." not in file.path.split("/")
    prove(manifest, _Known(content), "fuzz")


def _items(documents: Any, choices: Choices) -> tuple[tuple[Item, ...], dict[str, bytes]]:
    """The items that `documents` describe, and the bytes of their objects by path."""
    items: list[Item] = []
    content: dict[str, bytes] = {}
    for entry in documents if isinstance(documents, list) else []:
        if not isinstance(entry, dict):
            continue
        paths = entry.get("objects", [])
        parts = []
        for path in paths if isinstance(paths, list) else []:
            data = content.setdefault(str(path), choices.rest(64) if choices.left else b"{}")
            parts.append(
                Object(str(path), len(data), _digest_in(str(path)) or hashlib.sha256(data).hexdigest(), Made())
            )
        attributes = entry.get("attributes", {})
        kind, name, version = (str(entry.get(key, "x")) for key in ("kind", "name", "version"))
        items.append(Item(kind, name, version, tuple(parts), attributes if isinstance(attributes, dict) else {}))
    return tuple(items), content


def _digest_in(path: str) -> str | None:
    """The digest that a blob's path promises, where it is one."""
    name = path.rpartition("/")[2]
    return name if len(name) == 64 and set(name) <= set("0123456789abcdef") else None
