from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.errors import BundleError
from bundler.kinds.wheels.attributes import SORTS, LockAttributes, UploadForm, WheelAttributes
from bundler.kinds.wheels.emit import emit
from bundler.kinds.wheels.load import load
from bundler.model.attributes import check_attributes
from bundler.model.items import Download, Item, Object
from bundler.model.site import ExternalIndex, Served, SiteConfig
from tests.kinds.wheels.indexes import LocalIndex

GOLDEN = Path(__file__).parents[2] / "golden" / "wheels"


def wheel(name: str, tags: list[str], size: int, environments: list[str]) -> Item:
    interpreter, abi, _ = tags[0].split("-")
    file_name = f"{name}-1.0-{interpreter}-{abi}-{'.'.join(tag.split('-')[2] for tag in tags)}.whl"
    obj = Object(f"wheels/{file_name}", size, f"{size:064x}", Download(f"https://pypi.org/files/{file_name}"))
    attributes = WheelAttributes(
        filename=file_name,
        python=tuple(sorted({environment.split("-")[0] for environment in environments})),
        environments=tuple(environments),
        tags=tuple(tags),
        requires_python=None,
        requires_dist=(),
        metadata=UploadForm(metadata_version="2.1", name=name, version="1.0"),
    )
    return Item("wheels", name, "1.0", (obj,), attributes.as_json())


def lock(python: str) -> Item:
    attributes = LockAttributes(
        environment=f"{python}-x86_64", python=python, arch="x86_64", glibc="2.34", asked=("pure",)
    )
    return Item("wheels", f"requirements-{python}.txt", python, (), attributes.as_json())


ITEMS = (
    wheel("compiled", ["cp312-cp312-manylinux2014_x86_64", "cp312-cp312-manylinux_2_17_x86_64"], 10, ["3.12-x86_64"]),
    wheel("pure", ["py3-none-any"], 20, ["3.11-x86_64", "3.12-x86_64"]),
    lock("3.11"),
    lock("3.12"),
)
SERVED = Served(SiteConfig(address="192.168.10.10"), "demo", "1.0")


def test_node_files_are_as_they_were_approved() -> None:
    emitted = emit(ITEMS, SERVED)
    assert emit(ITEMS, SERVED) == emitted
    assert [(file.path, file.destination) for file in emitted.files] == [
        ("pip.conf", "/etc/pip.conf"),
        ("wheels/requirements-3.11.txt", None),
        ("wheels/requirements-3.12.txt", None),
    ]
    for file in emitted.files:
        assert file.content == (GOLDEN / file.path).read_text(), file.path


def test_an_index_over_tls_is_trusted_by_its_certificate() -> None:
    index = ExternalIndex(upload_url="https://pypi.corp/legacy/", simple_url="https://pypi.corp/simple")
    served = Served(SiteConfig(address="192.168.10.10", index=index), "demo", "1.0")
    (conf, *_) = emit(ITEMS, served).files
    assert "index-url = https://pypi.corp/simple/\n" in conf.content
    assert "trusted-host" not in conf.content


def test_without_wheels_nodes_keep_their_pip() -> None:
    assert emit((), SERVED).files == ()


@pytest.mark.parametrize("items", [ITEMS[1:2], ITEMS[:1]], ids=["pure", "compiled"])
def test_the_check_is_a_real_download(items: tuple[Item, ...], index: LocalIndex, tmp_path: Path) -> None:
    (check,) = emit(items, SERVED).checks
    assert check.needs == "pip3"
    index.add_wheel("pure", "1.0")
    conf = tmp_path / "pip.conf"
    conf.write_text(f"[global]\nindex-url = {index.url}\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {"PIP_CONFIG_FILE": str(conf), "TMPDIR": str(tmp_path)}
    assert subprocess.run(["/bin/sh", "-c", check.command], env=environment).returncode == (items != ITEMS[1:2])
    index.add_wheel("compiled", "1.0", "cp312-cp312-manylinux2014_x86_64.manylinux_2_17_x86_64")
    assert subprocess.run(["/bin/sh", "-c", check.command], env=environment).returncode == 0
    assert not list(tmp_path.glob("tmp*"))


def test_only_wheels_are_loaded() -> None:
    staged: list[tuple[str, object, object]] = []

    class Index:
        def stage(self, obj: Object, metadata: object, content: object) -> None:
            staged.append((obj.path, metadata, content))

    class Site:
        index = Index()

    bundle = object()
    for step in load(ITEMS, Site()):  # type: ignore[arg-type]
        step.put(bundle)  # type: ignore[arg-type]
    assert [path for path, *_ in staged] == [item.objects[0].path for item in ITEMS[:2]]
    assert staged[1] == (
        "wheels/pure-1.0-py3-none-any.whl",
        {"metadata_version": "2.1", "name": "pure", "version": "1.0"},
        bundle,
    )


def test_wheels_of_another_make_are_not_passed_over() -> None:
    strange = Item("wheels", "old", "1.0", ITEMS[0].objects, {"filename": "old.whl", "metadata": {"name": "old"}})
    for sort in ({}, {"type": "Wheel"}):
        with pytest.raises(BundleError, match="it does not say what it is"):
            check_attributes((*ITEMS, replace(strange, attributes={**strange.attributes, **sort})), SORTS)
