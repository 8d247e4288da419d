"""The contract of a kind: one sort of content, from the profile to a node's config.

A kind is a folder of this package named as its section in the profile, and each verb is a file in it:

    spec.py      class Spec (pydantic, frozen, strict on keys)      what a person writes; parsing it is pure
    resolve.py   resolve(spec, targets, upstream) → items         online; it and `ask` get an upstream
    load.py      load(items, site) → steps                         offline; the only verb that gets a site
    emit.py      emit(items, served) → NodeFiles                   pure: plain data in, text out
    prove.py     prove(items, content) → problems                  either side: reads the bundle's own bytes
    ask.py       ask(spec, targets, upstream) → questions          online: whether `resolve` would be answered at all

Beside the verbs, `attributes.py` says what items are: SORTS, one model or, told apart by their `type`, several.

What holds for every kind (tests/contract runs it over KINDS):

- An unknown key in its section is a ProfileError that names the key and its place.
- `resolve` fetches metadata only. Each object it returns says where its bytes are; the transfer engine fetches them.
  Its answer depends on the spec, the targets and the upstream alone: no clock, no host name.
- Every object's path starts with one of the kind's folders: its own name, and what `Kind.folders` adds.
- Items survive JSON: attributes hold JSON only. An item that says anything that none of its kind's SORTS knows is
  refused before a store of the site is touched: there attributes name what is written, and deleted.
- `load` says what goes into which of the site's stores, an object a step; `install` chooses the order, which is the
  bundle's own when that comes in a pipe. A step stages: nothing is published until `install` commits. Steps that are
  done again write nothing.
- `prove` says, a line each, what keeps the items from being installed from the bundle alone; it trusts neither items
  nor bytes, and asks no network.
- `ask` has a question for each place that `resolve` would turn to: what it is, and a call that costs little.
- `emit` is deterministic, reads nothing but its arguments, and names no upstream host as a place to fetch from.

Adding a kind is a folder and a line in KINDS (`bundler/kinds/__init__.py`): the pipeline never names one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from pydantic import BaseModel

from bundler.model.attributes import Attributes
from bundler.model.items import Item, Object
from bundler.model.node_files import NodeFiles
from bundler.model.site import Served
from bundler.model.target import Target

if TYPE_CHECKING:
    from bundler.bundle.content import Content
    from bundler.site.site import Site
    from bundler.transfer.upstream import Upstream


class Resolve(Protocol):
    def __call__(self, spec: Any, targets: tuple[Target, ...], upstream: Upstream, /) -> tuple[Item, ...]: ...


@dataclass(frozen=True, slots=True)
class Step:
    """One object on its way into a store: `put` stages it, and reads it from the content only where it is missing."""

    obj: Object
    put: Callable[[Content], object]


class Load(Protocol):
    def __call__(self, items: tuple[Item, ...], site: Site, /) -> Iterable[Step]: ...


class Emit(Protocol):
    def __call__(self, items: tuple[Item, ...], served: Served, /) -> NodeFiles: ...


class Prove(Protocol):
    def __call__(self, items: tuple[Item, ...], content: Content, /) -> Iterable[str]: ...


class Ask(Protocol):
    def __call__(
        self, spec: Any, targets: tuple[Target, ...], upstream: Upstream, /
    ) -> Iterable[tuple[str, Callable[[], object]]]: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind by its name.

    A verb's module is imported when it is used: inside, what `resolve` and `prove` need may be missing.
    """

    name: str
    folders: tuple[str, ...]

    @property
    def spec(self) -> type[BaseModel]:
        return cast("type[BaseModel]", self._member("spec", "Spec"))

    @property
    def resolve(self) -> Resolve:
        return cast("Resolve", self._member("resolve", "resolve"))

    @property
    def load(self) -> Load:
        return cast("Load", self._member("load", "load"))

    @property
    def emit(self) -> Emit:
        return cast("Emit", self._member("emit", "emit"))

    @property
    def prove(self) -> Prove:
        return cast("Prove", self._member("prove", "prove"))

    @property
    def ask(self) -> Ask:
        return cast("Ask", self._member("ask", "ask"))

    @property
    def sorts(self) -> tuple[type[Attributes], ...]:
        """What an item of the kind may be: each sort has other attributes."""
        return cast("tuple[type[Attributes], ...]", self._member("attributes", "SORTS"))

    def _member(self, verb: str, name: str) -> object:
        return member(f"bundler.kinds.{self.name}.{verb}", name)


def member(module: str, name: str) -> object:
    """What `module`, imported now, calls `name`."""
    found: object = getattr(importlib.import_module(module), name)
    return found
