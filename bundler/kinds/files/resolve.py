"""Files become items: each measured, or taken at the profile's word for its digest and asked for its size."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import unquote

from packageurl import PackageURL

from bundler.errors import IntegrityError, ProfileError
from bundler.kinds.files.place import place_of, place_of_local
from bundler.kinds.files.spec import File, Spec
from bundler.model.items import Download, Item, LocalFile, Object
from bundler.model.target import Target

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream


def resolve(spec: Spec, targets: tuple[Target, ...], upstream: Upstream) -> tuple[Item, ...]:
    """One item for each file, whatever the targets.

    Raises ProfileError when two entries want one place, IntegrityError when upstream has other bytes than the profile
    says, FetchError when it does not answer.
    """
    del targets
    places = _places(spec, upstream)
    with ThreadPoolExecutor(upstream.config.jobs) as threads:
        return tuple(threads.map(lambda place: _item(place, places[place], upstream), places))


def _places(spec: Spec, upstream: Upstream) -> dict[str, File]:
    """The entries by where they lie in the bundle."""
    places: dict[str, File] = {}
    for file in spec.root:
        place = place_of(file.url, file.name) if file.url else _local_place(file, upstream)
        if places.setdefault(place, file) != file:
            raise ProfileError(
                f"files: {place} is asked for twice, in two ways", hint="keep one of the entries, or give one a `name:`"
            )
    for place in places:
        parts = place.split("/")
        folder = next((found for n in range(len(parts)) if (found := "/".join(parts[:n])) in places), None)
        if folder:
            raise ProfileError(
                f"files: {folder} would be a file and, for {place}, a folder", hint="give the first one a `name:`"
            )
    return places


def _local_place(file: File, upstream: Upstream) -> str:
    path = (file.path or "").rstrip("/")
    name = file.name
    if name is None and upstream.folder(path):
        name = f"{path.rpartition('/')[2]}.tar"
    return place_of_local(path, name)


def _item(place: str, file: File, upstream: Upstream) -> Item:
    obj = _object(place, file, upstream)
    quoted = place.rsplit("/", 1)[-1]
    name = plain if (plain := unquote(quoted)).isprintable() else quoted
    attributes = {"url": file.url} if file.url else {"path": file.path}
    if file.sha512:
        attributes["sha512"] = file.sha512
    qualifiers = {"checksum": f"sha256:{obj.sha256}"} | ({"download_url": file.url} if file.url else {})
    purl = PackageURL("generic", name=name, qualifiers=qualifiers).to_string()
    return Item("files", name, f"sha256:{obj.sha256[:12]}", (obj,), dict(attributes), purl)


def _object(place: str, file: File, upstream: Upstream) -> Object:
    origin, source = (file.url, Download(file.url)) if file.url else (file.path or "", LocalFile(file.path or ""))
    size, sha256 = file.size, file.sha256
    if file.path is not None and upstream.folder(file.path):
        packed = upstream.packed(place, file.path, mode=file.permissions)
        _hold(origin, "sha256", sha256, packed.sha256)
        return packed
    if file.url is None or file.sha512 is not None or sha256 is None:
        found = upstream.digests(origin)
        _hold(origin, "sha512", file.sha512, found.sha512)
        _hold(origin, "sha256", sha256, found.sha256)
        _hold(origin, "size", size, found.size)
        size, sha256 = found.size, found.sha256
    elif size is None:
        size, _ = upstream.measure(origin, sha256=sha256)
    return Object(place, size, sha256, source, file.permissions)


def _hold(origin: str, what: str, promised: str | int | None, found: str | int) -> None:
    if promised not in (None, found):
        raise IntegrityError(
            f"{origin}: its {what} is {found}, where {promised} was promised: upstream re-published it",
            hint="find out why before you take another checksum",
        )
