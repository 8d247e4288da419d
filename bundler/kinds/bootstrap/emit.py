"""Nothing for nodes."""

from __future__ import annotations

from bundler.model.items import Item
from bundler.model.node_files import NodeFiles
from bundler.model.site import Served


def emit(items: tuple[Item, ...], served: Served) -> NodeFiles:
    """No node files."""
    del items, served
    return NodeFiles()
