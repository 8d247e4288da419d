"""What the proof finds; that it finds nothing in whatever was resolved is asserted wherever these tests resolve."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from bundler.bundle.documents import describe
from bundler.bundle.writer import Writer
from bundler.errors import BundleError
from bundler.kinds.bootstrap.prove import prove as prove_bootstrap
from bundler.kinds.wheels.attributes import LockAttributes, WheelAttributes, tags_of
from bundler.kinds.wheels.emit import emit
from bundler.kinds.wheels.load import load
from bundler.kinds.wheels.prove import prove
from bundler.model.items import Item, Json, Made, Object
from bundler.model.lock import Lock
from bundler.model.site import Served, SiteConfig
from tests.kinds.wheels.conftest import Resolver
from tests.kinds.wheels.indexes import LocalIndex
from tests.site.content import MemoryContent

NOTHING = MemoryContent({})
BOTH = ("3.11-x86_64", "3.12-x86_64")


def wheel(
    name: str,
    version: str,
    *requires: str,
    tag: str = "py3-none-any",
    python: str | None = None,
    environments: tuple[str, ...] = BOTH,
) -> Item:
    """A wheel as `resolve` describes it; nothing checks the requirements here."""
    file_name = f"{name}-{version}-{tag}.whl"
    data = file_name.encode()
    attributes: dict[str, Json] = {
        "type": "wheel",
        "filename": file_name,
        "python": [environment.partition("-")[0] for environment in environments],
        "environments": list(environments),
        "tags": list(tags_of(file_name)),
        "requires_python": python,
        "requires_dist": list(requires),
        "metadata": {"metadata_version": "2.1", "name": name, "version": version},
    }
    obj = Object(f"wheels/{file_name}", len(data), hashlib.sha256(data).hexdigest(), Made())
    return Item("wheels", name, version, (obj,), attributes)


def lock(python: str, *asked: str, arch: str = "x86_64") -> Item:
    attributes: dict[str, Json] = {
        "type": "lock",
        "environment": f"{python}-{arch}",
        "python": python,
        "arch": arch,
        "glibc": "2.34",
        "asked": list(asked),
    }
    return Item("wheels", f"requirements-{python}.txt", python, (), attributes)


ITEMS = (
    wheel("app", "1.0", 'old; python_version < "3.12"', "lib>=2", 'more; extra == "more"', 'none; extra == "unasked"'),
    wheel("old", "1.0", environments=BOTH[:1]),
    wheel("lib", "2.0"),
    wheel("more", "1.0"),
    lock("3.11", "app[more]", "lib"),
    lock("3.12", "app[more]", "lib", 'none; sys_platform == "win32"'),
)


def changed(item: Item, **attributes: Json) -> Item:
    return dataclasses.replace(item, attributes={**item.attributes, **attributes})


def with_wheel(evil: Item) -> tuple[Item, ...]:
    return (*(item for item in ITEMS if item.name != evil.name), evil)


def test_all_that_is_needed_is_there() -> None:
    assert list(prove(ITEMS, NOTHING)) == []


@pytest.mark.parametrize(
    ("name", "problems"),
    [
        (
            "lib",
            [
                f"wheels: Python {each}: {why}, {which} is not in the bundle"
                for each in BOTH
                for why, which in (("lib is asked for", "and"), ("app 1.0 needs lib>=2", "which"))
            ],
        ),
        ("old", ["wheels: Python 3.11-x86_64: app 1.0 needs old, which is not in the bundle"]),
        ("more", [f"wheels: Python {each}: app 1.0 needs more, which is not in the bundle" for each in BOTH]),
        ("app", [f"wheels: Python {each}: app[more] is asked for, and is not in the bundle" for each in BOTH]),
    ],
)
def test_a_missing_wheel_is_named(name: str, problems: list[str]) -> None:
    assert list(prove(tuple(item for item in ITEMS if item.name != name), NOTHING)) == problems


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (wheel("lib", "1.9"), "app 1.0 needs lib>=2, of which the bundle has 1.9"),
        (wheel("lib", "2.0", python=">=3.13"), "lib 2.0 needs Python >=3.13"),
        (wheel("lib", "2.0", python=">=3.12.1"), "lib 2.0 needs Python >=3.12.1"),  # 3.12 stands for its first release
        (
            wheel("lib", "2.0", tag="cp312-cp312-manylinux_2_17_aarch64"),
            "lib-2.0-cp312-cp312-manylinux_2_17_aarch64.whl is for another Python or another machine",
        ),
        (
            wheel("lib", "2.0", tag="cp312-cp312-manylinux_2_39_x86_64"),  # newer than the lock's glibc
            "lib-2.0-cp312-cp312-manylinux_2_39_x86_64.whl is for another Python or another machine",
        ),
    ],
)
def test_a_wheel_that_does_not_fit_is_named(item: Item, problem: str) -> None:
    assert f"wheels: Python 3.12-x86_64: {problem}" in list(prove(with_wheel(item), NOTHING))


@pytest.mark.parametrize(
    "item",
    [
        wheel("lib", "2.1rc1"),  # a lock may have one, however it came to be chosen
        wheel("lib", "2.0+local.1"),
        wheel("lib", "2.0", tag="cp311-abi3-manylinux2014_x86_64"),
        wheel("lib", "2.0", python=">=3.11,<4"),
        wheel("lib", "2.0", "app[more]"),  # a circle
        wheel("lib", "2.0", 'none; python_full_version < "3.11"'),
    ],
)
def test_a_wheel_that_fits(item: Item) -> None:
    assert list(prove(with_wheel(item), NOTHING)) == []


def test_an_extra_is_followed_wherever_it_is_asked_for() -> None:
    """The project itself was followed before, without the extra."""
    items = (wheel("a", "1", "b"), wheel("b", "1", "c[x]"), wheel("c", "1", 'd; extra == "X"'), lock("3.12", "c", "a"))
    assert list(prove(items, NOTHING)) == ["wheels: Python 3.12-x86_64: c 1 needs d, which is not in the bundle"]


def test_two_versions_of_a_project_are_no_lock() -> None:
    (first, second) = prove((*ITEMS, wheel("more", "2.0")), NOTHING)
    assert first == "wheels: Python 3.11-x86_64: app 1.0 needs more, of which the bundle has more than one: 1.0, 2.0"
    assert second.startswith("wheels: Python 3.12-x86_64: ")


def test_the_proof_of_the_bootstrap_is_the_same() -> None:
    items = tuple(dataclasses.replace(item, kind="bootstrap") for item in ITEMS if item.name != "old")
    assert prove_bootstrap(items, NOTHING) == [
        "bootstrap: Python 3.11-x86_64: app 1.0 needs old, which is not in the bundle"
    ]


PLACES = (
    "evil @ file:///tmp/evil.tar",
    "evil @ http://127.0.0.1/evil.tar.gz",
    "evil @ https://example.org/evil-1.0-py3-none-any.whl ; extra == 'never'",
    "evil @ git+https://example.org/evil",
    "evil @ /tmp/evil",
    "evil[x]@file:.",
    "./evil",
    "--index-url=http://127.0.0.1:1/",
    "-r /etc/passwd",
    "-e .",
    ".",
    "evil ==",
    "evil; nonsense",
    "evil; " + "(" * 2000,
    "evil" * 5000,
    "lib\u202e",
    "",
)


@pytest.mark.parametrize("text", PLACES)
def test_only_names_and_versions_may_be_needed_or_asked_for(text: str) -> None:
    needed = with_wheel(changed(ITEMS[2], requires_dist=[text]))
    asked = tuple(changed(item, asked=[text]) if item.attributes["type"] == "lock" else item for item in ITEMS)
    for hostile in (needed, asked):
        with pytest.raises(BundleError, match="attributes cannot be read"):
            list(prove(hostile, NOTHING))
    for verb in (lambda: list(load(needed, object())), lambda: emit(needed, SERVED)):  # type: ignore[arg-type]
        with pytest.raises(BundleError, match="attributes cannot be read"):
            verb()


SERVED = Served(SiteConfig(address="192.168.10.10"), "demo", "1.0")


@pytest.mark.parametrize(
    "marker", ['os_name ~= "posix"', 'python_version ~= "x"', '"a" in extras', 'sys_platform > "linux"']
)
def test_a_marker_without_a_meaning_ends_in_an_error_or_a_result(marker: str) -> None:
    with suppress(BundleError):
        list(prove(with_wheel(wheel("lib", "2.0", f"none; {marker}")), NOTHING))


LIB = ITEMS[2]


def _metadata(**fields: Json) -> dict[str, Json]:
    return {"metadata": {"metadata_version": "2.1", "name": "lib", "version": "2.0", **fields}}


@pytest.mark.parametrize(
    "evil",
    [
        dataclasses.replace(LIB, objects=()),
        dataclasses.replace(LIB, objects=(*LIB.objects, *ITEMS[0].objects)),
        dataclasses.replace(LIB, objects=ITEMS[0].objects),
        dataclasses.replace(LIB, name="bil"),
        dataclasses.replace(LIB, version="2.1"),
        dataclasses.replace(LIB, version="not a version"),
        changed(LIB, metadata={}),
        changed(LIB, metadata={"metadata_version": "2.1", "version": "2.0"}),
        changed(LIB, **_metadata(name="bil")),
        changed(LIB, **_metadata(version="3")),
        changed(LIB, **_metadata(**{":action": "doc_upload"})),
        changed(LIB, **_metadata(summary="two\r\nlines")),
        changed(LIB, **_metadata(summary=["a list"])),
        changed(LIB, **_metadata(**{'x"\r\nContent-Type: text/html\r\n\r\n': "y"})),
        changed(LIB, python=[]),
        changed(LIB, environments=[]),
        changed(LIB, tags=[]),
        changed(LIB, tags=["py3-none-any", "cp312-cp312-linux_x86_64"]),
        changed(LIB, requires_python="nonsense"),
        changed(LIB, requires_python=">=3.8.*"),
        changed(LIB, filename="../../evil-1-py3-none-any.whl"),
        changed(LIB, filename="/tmp/evil.whl"),
        changed(LIB, filename="evil\n.whl"),
        changed(LIB, filename=".whl"),
        changed(LIB, filename="lib-2.0-py3.whl"),
        changed(LIB, filename="lib-2.0-py3-none-any.whl\n"),
    ],
    ids=lambda item: str(item.attributes)[-60:],
)
def test_a_wheel_that_does_not_hold_together_is_refused(evil: Item) -> None:
    """By whoever reads it: the proof, what is loaded, and what is written for nodes."""
    hostile = with_wheel(evil) if evil.name == "lib" else (*ITEMS, evil)
    verbs: tuple[Callable[[], object], ...] = (
        lambda: list(prove(hostile, NOTHING)),
        lambda: list(load(hostile, object())),  # type: ignore[arg-type]
        lambda: emit(hostile, SERVED),
    )
    for verb in verbs:
        with pytest.raises(BundleError):
            verb()


@pytest.mark.parametrize(
    "attributes",
    [
        {"python": "3.1\u0662"},
        {"python": ""},
        {"environment": "3.11-x86_64"},
        {"glibc": "2.x"},
        {"arch": ""},
        {"asked": "lib"},
    ],
)
def test_a_lock_that_does_not_hold_together_is_refused(attributes: dict[str, Json]) -> None:
    with pytest.raises(BundleError):
        list(prove((*ITEMS[:-1], changed(ITEMS[-1], **attributes)), NOTHING))


BACKEND = """
from pathlib import Path
Path({marker!r}).touch()
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


