"""Nothing for nodes: the section is about the machine that serves them."""

from __future__ import annotations

from bundler.model.items import Item
from bundler.model.node_files import NodeFiles
from bundler.model.site import Served


def emit(item: Item, items: tuple[Item, ...], served: Served) -> NodeFiles:
    """No node files."""
    del item, items, served
    return NodeFiles()
