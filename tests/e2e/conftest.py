"""The demo's own parts, brought up once for all tests of the whole path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.demo.hosts import HERE, can_make_namespaces
from scripts.demo.internet import Internet, internet
from scripts.demo.journey import Journey, Site, inside, journey, site
from tests.e2e.story import Months, build_months


@pytest.fixture(scope="session")
def test_data(project: Path) -> Path | None:
    """The folder of test data, or None: the internet then makes its own."""
    folder = project.parent / "shared"
    return folder if (folder / "rpm").is_dir() else None


@pytest.fixture(scope="session")
def upstream(tmp_path_factory: pytest.TempPathFactory, test_data: Path | None) -> Iterator[Internet]:
    """The internet of the demo."""
    with internet(tmp_path_factory.mktemp("internet") / "up", test_data) as running:
        yield running


@pytest.fixture(scope="session")
def way(tmp_path_factory: pytest.TempPathFactory, upstream: Internet) -> Iterator[Journey]:
    """The demo's bundle, built, unpacked and installed, with a node: behind an air gap where this user can make one."""
    work = tmp_path_factory.mktemp("way")
    with journey(work, upstream, gap=can_make_namespaces(), say=print) as there:
        yield there


@pytest.fixture(scope="session")
def sealed_way(tmp_path_factory: pytest.TempPathFactory, upstream: Internet, way: Journey) -> Iterator[Journey]:
    """The same bundle on another site, which speaks nothing but https, and answers nobody who does not log in."""
    if not way.gap:
        pytest.skip("network namespaces take root")
    work = tmp_path_factory.mktemp("sealed")
    with inside(work, upstream, way.bundle, way.key, gap=True, say=print, sealed=True) as there:
        yield there


@pytest.fixture(scope="session")
def months(upstream: Internet, tmp_path_factory: pytest.TempPathFactory) -> Months:
    """Three releases of one name."""
    return build_months(upstream, tmp_path_factory.mktemp("months"))


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Site]:
    """A site that is still empty, on this machine."""
    with site(HERE, tmp_path, own_ports=False) as made:
        yield made