@pytest.mark.parametrize("is_tree", [True, False])
@pytest.mark.parametrize("place", ["evil @ file://{bundle}", "evil @ {url}/evil.tar"])
def test_verifying_runs_nothing_of_a_forged_bundle(
    tmp_path: Path, index: LocalIndex, place: str, *, is_tree: bool
) -> None:
    """Its wheel says that it needs a source tree: one beside it, or the bundle, which is one as well if it can be."""
    bundle, marker = tmp_path / "demo-1.0.tar", tmp_path / "ran"
    tree = {
        "pyproject.toml": PROJECT.encode(),
        "backend.py": BACKEND.format(marker=str(marker)).encode(),
        "PKG-INFO": b"Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n",
    }
    requires = place.format(bundle=bundle, url=index.url.removesuffix("/simple"))
    items = (wheel("app", "1.0", requires), lock("3.11", "app"))
    manifest, documents = describe(Lock("demo", "1.0", "1" * 64, items))
    if is_tree:
        documents |= tree
        more = (Object(path, len(data), hashlib.sha256(data).hexdigest(), Made()) for path, data in tree.items())
        manifest = dataclasses.replace(manifest, documents=(*manifest.documents, *more))
    contents = {obj.path: obj.path.rpartition("/")[2].encode() for item in items for obj in item.objects} | documents
    with Writer(bundle, manifest, documents) as writer:
        for obj in writer.pending():
            with writer.slot(obj) as slot:
                slot.write(contents[obj.path])
                slot.finish()
        writer.commit()
    with tarfile.open(index.folder / "evil.tar", "w") as archive:
        for path, data in tree.items():
            member = tarfile.TarInfo(f"evil-1.0/{path}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    index.requests.clear()
    for command in (("verify", "--closure"), ("verify",), ("inspect", "--items")):
        argv = [sys.executable, "-m", "bundler", *command, str(bundle)]
        done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path)
        assert "Traceback" not in done.stderr
        if "--closure" in command:
            assert done.returncode == BundleError.exit_code
            assert ("is no document" if is_tree else "names a place to fetch from") in done.stderr
    assert not marker.exists()
    assert index.requests == []


