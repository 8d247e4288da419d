"""bundler's own wheel: one that pip takes, of the same bytes wherever it is made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bundler.kinds.bootstrap import own_wheel
from bundler.kinds.bootstrap.spec import Spec

_MAKE = "import sys; from bundler.kinds.bootstrap import own_wheel; sys.stdout.buffer.write(own_wheel.build())"


@pytest.mark.slow
def test_an_installed_bundler_makes_the_same_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / own_wheel.file_name()
    wheel.write_bytes(own_wheel.build())
    home = tmp_path / "installed"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(home),
        str(wheel),
    ]
    subprocess.run(pip, check=True)
    # Its dependencies are those of this environment.
    made = subprocess.run(
        [sys.executable, "-c", _MAKE], cwd=home, env={"PYTHONPATH": str(home)}, capture_output=True, check=True
    )
    assert made.stdout == wheel.read_bytes()
    assert (home / "bundler/shipped_profiles/kubespray-2.x.yaml").is_file()


def test_what_it_needs_is_said_without_extras() -> None:
    site, build = own_wheel.requirements("site"), own_wheel.requirements("build")
    assert any(requirement.startswith("devpi-server") for requirement in site)
    assert not any(requirement.startswith(("oras", "solv")) for requirement in site)
    assert any(requirement.startswith("oras") for requirement in build)
    assert not any("extra" in requirement for requirement in (*site, *build))


def test_an_old_python_is_refused() -> None:
    with pytest.raises(ValueError, match=r"3\.11 or newer"):
        Spec(target="rocky-9-x86_64", python="3.9")
