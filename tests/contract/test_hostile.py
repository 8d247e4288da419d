"""Whole, well-formed bundles with evil in them: each word of real ones made hostile, and taken to the closed side.

Either the bundle is refused with one of bundler's errors before anything is loaded, or what it was made to do does not
happen: no path leaves its place, and what nodes are given has neither a line nor a command that somebody smuggled in.
"""

from __future__ import annotations

import configparser
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from bundler.build import expand
from bundler.bundle.documents import describe
from bundler.bundle.layout import layout
from bundler.bundle.manifest import Manifest
from bundler.errors import BundlerError
from bundler.inputs import read_profile
from bundler.install import emit
from bundler.kinds import KINDS
from bundler.model.items import Item, Made, Object
from bundler.model.lock import Lock
from bundler.model.node_files import NodeFiles
from bundler.model.site import Served, SiteConfig
from bundler.sections import items_by_section
from bundler.site.site import Site
from bundler.transfer.upstream import Upstream
from tests.contract.test_recipes import profile as recipe_profile

CANARY = "smuggled"
EVIL = (
    f"x\n[evil]\nbaseurl=http://{CANARY}.example/",
    f"x\nevil: {CANARY}",
    f"x\r\nevil={CANARY}",
    f"x'; touch {CANARY}; '",
    f'x"; touch {CANARY}; "',
    f"$(touch {CANARY})",
    f"`touch {CANARY}`",
    f"x\ntouch {CANARY}\n",
    f"-{CANARY}",
    f"--post-file=/etc/{CANARY}",
    f"../../../../{CANARY}",
    f"/{CANARY}",
    f"a/../../{CANARY}",
    f"%2e%2e/{CANARY}",
    "\uff0e\uff0e/\uff0f",  # dots and a slash of another width
    "x\0y",
    "x\x1b[2Jy",
    "x\u202ey",
    "x" * 100_000,
    "",
)
SERVED = Served(SiteConfig(address="192.168.10.10"), "demo", "1.0")


