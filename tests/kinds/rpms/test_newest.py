from __future__ import annotations

from pathlib import Path

from bundler.kinds.rpms.metadata import NEVRA, RepoMetadata
from bundler.kinds.rpms.newest import newest
from bundler.kinds.rpms.primary import Package
from bundler.kinds.rpms.repodata import Checksum

MODULES = """---
document: modulemd
version: 2
data: {{name: db, stream: "1", version: {version}, context: c, arch: x86_64, artifacts: {{rpms: [{artifacts}]}}}}
...
"""


def package(nevra: str) -> Package:
    return Package(NEVRA.parse(nevra), nevra, "", False, nevra, Checksum("sha256", "0" * 64), 1, "", "")


def taken(tmp_path: Path, nevras: list[str], *builds: tuple[int, str]) -> list[str]:
    modules = tmp_path / "modules.yaml"
    modules.write_text("".join(MODULES.format(version=version, artifacts=rpms) for version, rpms in builds))
    metadata = RepoMetadata("test", tmp_path / "primary.xml", modules=modules)
    return [str(each.nevra) for each in newest(metadata, [package(nevra) for nevra in nevras])]


def test_the_highest_version_of_each_name_and_architecture(tmp_path: Path) -> None:
    nevras = ["a-1.9-1.x86_64", "a-1.10-1.x86_64", "a-1.8-1.i686", "b-1:1-1.noarch", "b-9-1.noarch", "c-1~rc1-1.noarch"]
    assert taken(tmp_path, nevras) == ["a-1.10-1.x86_64", "a-1.8-1.i686", "b-1:1-1.noarch", "c-1~rc1-1.noarch"]


def test_the_newest_build_of_a_stream_whole(tmp_path: Path) -> None:
    nevras = ["db-1-1.x86_64", "db-2-1.x86_64", "lib-7-1.x86_64", "db-5-1.x86_64", "tool-1-1.x86_64"]
    builds = [
        (10, "db-0:1-1.x86_64, tool-0:1-1.x86_64"),
        (20, "db-0:2-1.x86_64, lib-0:7-1.x86_64"),
    ]
    # tool is in the older build alone, so that build is taken whole; db-5 is of no module, and the newest such.
    assert taken(tmp_path, nevras, *builds) == nevras
    assert taken(tmp_path, nevras[:4], *builds) == nevras[1:4]
