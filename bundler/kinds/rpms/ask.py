"""Whether each repository of a profile, and each key, can be had."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from bundler.kinds.rpms.keys import Keyring
from bundler.kinds.rpms.repodata import open_repository
from bundler.kinds.rpms.spec import Spec
from bundler.model.target import Target

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream


def ask(spec: Spec, targets: tuple[Target, ...], upstream: Upstream) -> Iterator[tuple[str, Callable[[], object]]]:
    """The table of contents of each repository, and each key once."""
    keyring = Keyring(upstream)
    keys: dict[str, None] = {}
    for target in targets:
        for repo in spec.repos_for(target):
            what = f"repository {repo.id} for {target}"
            url, metalink, mirrorlist = (
                address and target.fill_in(address) for address in (repo.url, repo.metalink, repo.mirrorlist)
            )
            yield what, partial(open_repository, upstream, what, url=url, metalink=metalink, mirrorlist=mirrorlist)
            keys |= dict.fromkeys(target.fill_in(key) for key in repo.gpgkey)
    for key in keys:
        yield f"key {key}", partial(keyring.content, key)
