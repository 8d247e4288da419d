"""YAML of others, before it is loaded: PyYAML's loaders recurse until the process dies, and follow aliases for ever."""

from __future__ import annotations

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from bundler.limits import Limit, LimitExceeded

_DEEPEST = Limit("YAML within YAML", 100, "levels")
_NODES = Limit("one YAML document, its aliases written out", 2_000_000, "nodes")


def check(text: str | bytes) -> None:
    """See that the document can be loaded without harm.

    Raises LimitExceeded when it is nested too deep, or grows too large with all aliases written out; yaml.YAMLError
    for what is no YAML, and for an alias within what it stands for.
    """
    sizes: dict[str, int | None] = {}  # of what an alias stands for; None while it is still being read
    above: list[tuple[str | None, int]] = []
    size = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        match event:
            case ScalarEvent():
                size += 1
                if event.anchor:
                    sizes[event.anchor] = 1
            case CollectionStartEvent():
                above.append((event.anchor, size))
                _DEEPEST.check(len(above))
                if event.anchor:
                    sizes[event.anchor] = None
            case CollectionEndEvent():
                anchor, before = above.pop()
                size += 1
                if anchor:
                    sizes[anchor] = size - before
            case AliasEvent(anchor=str(anchor)):
                known = sizes.get(anchor, 0)
                if known is None:
                    raise yaml.YAMLError(f"the alias {anchor[:40]!r} stands within itself")
                size += known
            case _:
                continue
        if size > _NODES.size:
            raise LimitExceeded(_NODES)
