"""What an install costs: memory, bytes written, and nothing left in the temporary folder.

At 256 MB in every test run; `BUNDLER_FOOTPRINT=2100000000 make test ARGS="tests/e2e/test_footprint.py -s"` measures a
bundle of more than 2 GB.
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest
import yaml

from scripts.demo.hosts import HERE
from scripts.demo.journey import bundler, site
from tests.kinds.images.registries import OCI_CONFIG, OCI_MANIFEST, running_registry
from tests.kinds.wheels.indexes import LocalIndex, serve

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SIZE = int(os.environ.get("BUNDLER_FOOTPRINT", "256000000"))
_MEMORY = 200 << 20  # bytes
_OVERHEAD = 1.05


@pytest.fixture
def bundle(tmp_path: Path, free_port: Callable[[], int]) -> Path:
    """Half of it files, half of it layers of one image, and a wheel."""
    chance = random.Random(1)
    profile = tmp_path / "profile"
    profile.mkdir()
    names = [f"file-{number}" for number in range(4)]
    for name in names:
        _fill(profile / name, SIZE // 8, chance)
    (tmp_path / "index").mkdir()
    index = LocalIndex(tmp_path / "index")
    index.add_wheel("sample", "1.0")
    with running_registry(tmp_path / "upstream", free_port()) as registry, serve(index) as served:
        layers = [registry.push_blob("team/large", chance.randbytes(SIZE // 8)) for _ in range(4)]
        config = registry.push_blob("team/large", b'{"os":"linux","architecture":"amd64"}', OCI_CONFIG)
        image = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
        registry.push_manifest("team/large", image, "1")
        document = {
            "name": "large",
            "version": "1",
            "targets": [{"distro": "rocky", "release": "9"}],
            "files": [{"path": name} for name in names],
            "images": [f"{registry.host}/team/large:1"],
            "wheels": {"python": ["3.11"], "requirements": ["sample"], "index_url": served.url},
        }
        (profile / "large.yaml").write_text(yaml.safe_dump(document))
        built = bundler(HERE, "build", profile / "large.yaml", "--output", tmp_path / "out")
    return Path(built.stdout.splitlines()[-1])


def test_an_install_writes_each_byte_once_in_little_memory(bundle: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with site(HERE, tmp_path, own_ports=False) as there:
        argv = [sys.executable, "-m", "bundler", "install", str(bundle), "--json", *there.options]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(temporary)}) as process:
            assert process.stdout is not None
            memory = _peak_memory(process.pid, process.stdout)
            answer = json.load(process.stdout)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        running = json.loads(bundler(HERE, "services", "status", "--root", there.root, "--json").stdout)["services"]
        written = usage.ru_oublock * 512 + sum(_written(service["pid"]) for service in running)
    payload = sum(obj["size"] for obj in json.loads(bundler(HERE, "inspect", bundle, "--json").stdout)["objects"])
    print(f"\npayload {payload} B, written {written} B ({written / payload:.3f}), peak memory {memory >> 20} MiB")
    assert payload > SIZE
    assert answer["changed"]
    assert memory < _MEMORY
    assert written <= payload * _OVERHEAD + (4 << 20)  # devpi's empty database does not shrink with the bundle
    assert list(temporary.iterdir()) == []


def _fill(path: Path, size: int, chance: random.Random) -> None:
    with path.open("wb") as file:
        while size:
            file.write(chance.randbytes(min(size, 1 << 20)))
            size -= min(size, 1 << 20)


def _peak_memory(pid: int, answer: IO[bytes]) -> int:
    """The peak of a process's resident memory in bytes, up to when it begins to answer.

    Not rusage's: that one counts what the parent had when it forked.
    """
    peak = 0
    while not select.select([answer], [], [], 0.02)[0]:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        peak = next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")), peak)
    return peak


def _written(pid: int) -> int:
    """Bytes that a process has sent towards the disk (proc(5), /proc/PID/io)."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))
