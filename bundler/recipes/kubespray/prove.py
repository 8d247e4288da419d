"""Whether the bundle has all that Kubespray will ask for, by the names that it will ask with."""

from __future__ import annotations

from collections.abc import Iterator

from bundler.kinds.files.place import place_of
from bundler.model.items import Item
from bundler.recipes.kubespray.attributes import KubesprayAttributes


def prove(item: Item, items: tuple[Item, ...]) -> Iterator[str]:
    """Its tree, and every file, image, chart and package name that the expansion named."""
    attributes = KubesprayAttributes.of(item)
    paths = {obj.path for each in items for obj in each.objects}
    references = {each.attributes.get("reference") for each in items}
    wanted = [attributes.tree, *map(place_of, attributes.files), *(chart.path for chart in attributes.charts)]
    yield from (f"kubespray: {path} is not in the bundle" for path in wanted if path not in paths)
    yield from (f"kubespray: image {name} is not in the bundle" for name in attributes.images if name not in references)
    asked = {each.version: each.attributes["packages"] for each in items if each.attributes.get("type") == "request"}
    for target, names in attributes.packages.items():
        requested = asked.get(target)
        lost = [name for name in names if not isinstance(requested, list) or name not in requested]
        if lost:
            yield f"kubespray: {target} goes without the packages {', '.join(lost)}"
