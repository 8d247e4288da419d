"""The contract of a recipe: a profile's section that stands for sections of several kinds.

A recipe is a folder of this package named as its section in the profile, and each verb is a file in it:

    spec.py      class Spec (pydantic, frozen, strict on keys)      what a person writes; parsing it is pure
    expand.py    expand(spec, targets, upstream) → Expansion      the only verb that gets an upstream
    emit.py      emit(item, items, served) → NodeFiles             pure: plain data in, text out
    prove.py     prove(item, items) → problems                     pure: what was promised and is not among the items

`expand` reads upstream's own description of what it needs, and says it in the words of the kinds: the sections it
gives are joined to the profile's own, as if the author had written both, and from there on the pipeline knows kinds
only. Beside them it gives one item of its own, which holds no objects: its attributes are all that `emit` will know on
the closed side, besides the items of the release.

What holds for every recipe: its section's unknown keys are named; `expand` is deterministic; its sections are what a
person could have written, in plain JSON; `emit` reads nothing but its arguments and names no upstream host as a place
to fetch from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from pydantic import BaseModel

from bundler.kinds.base import member
from bundler.model.items import Item, Json
from bundler.model.node_files import NodeFiles
from bundler.model.site import Served
from bundler.model.target import Target

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Expansion:
    """What a recipe's section stands for: `sections` by kind, as a profile would say them, and the recipe's `item`."""

    sections: Mapping[str, Json]
    item: Item


class Expand(Protocol):
    def __call__(self, spec: Any, targets: tuple[Target, ...], upstream: Upstream, /) -> Expansion: ...


class Emit(Protocol):
    def __call__(self, item: Item, items: tuple[Item, ...], served: Served, /) -> NodeFiles: ...


class Prove(Protocol):
    def __call__(self, item: Item, items: tuple[Item, ...], /) -> Iterable[str]: ...


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe by its name. A verb's module is imported when it is used."""

    name: str

    @property
    def spec(self) -> type[BaseModel]:
        return cast("type[BaseModel]", self._member("spec", "Spec"))

    @property
    def expand(self) -> Expand:
        return cast("Expand", self._member("expand", "expand"))

    @property
    def emit(self) -> Emit:
        return cast("Emit", self._member("emit", "emit"))

    @property
    def prove(self) -> Prove:
        return cast("Prove", self._member("prove", "prove"))

    def _member(self, verb: str, name: str) -> object:
        return member(f"bundler.recipes.{self.name}.{verb}", name)
