"""Under which names a site has an item: what nodes ask for, whatever the item is called."""

from __future__ import annotations

from collections.abc import Iterator

from bundler.model.items import Item

_IN_REGISTRY = "images/"  # where a bundle has what goes into the registry, which knows it by repository


def places(item: Item) -> tuple[str, ...]:
    """`repository:tag` for an image; the paths of files. What the item claims is shown, and not judged."""
    return (*_names(item), *(obj.path for obj in item.objects if not obj.path.startswith(_IN_REGISTRY)))


def _names(item: Item) -> Iterator[str]:
    repository, tags = item.attributes.get("repository"), item.attributes.get("tags")
    if repository is not None:
        found = tags if isinstance(tags, list) else [tags]
        yield from (f"{repository}:{tag}" for tag in found)
        if not found:
            yield f"{repository}@{item.attributes.get('digest')}"
