"""The profile's `rpms` section: repositories, and what to take from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from bundler.kinds.rpms.attributes import is_package_name
from bundler.model.target import Line, StrictModel, Target, Word

HttpUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s\x00-\x1f\x7f]+$", max_length=2048)]
For = Annotated[
    tuple[Word, ...] | None,
    Field(alias="for", description="only for these targets: a distro, release, arch, or distro-release[-arch]"),
]


class Limited(StrictModel):
    """Something of a profile that may be meant for some targets only."""

    for_: For = None

    def concerns(self, target: Target) -> bool:
        return target.matches(self.for_)


class Entry(Limited):
    """Packages or modules with a limit, `{name: conntrack, for: [rocky]}` or `{names: […], for: […]}`."""

    name: Line | None = None
    names: tuple[Line, ...] = ()
    bootstrap: bool = Field(
        default=False, description="install.sh needs them on the admin host, before anything is served"
    )

    @model_validator(mode="after")
    def _has_a_name(self) -> Entry:
        if (self.name is None) == (not self.names):
            raise ValueError("give either `name` or `names`")
        strange = [name for name in self.all_names if self.bootstrap and not is_package_name(name)]
        if strange:
            raise ValueError(f"`bootstrap` goes with names of packages alone, and {strange[0]!r} is none")
        return self

    @property
    def all_names(self) -> tuple[str, ...]:
        return (self.name,) if self.name else self.names


# Told apart by type, so that an error is about the one that was meant.
LineOrEntry = Annotated[
    Annotated[Line, Tag("line")] | Annotated[Entry, Tag("entry")],
    Discriminator(lambda value: "entry" if isinstance(value, Mapping | Entry) else "line"),
]


class Repository(Limited):
    """One rpm-md repository. `$distro`, `$releasever` and `$basearch` in its addresses are filled in per target."""

    id: Word = Field(description="its name in the bundle and, after the release's name, on the nodes")
    url: HttpUrl | None = Field(default=None, description="its root, the folder that holds repodata/")
    metalink: HttpUrl | None = Field(default=None, description="a metalink of its repomd.xml, in place of `url`")
    mirrorlist: HttpUrl | None = Field(default=None, description="a list of root URLs, a line each, in place of `url`")
    gpgkey: tuple[Line, ...] = Field(default=(), description="keys that sign its packages: paths or URLs")
    gpgcheck: bool | None = Field(
        default=None, description="whether nodes check its packages' signatures; left out: where there is a `gpgkey`"
    )
    repo_gpgcheck: bool | None = Field(
        default=None,
        description="whether a `gpgkey` has to have signed its metadata; left out: where there is a repomd.xml.asc, if "
        "its packages are checked",
    )
    mode: Literal["packages", "mirror"] = Field(
        default="packages", description="packages: what `packages` and `modules` need of it; mirror: all of it"
    )
    newest_only: bool = Field(default=False, description="of a mirror, the newest version of each package alone")
    priority: int = Field(default=99, ge=1, le=99, description="a package of a lower number wins, as in dnf")
    module_hotfixes: bool = Field(default=False, description="its packages are exempt from the modules rule, as in dnf")

    @model_validator(mode="after")
    def _is_possible(self) -> Repository:
        if sum(address is not None for address in (self.url, self.metalink, self.mirrorlist)) != 1:
            raise ValueError(f"repository {self.id}: give exactly one of `url`, `metalink` and `mirrorlist`")
        if self.newest_only and self.mode != "mirror":
            raise ValueError(f"repository {self.id}: `newest_only` goes with `mode: mirror`")
        if self.gpgcheck and not self.gpgkey:
            raise ValueError(
                f"repository {self.id}: `gpgkey` is missing, so nodes could not check its packages' signatures; "
                "name the key, or say `gpgcheck: false` to go without"
            )
        if self.repo_gpgcheck and not self.gpgkey:
            raise ValueError(f"repository {self.id}: `repo_gpgcheck` needs a `gpgkey` to check its metadata with")
        return self

    @property
    def checked(self) -> bool:
        """Whether nodes check the signatures of its packages."""
        return bool(self.gpgkey) if self.gpgcheck is None else self.gpgcheck


class Spec(StrictModel):
    """The `rpms` section."""

    repos: tuple[Repository, ...] = ()
    packages: tuple[LineOrEntry, ...] = Field(default=(), description="names, provides, globs, NEVRA or @groups")
    modules: tuple[LineOrEntry, ...] = Field(default=(), description="module streams to enable, `nodejs:20`")
    weak_deps: bool = Field(default=False, description="take what is recommended, too")
    assume_installed: Annotated[str, StringConstraints(pattern=r"^(none|https?://[^\s\x00-\x1f\x7f]+)$")] = Field(
        default="none", description="an rpm-md repository that stands for what nodes have; it is not carried"
    )

    def repos_for(self, target: Target) -> tuple[Repository, ...]:
        return tuple(repo for repo in self.repos if repo.concerns(target))

    def packages_for(self, target: Target) -> tuple[str, ...]:
        return _names_for(self.packages, target)

    def bootstrap_for(self, target: Target) -> tuple[str, ...]:
        """The packages that the admin host needs first."""
        marked = (entry for entry in self.packages if isinstance(entry, Entry) and entry.bootstrap)
        return _names_for(tuple(marked), target)

    def modules_for(self, target: Target) -> tuple[str, ...]:
        return _names_for(self.modules, target)

    def streams_for(self, target: Target) -> tuple[str, ...]:
        """The modules with a stream, be they named under `modules` or, as `@nodejs:20/common`, under `packages`."""
        words = [word.removeprefix("@") for word in self.packages_for(target) if word.startswith("@") and ":" in word]
        return tuple(dict.fromkeys([*self.modules_for(target), *words]))


def _names_for(entries: tuple[str | Entry, ...], target: Target) -> tuple[str, ...]:
    """The names meant for `target`, each once, in the profile's order."""
    found: dict[str, None] = {}
    for entry in entries:
        if isinstance(entry, str):
            found[entry] = None
        elif entry.concerns(target):
            found.update(dict.fromkeys(entry.all_names))
    return tuple(found)