MALICE = "import os; open(os.environ['MARKER'], 'a').write(__file__)\n"


def test_no_module_of_the_current_folder_is_run(tmp_path: Path, index: LocalIndex) -> None:
    """Neither by the program that asks pip for its configuration nor by any other."""
    index.add_wheel("app", "1.0", requires=["lib"])
    index.add_wheel("lib", "1.0")
    index.add_sdist("source", "1.0")
    here, marker = tmp_path / "here", tmp_path / "ran"
    here.mkdir()
    for name in ("pip", "packaging", "json", "sitecustomize", "usercustomize", "bounds", "answers", "piptools", "venv"):
        (here / f"{name}.py").write_text(MALICE)
    (here / "profile.yaml").write_text(
        "name: demo\nversion: '1'\ntargets: [{distro: rocky, release: '9'}]\n"
        "wheels: {python: ['3.11'], requirements: [app, source], sdist: [source]}\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {"MARKER": str(marker), "PIP_INDEX_URL": index.url, "PIP_CONFIG_FILE": os.devnull}
    bundler = str(Path(sys.executable).with_name("bundler"))
    for command in (("plan", "profile.yaml"), ("lock", "profile.yaml")):
        done = subprocess.run([bundler, *command], capture_output=True, text=True, cwd=here, env=environment)
        assert done.returncode == 0, done.stderr
    assert any("/files/lib" in request or "/simple/lib" in request for request in index.requests)
    assert not marker.exists(), marker.read_text()


def test_what_was_asked_for_is_kept(index: LocalIndex, resolved: Resolver, tmp_path: Path) -> None:
    index.add_wheel("app", "1.0", requires=[])
    lib = index.add_wheel("lib", "2.0")
    (tmp_path / "requirements.txt").write_text(
        f"--prefer-binary\nlib ==2.0 --hash=sha256:{hashlib.sha256(lib).hexdigest()}\n"
    )
    url = f"{index.url.removesuffix('simple')}files/app-1.0-py3-none-any.whl"
    items = resolved(python=["3.12"], requirements=[url, "requirements.txt"], index_url=index.url)
    ((_, found),) = LockAttributes.among(items)
    assert found.asked == ("app", "lib==2.0")
    assert [each.requires_dist for _, each in WheelAttributes.among(items)] == [(), ()]
