"""What the admin host runs of a bundle is told by the items that kinds make."""

from __future__ import annotations

import pytest

from bundler.bundle.programs import programs
from bundler.kinds import KINDS
from bundler.kinds.bootstrap import own_wheel
from bundler.model.lock import Lock


def test_the_bootstrap_tells_of_its_scripts_and_of_every_wheel(locks: dict[str, Lock]) -> None:
    lock = locks["bootstrap"]
    found = programs(lock.items)
    assert {program.role for program in found} == {"bootstrap"}
    paths = {program.file.path for program in found}
    assert {"bootstrap/install.sh", "bootstrap/uninstall.sh"} < paths
    assert f"bootstrap/wheels/{own_wheel.file_name()}" in paths
    assert paths == {obj.path for obj in lock.objects}
    assert all(item.attributes["role"] == "bootstrap" for item in lock.items)


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS if kind.name not in ("bootstrap", "images")])
def test_what_nodes_get_is_no_program_of_the_admin_host(kind: str, locks: dict[str, Lock]) -> None:
    assert programs(locks[kind].items) == []
