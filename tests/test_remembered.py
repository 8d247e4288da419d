"""What was resolved is taken again where upstream answers as before, and only there."""

from __future__ import annotations

import functools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from pydantic import BaseModel

from bundler.errors import FetchError, ResolveError
from bundler.kinds import KINDS
from bundler.kinds.bootstrap import own_wheel
from bundler.model.config import Config, Retries
from bundler.model.items import Item
from bundler.model.target import Target
from bundler.remembered import forget, resolved
from bundler.transfer.notes import Notes
from bundler.transfer.store import Store
from bundler.transfer.upstream import Upstream
from tests.fakes import upstream as fake
from tests.kinds.wheels.indexes import LocalIndex, serve

ROCKY_8 = Target(distro="rocky", release="8")
BY_NAME = {kind.name: kind for kind in KINDS}
Turn = Callable[..., tuple[tuple[Item, ...], bool]]


@pytest.fixture
def turn(tmp_path: Path) -> Turn:
    """Resolve a section, as a command does; gives the items, and whether they were worked out anew."""

    def run(kind: str, section: object, config: Config | None = None) -> tuple[tuple[Item, ...], bool]:
        worked: list[bool] = []

        def resolve(spec: BaseModel, targets: tuple[Target, ...], upstream: Upstream) -> tuple[Item, ...]:
            worked.append(True)
            return BY_NAME[kind].resolve(spec, targets, upstream)

        config = config or Config(retries=Retries(attempts=1))
        notes = Notes(tmp_path / "lock.json")
        with Upstream(config, base=tmp_path, store=Store(tmp_path / "lock.d"), notes=notes) as upstream:
            spec = BY_NAME[kind].spec.model_validate(section)
            return resolved(kind, resolve, spec, (ROCKY_8,), upstream), bool(worked)

    return run


@pytest.fixture
def index(tmp_path: Path) -> Iterator[LocalIndex]:
    folder = tmp_path / "index"
    folder.mkdir()
    with serve(LocalIndex(folder)) as served:
        served.add_wheel("app", "1.0", requires=["part"])
        served.add_wheel("part", "1.0")
        yield served


def wheels(index: LocalIndex, *more: str) -> dict[str, Any]:
    return {"python": ["3.12"], "requirements": ["app", *more], "index_url": index.url}


