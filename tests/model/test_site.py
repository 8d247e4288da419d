"""Whose bundles a site takes, as site.yaml says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bundler.errors import ConfigError
from bundler.inputs import keep_site, read_site, require_kept_trust
from bundler.model.site import SiteConfig, TrustedKeys


def site(tmp_path: Path, trusted: Any) -> SiteConfig:
    path = tmp_path / "given.yaml"
    path.write_text(yaml.safe_dump({"address": "192.0.2.1", "root": str(tmp_path), "trusted_keys": trusted}))
    return read_site(path, address=None, root=None)


def test_a_list_of_keys_is_a_policy_with_one_signature() -> None:
    assert SiteConfig(address="a").trusted_keys is None
    found = SiteConfig.model_validate({"address": "a", "trusted_keys": ["/etc/a.pub"]}).trusted_keys
    assert found is not None
    assert (found.keys, found.threshold, found.refuse_older, found.require_expiry) == (("/etc/a.pub",), 1, False, False)


def test_a_mapping_asks_for_more(tmp_path: Path) -> None:
    said = {"keys": ["a.pub", "b.pub"], "threshold": 2, "refuse_older": True, "require_expiry": True}
    assert site(tmp_path, said).trusted_keys == TrustedKeys(
        keys=("a.pub", "b.pub"), threshold=2, refuse_older=True, require_expiry=True
    )


@pytest.mark.parametrize(
    "said", [["a.pub"], {"keys": ["a.pub"], "threshold": 1, "refuse_older": True}, [], {}], ids=str
)
def test_a_policy_survives_what_an_install_keeps(tmp_path: Path, said: Any) -> None:
    config = site(tmp_path, said)
    keep_site(config)
    assert read_site(None, address=None, root=tmp_path) == config


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ({"threshold": 0}, "trusted_keys.threshold"),
        ({"threshold": "many"}, "trusted_keys.threshold"),
        ({"keys": "a.pub"}, "trusted_keys.keys"),
        ({"key": ["a.pub"]}, "trusted_keys.key"),
        ({"keys": [], "refuse_older": "perhaps"}, "trusted_keys.refuse_older"),
        ("a.pub", "trusted_keys"),
        ([7], "trusted_keys"),
        (None, "trusted_keys"),
    ],
    ids=str,
)
def test_a_policy_that_cannot_be_read_is_refused(tmp_path: Path, said: Any, place: str) -> None:
    with pytest.raises(ConfigError, match=place):
        site(tmp_path, said)


@pytest.mark.parametrize("said", [["a.pub"], [], {"refuse_older": True}], ids=str)
def test_a_policy_is_not_dropped_by_naming_another_file(tmp_path: Path, said: Any) -> None:
    keep_site(site(tmp_path, said))
    require_kept_trust(site(tmp_path, ["b.pub"]))  # other keys are meant
    silent = SiteConfig(address="192.0.2.1", root=str(tmp_path))
    with pytest.raises(ConfigError, match="asks for signatures, and the site that you name does not"):
        require_kept_trust(silent)
    require_kept_trust(silent.model_copy(update={"root": str(tmp_path / "new")}))