def leaves(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to every string in `value`."""
    if isinstance(value, str):
        yield way
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*way, key))
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value[:2]):  # the rest are like these
            yield from leaves(inner, (*way, number))


def with_leaf(value: Any, way: tuple[Any, ...], word: str) -> Any:
    if not way:
        return word
    if isinstance(value, dict):
        return {**value, way[0]: with_leaf(value[way[0]], way[1:], word)}
    changed = list(value)
    changed[way[0]] = with_leaf(changed[way[0]], way[1:], word)
    return changed


def changed(item: Item, word: str) -> Iterator[Item]:
    """`item` with `word` in place of each of its words."""
    yield replace(item, name=word)
    yield replace(item, version=word)
    yield replace(item, purl=word)
    yield replace(item, licence=word)
    for way in leaves(dict(item.attributes)):
        yield replace(item, attributes=with_leaf(dict(item.attributes), way, word))
    if item.objects:
        first, *rest = item.objects
        folder = first.path.split("/", 1)[0]
        for path in (word, f"{folder}/{word}", f"{folder}/../{word}", "nodes/setup.sh", "manifest.json"):
            yield replace(item, objects=(replace(first, path=path), *rest))


class Recorder:
    """A site whose stores note what they are asked to do."""

    def __init__(self) -> None:
        store = SimpleNamespace(stage=print, stage_blob=print, stage_manifest=print)
        self.web = self.registry = self.index = store


def closed_side(manifest: Manifest) -> tuple[NodeFiles, list[Object]]:
    """What an install does before it changes anything, and what it would publish."""
    read = Manifest.from_bytes(manifest.data)
    layout(read)
    by_section = items_by_section(read.items, "evil.tar")
    site = cast("Site", Recorder())
    steps = [step for kind in KINDS for step in kind.load(by_section[kind.name], site)]
    return emit(read.items, SERVED), [step.obj for step in steps]


def assert_harmless(nodes: NodeFiles, loaded: list[Object], plain: NodeFiles, work: Path) -> None:
    for obj in loaded:
        assert not obj.path.startswith(("/", "nodes/")), obj
        assert ".." not in obj.path.split("/"), obj
    before = {file.path: file.content for file in plain.files}
    for file in nodes.files:
        if before.get(file.path) == file.content:
            continue
        if file.path.endswith(".repo"):
            read = configparser.ConfigParser(interpolation=None)
            read.read_string(file.content)
            assert "evil" not in read.sections(), file
            assert all(not read.has_option(section, "evil") for section in read.sections()), file
        elif file.path.endswith((".yml", ".yaml")) and file.path.startswith("kubespray/"):
            assert "evil" not in (yaml.safe_load(file.content) or {}), file
        elif not file.path.endswith((".sh", "node-setup.yml", "checks.json")):
            assert not any(line.startswith(("evil", "[evil]", f"touch {CANARY}")) for line in file.content.splitlines())
    # As it would be run: each script, and each check, with none of the programs that they call.
    scripts = {file.path: file.content for file in nodes.files if file.path.endswith(".sh")}
    if scripts == {file.path: file.content for file in plain.files if file.path.endswith(".sh")}:
        return
    root = work / "root"
    root.mkdir(exist_ok=True)
    environment = {"PATH": "/usr/bin:/bin", "BUNDLER_NODE_ROOT": str(root)}
    for name in ("setup.sh", "revert.sh"):
        subprocess.run(["sh", "-s"], input=scripts[name].encode(), env=environment, cwd=work, capture_output=True)
    stubs = work / "stubs"
    stubs.mkdir(exist_ok=True)
    for program in ("curl", "dnf", "podman", "pip3", "crictl", "grep", "sha256sum", "mktemp", "rm"):
        (stubs / program).write_text("#!/bin/sh\nexit 1\n")
        (stubs / program).chmod(0o755)
    subprocess.run(
        ["/bin/sh", "-s"], input=scripts["check.sh"].encode(), env={"PATH": str(stubs)}, cwd=work, capture_output=True
    )
    found = [path for path in (*work.rglob(f"*{CANARY}*"), Path("/etc", CANARY), Path("/", CANARY)) if path.exists()]
    assert not found, found


def attack(items: tuple[Item, ...], victim: int, work: Path) -> tuple[int, int]:
    """Each hostile form of `items[victim]`; gives how many were refused, and how many were found harmless."""
    lock = Lock("demo", "1.0", "0" * 64, items)
    honest, _ = describe(lock)
    plain, _ = closed_side(honest)
    refused = harmless = 0
    for word in EVIL:
        for evil in changed(items[victim], word):
            parts = (*items[:victim], evil, *items[victim + 1 :])
            manifest = replace(honest, items=tuple(sorted(parts, key=lambda i: (i.kind, i.name, i.version))))
            try:
                nodes, loaded = closed_side(manifest)
            except BundlerError:
                refused += 1
                continue
            assert_harmless(nodes, loaded, plain, work)
            harmless += 1
    return refused, harmless


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_each_word_of_each_sort_of_item(locks: dict[str, Lock], kind: str, tmp_path: Path) -> None:
    items = locks[kind].items
    sorts = {str(item.attributes.get("type")): number for number, item in enumerate(items) if item.kind == kind}
    for sort, victim in sorts.items():
        work = tmp_path / sort
        work.mkdir()
        refused, harmless = attack(items, victim, work)
        print(kind, sort, f"{refused} refused, {harmless} harmless")
        assert refused > 100


@pytest.mark.timeout(600)
def test_each_word_of_kubespray(shared: Path, outside: Upstream, tmp_path: Path) -> None:
    source = {"version": "v2.31.0", "source": str(shared / "kubespray" / "v2.31.0")}
    _, items = expand(read_profile(recipe_profile(tmp_path, kubespray=source)), outside)
    tree = str(items[0].attributes["tree"])
    archive = Item("files", "kubespray", "1", (Object(tree, 1, "0" * 64, Made()),))
    chosen = replace(
        items[0],
        attributes={
            **items[0].attributes,
            "vars": {"kube_network_plugin": "cilium"},
            "variables": dict(list(cast("dict[str, str]", items[0].attributes["variables"]).items())[:4]),
            "charts": [{"name": "cilium", "version": "1.0.0", "path": tree}],
        },
    )
    work = tmp_path / "work"
    work.mkdir()
    os.chdir(work)
    refused, harmless = attack((archive, chosen), 1, work)
    print("kubespray", f"{refused} refused, {harmless} harmless")
    assert refused > 100
