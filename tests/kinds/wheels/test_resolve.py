"""Locks against a real index: one on loopback whose packages are made on the spot, and PyPI."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bundler.errors import FetchError, ProfileError, ResolveError
from bundler.model.config import Config, HostCredentials, Retries
from bundler.model.items import Download, Item, Made
from bundler.model.target import Target
from bundler.transfer.store import Store
from bundler.transfer.upstream import Upstream
from tests.kinds.wheels.conftest import ROCKY_9, Resolver
from tests.kinds.wheels.indexes import LocalIndex

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
OTHER = "3.12" if HERE != "3.12" else "3.13"
QUIET_PIP = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")} | {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


def files_of(items: tuple[Item, ...]) -> list[str]:
    return [obj.path.removeprefix("wheels/") for item in items for obj in item.objects]


def fill(folder: Path, items: tuple[Item, ...], store: Path) -> Path:
    """The bundle's wheels/ as a folder."""
    wheels = folder / "wheels"
    wheels.mkdir()
    with Upstream(Config(), base=folder, store=Store(store)) as upstream:
        for item in items:
            for obj in item.objects:
                with upstream.open(obj, offset=0) as answer:
                    (folder / obj.path).write_bytes(b"".join(answer.chunks))
    return wheels


def test_markers_and_tags_are_those_of_the_asked_python(index: LocalIndex, resolved: Resolver) -> None:
    data = index.add_wheel(
        "app", "1.0", requires=['old; python_version < "3.12"', 'new; python_version >= "3.12"', "arch"]
    )
    index.add_wheel("old", "1.0")
    index.add_wheel("new", "1.0", python=">=3.12")
    for tag in ("cp311-cp311-manylinux_2_28_x86_64", "cp312-cp312-manylinux_2_28_x86_64"):
        index.add_wheel("arch", "1.0", tag)
        index.add_wheel("arch", "1.0", tag.replace("x86_64", "aarch64"))
    index.add_wheel("arch", "1.0", "cp312-cp312-manylinux_2_39_x86_64")  # newer than Rocky 9's glibc
    index.add_wheel("arch", "2.0", "cp313-cp313-manylinux_2_28_x86_64", python=">=3.13")

    items = resolved(python=["3.11", "3.12"], requirements=["app"], index_url=index.url)

    assert files_of(items) == [
        "app-1.0-py3-none-any.whl",
        "arch-1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "arch-1.0-cp312-cp312-manylinux_2_28_x86_64.whl",
        "new-1.0-py3-none-any.whl",
        "old-1.0-py3-none-any.whl",
        "requirements-3.11.txt",
        "requirements-3.12.txt",
    ]
    by_file = dict(zip(files_of(items), items, strict=True))
    app = by_file["app-1.0-py3-none-any.whl"]
    assert (app.kind, app.name, app.version, app.licence) == ("wheels", "app", "1.0", "Apache-2.0")
    assert app.purl == "pkg:pypi/app@1.0?file_name=app-1.0-py3-none-any.whl"
    assert app.attributes["python"] == ["3.11", "3.12"]
    assert app.attributes["metadata"] == {
        "metadata_version": "2.4",
        "name": "app",
        "version": "1.0",
        "requires_python": None,
        "summary": "app, made for a test",
        "license": "Apache-2.0",
    }
    assert by_file["new-1.0-py3-none-any.whl"].attributes["requires_python"] == ">=3.12"
    assert json.loads(json.dumps(app.attributes)) == app.attributes
    (obj,) = app.objects
    assert isinstance(obj.source, Download)
    assert (obj.size, obj.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_each_architecture_has_its_own_lock(index: LocalIndex, resolved: Resolver) -> None:
    for arch in ("x86_64", "aarch64"):
        index.add_wheel("arch", "1.0", f"cp312-abi3-manylinux2014_{arch}")
    targets = (ROCKY_9, Target(distro="rocky", release="9", arch="aarch64"))
    items = resolved(targets=targets, python=["3.12"], requirements=["arch"], index_url=index.url)
    assert files_of(items) == [
        "arch-1.0-cp312-abi3-manylinux2014_aarch64.whl",
        "arch-1.0-cp312-abi3-manylinux2014_x86_64.whl",
        "requirements-3.12-aarch64.txt",
        "requirements-3.12-x86_64.txt",
    ]
    assert items[0].attributes["environments"] == ["3.12-aarch64"]


def test_the_same_again_gives_the_same_items(index: LocalIndex, resolved: Resolver) -> None:
    index.add_wheel("one", "1.0")
    index.add_sdist("source", "1.0")
    section = {"python": [HERE], "requirements": ["one", "source"], "index_url": index.url, "sdist": "build"}
    assert resolved(**section) == resolved(**section)


def test_wheels_are_built_of_what_has_only_source(index: LocalIndex, resolved: Resolver, tmp_path: Path) -> None:
    index.add_wheel("needed", "1.0")
    index.add_sdist("source", "1.0", requires=["needed"])
    items = resolved(python=[HERE, OTHER], requirements=["source"], sdist="build", index_url=index.url)
    source = next(item for item in items if item.name == "source")
    assert source.objects[0].source == Made()
    assert source.attributes["python"] == [HERE, OTHER]  # built once for both

    wheels = fill(tmp_path, items, tmp_path / "store")
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", str(wheels)]
    pip += ["--target", str(target), "--require-hashes", "-r", str(wheels / f"requirements-{HERE}.txt")]
    subprocess.run(pip, env=QUIET_PIP, check=True)
    assert (target / "source" / "__init__.py").is_file()
    assert (target / "needed" / "__init__.py").is_file()


def test_source_only_packages_are_all_named_and_never_run(
    index: LocalIndex, resolved: Resolver, tmp_path: Path
) -> None:
    index.add_wheel("fine", "1.0")
    index.add_sdist("second", "1.0")
    ran = tmp_path / "ran"
    index.add_sdist("first", "1.0", requires=["second", "fine"], backend=f"open({str(ran)!r}, 'w').close()\n")
    with pytest.raises(ResolveError, match=r"only source, of first 1\.0, second 1\.0") as caught:
        resolved(python=[HERE], requirements=["first"], index_url=index.url)
    assert "sdist: [first, second]" in caught.value.hint
    assert not ran.exists()


def test_refusing_source_takes_an_older_version_that_has_a_wheel(index: LocalIndex, resolved: Resolver) -> None:
    index.add_wheel("both", "1.0")
    index.add_sdist("both", "2.0")
    items = resolved(python=[HERE], requirements=["both"], sdist="refuse", index_url=index.url)
    assert items[0].version == "1.0"


def test_a_build_that_cannot_be_right_for_the_nodes(index: LocalIndex, resolved: Resolver) -> None:
    index.add_sdist("compiled", "1.0", tag="cp39-cp39-linux_x86_64")
    with pytest.raises(ResolveError, match=r"compiled 1\.0 has no wheel .* gave cp39-cp39-linux_x86_64") as caught:
        resolved(python=[HERE], requirements=["compiled"], sdist=["compiled"], index_url=index.url)
    assert "name that by URL" in caught.value.hint


def test_what_cannot_be_satisfied_is_explained(index: LocalIndex, resolved: Resolver) -> None:
    index.add_wheel("a", "1.0", requires=["b>=2"])
    index.add_wheel("b", "1.0")
    index.add_wheel("b", "2.0")
    with pytest.raises(ResolveError, match=r"a 1\.0 depends on b>=2"):
        resolved(python=["3.12"], requirements=["a", "b<2"], index_url=index.url)
    with pytest.raises(ResolveError, match=r"b==3 \(it has 2\.0, 1\.0\)"):
        resolved(python=["3.12"], requirements=["b==3"], index_url=index.url)


def test_constraints_hold_without_asking_for_the_package(index: LocalIndex, resolved: Resolver) -> None:
    index.add_wheel("a", "1.0", requires=["b"])
    index.add_wheel("b", "1.0")
    index.add_wheel("b", "2.0")
    section = {"python": ["3.12"], "requirements": ["a"], "constraints": ["b<2", "unused<1"], "index_url": index.url}
    assert [item.version for item in resolved(**section)][:2] == ["1.0", "1.0"]


def test_requirements_files_lie_beside_the_profile(index: LocalIndex, resolved: Resolver, tmp_path: Path) -> None:
    index.add_wheel("a", "1.0")
    (tmp_path / "requirements.txt").write_text("a  # the one\n")
    assert resolved(python=["3.12"], requirements=["requirements.txt"], index_url=index.url)[0].name == "a"
    with pytest.raises(ProfileError, match=r"missing\.txt"):
        resolved(python=["3.12"], requirements=["missing.txt"], index_url=index.url)


def test_a_wheel_by_url_is_taken_as_it_is(index: LocalIndex, resolved: Resolver) -> None:
    index.add_wheel("a", "1.0")
    url = f"{index.url}/../files/a-1.0-py3-none-any.whl".replace("/simple/..", "")
    items = resolved(python=["3.12"], requirements=[url], index_url=index.url)
    assert items[0].objects[0].source == Download(url)
    assert items[1].name == "requirements-3.12.txt"


def test_locks_keep_original_names_when_a_mirror_answers(index: LocalIndex, resolved: Resolver) -> None:
    index.add_wheel("a", "1.0")
    mirror = index.url.removesuffix("simple")
    config = Config(mirrors={"https://pypi.org/": mirror})
    (item, _) = resolved(config=config, python=["3.12"], requirements=["a"])
    assert item.objects[0].source == Download("https://pypi.org/files/a-1.0-py3-none-any.whl")


def test_an_index_that_fails_is_no_empty_index(index: LocalIndex, resolved: Resolver) -> None:
    """pip takes a page that does not come for a project without files, and would settle for another version."""
    index.add_wheel("a", "2.0", requires=["b"])
    index.add_wheel("a", "1.0")
    index.add_wheel("b", "1.0")
    index.broken = {"/simple/b/"}
    with pytest.raises(FetchError, match=r"/simple/b/.*503"):
        resolved(python=["3.12"], requirements=["a"], index_url=index.url)
    with pytest.raises(FetchError, match="refused"):
        resolved(python=["3.12"], requirements=["a"], index_url="http://127.0.0.1:9/simple")


def test_credentials_reach_the_index_and_nothing_else(index: LocalIndex, resolved: Resolver, tmp_path: Path) -> None:
    secret = "s3cret-of-the-index"
    (tmp_path / "password").write_text(f"{secret}\n")
    index.add_wheel("a", "1.0")
    index.password = secret
    config = Config(
        credentials={
            urlsplit(index.url).netloc: HostCredentials(username="user", password_file=str(tmp_path / "password"))
        },
        retries=Retries(attempts=2, backoff=0.01),
    )
    seen: list[bytes] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.append(path.read_bytes())
                except OSError:
                    continue
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        items = resolved(config=config, python=["3.12"], requirements=["a"], index_url=index.url)
    finally:
        done.set()
        watcher.join()
    assert secret not in repr(items)
    assert any(b"wheels/foreign" in line for line in seen)
    assert not [line for line in seen if secret.encode() in line]
    with pytest.raises(FetchError, match="401"):
        resolved(python=["3.12"], requirements=["a"], index_url=index.url)


def test_nothing_of_the_machines_pip_configuration_counts(
    index: LocalIndex, resolved: Resolver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add_wheel("a", "1.0")
    stray = tmp_path / "stray"
    stray.mkdir()
    (stray / "a-9.0-py3-none-any.whl").write_bytes(index.add_wheel("a", "9.0"))
    (index.folder / "files" / "a-9.0-py3-none-any.whl").unlink()
    page = index.folder / "simple" / "a" / "index.html"
    page.write_text(page.read_text().replace("9.0", "0.9"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(stray))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert resolved(python=["3.12"], requirements=["a"], index_url=index.url)[0].version == "1.0"


def test_the_machines_index_is_used_where_the_profile_names_none(
    index: LocalIndex, resolved: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add_wheel("only_here_and_not_on_pypi", "1.0")
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    (item, _) = resolved(python=["3.12"], requirements=["only-here-and-not-on-pypi"])
    assert item.name == "only-here-and-not-on-pypi"


@pytest.mark.network
def test_a_lock_is_what_the_real_python_would_install(
    resolved: Resolver, other_pythons: dict[str, str], tmp_path: Path
) -> None:
    """From this Python for another one, against that very interpreter's pip; the same glibc on both sides."""
    if OTHER not in other_pythons:
        pytest.skip(f"no Python {OTHER} here")
    requirements = ["cffi==1.17.1", "markupsafe", "redis==5.0.8", "importlib-resources==6.4.5"]
    report = tmp_path / "report.json"
    pip = [other_pythons[OTHER], "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    pip += ["--index-url", "https://pypi.org/simple", "--report", str(report), *requirements]
    kept = {name: os.environ[name] for name in ("PIP_CERT",) if name in os.environ}
    subprocess.run(pip, env=QUIET_PIP | kept, check=True)
    expected = {
        entry["download_info"]["url"]: entry["download_info"]["archive_info"]["hashes"]["sha256"]
        for entry in json.loads(report.read_text())["install"]
    }
    target = Target(distro="any", release="1", arch=platform.machine())
    items = resolved(
        targets=(target,),
        python=[OTHER],
        requirements=requirements,
        glibc=platform.libc_ver()[1],
        index_url="https://pypi.org/simple",
    )
    found = {obj.source.url: obj.sha256 for item in items for obj in item.objects if isinstance(obj.source, Download)}
    assert found == expected


@pytest.mark.network
@pytest.mark.parametrize(
    ("requirement", "project", "file_name"),
    [
        ("docopt==0.6.2", "docopt", "docopt-0.6.2-py2.py3-none-any.whl"),
        ("pyramid-chameleon==0.3", "pyramid-chameleon", "pyramid_chameleon-0.3-py3-none-any.whl"),  # of devpi-web
    ],
)
def test_a_real_package_that_has_only_source(
    resolved: Resolver, requirement: str, project: str, file_name: str
) -> None:
    section = {"python": [OTHER], "requirements": [requirement], "index_url": "https://pypi.org/simple"}
    with pytest.raises(ResolveError, match="only source, of ") as caught:
        resolved(**section)
    assert f"sdist: [{project}]" in caught.value.hint
    assert file_name in files_of(resolved(**section, sdist=[project]))


def test_a_build_that_fails_says_so(index: LocalIndex, resolved: Resolver) -> None:
    index.add_sdist("failing", "1.0", backend="raise RuntimeError('no compiler here')\n")
    with pytest.raises(ResolveError, match="failing") as caught:
        resolved(python=[HERE], requirements=["failing"], sdist="build", index_url=index.url)
    assert "no compiler here" in caught.value.message
