"""A site as nodes see it, through the front door: what kinds would load into it is looked for instead.

`Looking` has the stores of `Site` with the methods that a kind's `load` uses; each fetches what it is given, and holds
it against its digest. So what is checked is what an install puts there, by the same steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import quote

import requests

from bundler.bundle.content import Content
from bundler.errors import IntegrityError, SiteError
from bundler.model.items import Json, Object
from bundler.model.site import ExternalIndex, ExternalRegistry, Served, SiteConfig
from bundler.site.index import WheelIndex
from bundler.site.registry import RegistryStore
from bundler.site.session import new_session

_TIMEOUT = (10, 60)
_CHUNK = 1 << 20
_AGAIN = "install the bundle again; if it stays so, see the disk"


class Looking:
    """The current release `served`. Each method raises SiteError, IntegrityError for what nodes do not get."""

    def __init__(self, served: Served) -> None:
        front = through_the_front(served.site)
        self.web = _Web(served)
        self.registry = _Registry(RegistryStore(front))
        self.index = _Index(WheelIndex(front))


def through_the_front(config: SiteConfig) -> SiteConfig:
    """The same site with its own registry and index as if they were others': reached as nodes reach them."""
    registry = config.registry or ExternalRegistry(
        url=config.registry_url, ca=config.ca_path, credentials=config.reader
    )
    index = config.index or ExternalIndex(
        upload_url=config.simple_url, simple_url=config.simple_url, ca=config.ca_path, credentials=config.reader
    )
    return config.model_copy(update={"registry": registry, "index": index})


class _Web:
    def __init__(self, served: Served) -> None:
        self._url = served.url
        own = served.site.web is None
        self._session = new_session(served.site.ca_path, served.site.reader) if own else new_session()

    def stage(self, obj: Object, content: Content) -> None:
        del content
        url = f"{self._url}/{quote(obj.path)}"
        try:
            with self._session.get(url, timeout=_TIMEOUT, stream=True) as answer:
                if answer.status_code != 200:
                    raise SiteError(f"{url} is answered {answer.status_code}", hint=_AGAIN)
                _hold(obj, answer.iter_content(_CHUNK))
        except requests.RequestException as error:
            raise SiteError(f"{url} is not answered: {error}", hint="see `bundler services status`") from None


class _Registry:
    def __init__(self, store: RegistryStore) -> None:
        self._store = store

    def stage_blob(self, repository: str, digest: str, obj: Object, content: Content) -> None:
        del content
        _hold(obj, self._store.fetch(repository, digest, is_manifest=False))

    def stage_manifest(
        self, repository: str, tags: Collection[str], media_type: str, rank: int, obj: Object, content: Content
    ) -> None:
        del media_type, rank, content
        for reference in (f"sha256:{obj.sha256}", *tags):
            _hold(obj, self._store.fetch(repository, reference, is_manifest=True))


class _Index:
    def __init__(self, index: WheelIndex) -> None:
        self._index = index

    def stage(self, obj: Object, metadata: Mapping[str, Json], content: Content) -> None:
        del content
        _hold(obj, self._index.fetch(None, str(metadata["name"]), obj))


def _hold(obj: Object, chunks: Iterable[bytes]) -> None:
    """Read `chunks`, and see that they are `obj`."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    if (size, digest.hexdigest()) != (obj.size, obj.sha256):
        raise IntegrityError(
            f"{obj.path}: nodes get other bytes than the bundle had: the site's copy is damaged", hint=_AGAIN
        )
