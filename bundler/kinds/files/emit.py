"""A list of what can be downloaded, with checksums, and a check that one of them arrives whole."""

from __future__ import annotations

import shlex

from bundler.kinds.files.place import served_name
from bundler.model.items import Item, Object, objects_of
from bundler.model.node_files import NodeCheck, NodeFile, NodeFiles
from bundler.model.site import Served


def emit(items: tuple[Item, ...], served: Served) -> NodeFiles:
    """`files.list`: a line `<sha256>  <URL>` for each file; nodes need no config to use them."""
    objects = objects_of(items)
    if not objects:
        return NodeFiles()
    lines = [f"{obj.sha256}  {_url(obj, served)}\n" for obj in objects]
    return NodeFiles((NodeFile("files.list", "".join(lines)),), (_check(objects, served),))


def _url(obj: Object, served: Served) -> str:
    return f"{served.url}/{served_name(obj.path)}"


def _check(objects: tuple[Object, ...], served: Served) -> NodeCheck:
    smallest = min(objects, key=lambda obj: (obj.size, obj.path))
    curl = served.curl(served.site.web)
    return NodeCheck(
        f"curl gets {smallest.path.rsplit('/', 1)[-1]} whole",
        needs="curl",
        command=f"{curl} {shlex.quote(_url(smallest, served))} | sha256sum | grep -q ^{smallest.sha256}",
    )