class TestWheels:
    def test_the_same_pages_mean_the_same_wheels(self, turn: Turn, index: LocalIndex) -> None:
        first, worked = turn("wheels", wheels(index))
        assert worked
        index.requests.clear()
        again, worked = turn("wheels", wheels(index))
        assert not worked
        assert {(item.name, item.version, item.objects) for item in again} == {
            (item.name, item.version, item.objects) for item in first
        }
        # What requirements lead to is looked at too, and no wheel is.
        assert sorted(index.requests) == ["GET /simple/app/", "GET /simple/part/"]

    def test_a_new_version_of_what_one_leads_to(self, turn: Turn, index: LocalIndex) -> None:
        turn("wheels", wheels(index))
        index.add_wheel("part", "1.1")
        items, worked = turn("wheels", wheels(index))
        assert worked
        assert {(item.name, item.version) for item in items} >= {("part", "1.1")}
        assert not turn("wheels", wheels(index))[1]

    def test_another_section(self, turn: Turn, index: LocalIndex) -> None:
        turn("wheels", wheels(index))
        assert turn("wheels", wheels(index, "part"))[1]
        assert turn("wheels", {**wheels(index), "python": ["3.11"]})[1]

    def test_another_config(self, turn: Turn, index: LocalIndex) -> None:
        turn("wheels", wheels(index))
        assert turn("wheels", wheels(index), Config(mirrors={"https://pypi.org": "https://pypi.corp.example"}))[1]

    def test_another_index_in_pips_configuration(
        self, turn: Turn, index: LocalIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
        section = {"python": ["3.12"], "requirements": ["app"]}
        (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {index.url}\n")
        turn("wheels", section)
        assert not turn("wheels", section)[1]
        (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {index.url}/\n")
        assert turn("wheels", section)[1]

    def test_a_requirements_file_that_changed(self, turn: Turn, index: LocalIndex, tmp_path: Path) -> None:
        (tmp_path / "requirements.txt").write_text("app\n")
        section = {**wheels(index), "requirements": ["requirements.txt"]}
        turn("wheels", section)
        assert not turn("wheels", section)[1]
        (tmp_path / "requirements.txt").write_text("part\n")
        assert turn("wheels", section)[1]

    def test_bytes_that_the_store_lost(self, turn: Turn, index: LocalIndex, tmp_path: Path) -> None:
        turn("wheels", wheels(index))
        for path in (tmp_path / "lock.d").iterdir():
            if len(path.name) == 64:
                path.unlink()
        assert turn("wheels", wheels(index))[1]

    @pytest.mark.parametrize("damage", [b"", b"{", b'{"key": 1}\n{}', b"[]\n\n", b"\xff\n\xff"])
    def test_notes_that_cannot_be_read(self, turn: Turn, index: LocalIndex, tmp_path: Path, damage: bytes) -> None:
        turn("wheels", wheels(index))
        Notes(tmp_path / "lock.json").remember("resolved-wheels", damage)
        assert turn("wheels", wheels(index))[1]

    def test_what_is_built_here_is_built_again(self, turn: Turn, index: LocalIndex) -> None:
        """Its bytes come of this machine's programs as well."""
        index.add_sdist("source", "1.0")
        section = {**wheels(index, "source"), "sdist": "build"}
        turn("wheels", section)
        assert turn("wheels", section)[1]

    def test_a_file_by_its_url_may_change_there(self, turn: Turn, index: LocalIndex) -> None:
        url = f"{index.url.removesuffix('simple')}files/part-1.0-py3-none-any.whl"
        section = {**wheels(index), "requirements": [f"part @ {url}"]}
        turn("wheels", section)
        assert turn("wheels", section)[1]

    def test_an_index_that_is_gone(self, turn: Turn, index: LocalIndex) -> None:
        turn("wheels", wheels(index))
        index.broken.add("/simple/part/")
        with pytest.raises(FetchError):
            turn("wheels", wheels(index))

    def test_forgotten(self, turn: Turn, index: LocalIndex, tmp_path: Path) -> None:
        turn("wheels", wheels(index))
        forget(Notes(tmp_path / "lock.json"))
        assert turn("wheels", wheels(index))[1]


class TestRpms:
    @pytest.fixture
    def repository(self, shared: Path, tmp_path: Path) -> Iterator[tuple[Path, str]]:
        folder = tmp_path / "repository"
        shutil.copytree(shared / "rpm" / "rocky8", folder)
        (folder / "containerd.io-1.6.24-3.1.el8.x86_64.rpm").touch()  # which it lists, and has not
        handler = functools.partial(_Quiet, directory=str(folder))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        server.server_close()

    def test_the_same_repomd_means_the_same_packages(self, turn: Turn, repository: tuple[Path, str]) -> None:
        folder, url = repository
        section = {"repos": [{"id": "appstream", "url": url, "mode": "mirror", "gpgcheck": False}]}
        first, worked = turn("rpms", section)
        assert worked
        # What repomd.xml names by its digest is not asked for again.
        for path in (folder / "repodata").iterdir():
            if path.name != "repomd.xml":
                path.unlink()
        again, worked = turn("rpms", section)
        assert not worked
        assert sorted(again, key=str) == sorted(first, key=str)
        (folder / "repodata" / "repomd.xml").write_text(
            (folder / "repodata" / "repomd.xml").read_text().replace("</repomd>", "<!-- new --></repomd>")
        )
        with pytest.raises(ResolveError):
            turn("rpms", section)

    def test_a_package_that_was_lost_is_looked_for_again(self, turn: Turn, repository: tuple[Path, str]) -> None:
        """A mirror goes without it; the next time it may be there."""
        folder, url = repository
        lost = next(folder.rglob("socat-*.rpm"))
        lost.rename(folder / "away")
        section = {"repos": [{"id": "appstream", "url": url, "mode": "mirror", "gpgcheck": False}]}
        without, _ = turn("rpms", section)
        (folder / "away").rename(lost)
        items, worked = turn("rpms", section)
        assert worked
        assert len(items) == len(without) + 1

    def test_a_list_of_mirrors_that_changed(
        self, turn: Turn, repository: tuple[Path, str], server: fake.Upstream
    ) -> None:
        url = server.put("/mirrors", repository[1].encode())
        section = {"repos": [{"id": "appstream", "mirrorlist": url, "mode": "mirror", "gpgcheck": False}]}
        turn("rpms", section)
        assert not turn("rpms", section)[1]
        server.put("/mirrors", b"# a new one\n" + repository[1].encode())
        assert turn("rpms", section)[1]

    def test_a_mirror_that_failed_is_tried_again(
        self, turn: Turn, repository: tuple[Path, str], server: fake.Upstream
    ) -> None:
        url = server.put("/mirrors", f"{server.url}/broken/\n{repository[1]}".encode())
        server.put("/broken/repodata/repomd.xml", b"", *[fake.Fault(status=503)] * 9)
        section = {"repos": [{"id": "appstream", "mirrorlist": url, "mode": "mirror", "gpgcheck": False}]}
        turn("rpms", section)
        assert turn("rpms", section)[1]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_images_are_asked_for_by_name_each_time(turn: Turn) -> None:
    _, worked = turn("images", [])
    assert worked


def test_bundler_itself_is_taken_as_it_is(turn: Turn, index: LocalIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have changed without a new version: in a checkout it does."""
    own = [Requirement(line).name for line in own_wheel.requirements("site")]
    for name in own:
        index.add_wheel(name.replace("-", "_"), "99.0")
    monkeypatch.setattr(own_wheel, "requirements", lambda _extra: tuple(own))
    config = Config(mirrors={"https://pypi.org/simple": index.url})
    section = {"target": str(ROCKY_8), "python": "3.12"}
    assert turn("bootstrap", section, config)[1]
    assert turn("bootstrap", section, config)[1]


def test_files_that_are_read_to_be_known_are_read_again(turn: Turn, server: fake.Upstream) -> None:
    section = [{"url": server.put("/tool", b"x")}]
    turn("files", section)
    assert turn("files", section)[1]
