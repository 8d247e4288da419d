"""The documents that people write, found and read: profiles, bundler's config, site.yaml."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import yaml
from pydantic import BaseModel

from bundler.errors import BundlerError, ConfigError, ProfileError
from bundler.files import read_small, replacing
from bundler.kinds import KINDS
from bundler.model import written
from bundler.model.config import Config
from bundler.model.profile import Profile, profile_model
from bundler.model.site import SITE_FILE, SiteConfig
from bundler.recipes import RECIPES

_SIZE_LIMIT = 4 << 20


def shipped_profiles() -> dict[str, Path]:
    """The profiles that come with bundler, by name."""
    # An installed wheel carries them inside the package; a checkout has them at its top.
    installed = Path(str(resources.files("bundler"))) / "shipped_profiles"
    folder = installed if installed.is_dir() else Path(__file__).parent.parent / "profiles"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_profile(name: str) -> Path:
    """A profile by path, or by the name of a shipped one. Raises ProfileError when there is neither."""
    path = Path(name)
    if path.is_file():
        return path
    shipped = shipped_profiles()
    if name in shipped:
        return shipped[name]
    raise ProfileError(
        f"there is no profile {name!r}: no such file, and the shipped ones are {', '.join(shipped)}",
        hint="give the path of a YAML file, or one of these names",
    )


def read_profile(path: Path, changes: Mapping[str, str] | None = None) -> Profile:
    """The profile at `path` with `changes` (`--set`) applied. Raises ProfileError, naming every line that is wrong."""
    model = profile_model(_sections())
    document = written.parse(_read(path, ProfileError), model, str(path), ProfileError, changes=changes)
    found = {name: spec for name in _sections() if (spec := getattr(document, name)) is not None}
    if not found:
        raise ProfileError(f"{path}: it asks for nothing", hint=f"add a section: {', '.join(_sections())}")
    recipes = {recipe.name: found.pop(recipe.name) for recipe in RECIPES if recipe.name in found}
    return Profile(document.name, document.version, document.targets, found, recipes)


def profile_schema() -> dict[str, object]:
    """The JSON schema of a profile, for editors."""
    return profile_model(_sections()).model_json_schema(by_alias=True)


def _sections() -> dict[str, type[BaseModel]]:
    """The sections that a profile may have, and what each is."""
    return {kind.name: kind.spec for kind in KINDS} | {recipe.name: recipe.spec for recipe in RECIPES}


def read_config(path: Path | None) -> Config:
    """bundler's config: `path`, else ~/.config/bundler/config.yaml where there is one, else the defaults."""
    if path is None:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        path = base / "bundler" / "config.yaml"
        if not path.is_file():
            return Config()
    return written.parse(_read(path, ConfigError), Config, str(path), ConfigError)


def read_site(
    path: Path | None,
    *,
    address: str | None,
    root: Path | None,
    services: str | None = None,
    tls: Mapping[str, str] | str | None = None,
    login: str | None = None,
) -> SiteConfig:
    """The site: from `path`, else from the site.yaml that an earlier install left in its root, with options on top.

    Raises ConfigError when nothing says which address the nodes reach.
    """
    if path is None:
        kept = (root or Path(SiteConfig.model_fields["root"].default)) / SITE_FILE
        path = kept if kept.is_file() else None
    place = str(root.absolute()) if root else None
    options = {"address": address, "root": place, "services": services, "tls": tls}
    options["login"] = {"username": login} if login else None
    changes = {key: json.dumps(value) for key, value in options.items() if value}
    if path is None:
        if address is None:
            raise ConfigError(
                "no site is known here",
                hint="say --address ADDRESS (what the nodes reach this host by), or --site FILE",
            )
        return written.parse("{}", SiteConfig, "the options", ConfigError, changes=changes)
    return written.parse(_read(path, ConfigError), SiteConfig, str(path), ConfigError, changes=changes)


def keep_site(site: SiteConfig) -> None:
    """Leave site.yaml in the site's root, so that later commands need only `--root`."""
    path = Path(site.root) / SITE_FILE
    text = "# Written by `bundler install`; edit it and install again to change the site.\n"
    text += yaml.safe_dump(site.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    if not path.exists() or path.read_text() != text:
        with replacing(path) as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text.encode())


def require_kept_trust(site: SiteConfig) -> None:
    """Raise ConfigError when `site` asks for no signature, and the site.yaml in its root does."""
    path = Path(site.root) / SITE_FILE
    if site.trusted_keys is None and path.is_file():
        kept = written.parse(_read(path, ConfigError), SiteConfig, str(path), ConfigError)
        if kept.trusted_keys is not None:
            raise ConfigError(
                f"{path} asks for signatures, and the site that you name does not",
                hint="write `trusted_keys` there, too; to take anybody's bundles, delete it in the site's own first",
            )


def changes_of(settings: Sequence[str]) -> dict[str, str]:
    """`KEY=VALUE` options as a mapping. Raises ProfileError for one without `=`."""
    changes = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not (key and equals):
            raise ProfileError(f"--set {setting}: expected KEY=VALUE", hint="for instance --set version=2.1")
        changes[key] = value
    return changes


def _read(path: Path, error: type[BundlerError]) -> str:
    try:
        return read_small(path, _SIZE_LIMIT).decode()
    except OSError as problem:
        raise error(f"cannot read {path}: {problem.strerror}", hint="name a YAML file, written by hand") from None
    except UnicodeDecodeError:
        raise error(f"{path} is not UTF-8 text", hint="name a YAML file") from None
