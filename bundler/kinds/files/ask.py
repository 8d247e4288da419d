"""Whether each server of a profile's files answers, and each local file is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bundler.kinds.files.spec import Spec
from bundler.model.target import Target

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream


def ask(spec: Spec, targets: tuple[Target, ...], upstream: Upstream) -> Iterator[tuple[str, Callable[[], object]]]:
    """One file of each server."""
    del targets
    first: dict[str, str] = {}
    for file in spec.root:
        if file.url is not None:
            first.setdefault(urlsplit(file.url).netloc, file.url)
        elif file.path is not None and upstream.folder(file.path) is None:
            yield f"file {file.path}", partial(upstream.local, file.path)
    for host, url in first.items():
        yield f"files of {host}", partial(upstream.reach, url)
