"""Files become items: each measured, or taken at the profile's word for its digest and asked for its size."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import unquote

from packageurl import PackageURL

from bundler.errors import IntegrityError, ProfileError
from bundler.kinds.files.place import place_of, place_of_local
from bundler.kinds.files.spec import File, Spec
from bundler.model.items import Download, Item, Object
from bundler.model.target import Target

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream


def resolve(spec: Spec, targets: tuple[Target, ...], upstream: Upstream) -> tuple[Item, ...]:
    """One item for each file, whatever the targets.

    Raises ProfileError when two entries want one place, IntegrityError when upstream has other bytes than the profile
    says, FetchError when it does not answer.
    """
    del targets
    by_place: dict[str, File] = {}
    for file in spec.root:
        place = place_of(file.url) if file.url else place_of_local(file.path or "")
        if by_place.setdefault(place, file) != file:
            raise ProfileError(f"files: {place} is asked for twice, in two ways", hint="keep one of the entries")
    with ThreadPoolExecutor(upstream.config.jobs) as threads:
        return tuple(threads.map(lambda entry: _item(entry[0], entry[1], upstream), by_place.items()))


def _item(place: str, file: File, upstream: Upstream) -> Item:
    obj = _object(place, file, upstream)
    name = unquote(place.rsplit("/", 1)[-1])
    attributes = {"url": file.url} if file.url else {"path": file.path}
    if file.sha512:
        attributes["sha512"] = file.sha512
    qualifiers = {"checksum": f"sha256:{obj.sha256}"} | ({"download_url": file.url} if file.url else {})
    purl = PackageURL("generic", name=name, qualifiers=qualifiers).to_string()
    return Item("files", name, f"sha256:{obj.sha256[:12]}", (obj,), dict(attributes), purl)


def _object(place: str, file: File, upstream: Upstream) -> Object:
    if file.url is None:
        obj = upstream.local_object(place, file.path or "", mode=file.permissions)
        _hold(file.path or "", "sha256", file.sha256, obj.sha256)
        return obj
    if file.sha512 is None:
        size, sha256 = upstream.measure(file.url, sha256=file.sha256)
        return Object(place, size, sha256, Download(file.url), file.permissions)
    found = upstream.digests(file.url)
    _hold(file.url, "sha512", file.sha512, found.sha512)
    _hold(file.url, "sha256", file.sha256, found.sha256)
    return Object(place, found.size, found.sha256, Download(file.url), file.permissions)


def _hold(origin: str, algorithm: str, promised: str | None, found: str) -> None:
    if promised not in (None, found):
        raise IntegrityError(
            f"{origin}: its {algorithm} is {found}, the profile says {promised}: upstream published it anew",
            hint="find out why before you change the digest in the profile",
        )
