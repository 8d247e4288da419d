"""The project's own files agree with each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

from bundler.model import by_hand


def _locked(project: Path) -> dict[str, str]:
    text = (project / "requirements-dev.lock").read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))


def test_pre_commit_runs_the_locked_versions(project: Path) -> None:
    config = yaml.safe_load((project / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    pins = {pin for hook in hooks for pin in hook["additional_dependencies"]}
    assert {pin.partition("==")[0] for pin in pins} >= {"ruff", "mypy"}
    locked = _locked(project)
    assert pins == {f"{name}=={locked[name]}" for name in (pin.partition("==")[0] for pin in pins)}


def test_the_lock_names_no_package_index(project: Path) -> None:
    """It must install from whatever index a developer's pip is set up for."""
    text = (project / "requirements-dev.lock").read_text()
    assert not re.search(r"://|^-|^\s+--(?!hash=)", text, re.MULTILINE)


def test_the_lock_has_every_dependency(project: Path) -> None:
    document = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    extras = [requirement for group in document["optional-dependencies"].values() for requirement in group]
    names = {re.split(r"[<>=~! ;\[]", line)[0].lower() for line in [*document["dependencies"], *extras]}
    assert names <= set(_locked(project))


def test_ci_runs_the_test_command(project: Path) -> None:
    assert "make test" in (project / ".ci" / "run").read_text().splitlines()


def test_security_promises_name_tests_that_exist(project: Path) -> None:
    text = (project / "SECURITY.md").read_text()
    named = set(re.findall(r"`(tests/[^`]+)`", text))
    assert len(named) > 20
    for each in named:
        place, _, test = each.partition("::")
        found = sorted(project.glob(place.rstrip("/")))
        assert found, each
        if test:
            assert any(f"def {test}(" in path.read_text() for path in found), each


def test_readme_has_the_check_by_hand(project: Path) -> None:
    text = (project / "README.md").read_text()
    for line in (by_hand.check("NAME-VERSION") + by_hand.set_up("NAME-VERSION")).splitlines():
        if line.startswith("  "):
            assert f"\n{line[2:]}\n" in text, line
