"""What people read who approve a bundle: one page that needs no network, and the SBOM."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bundler.bundle.documents import SBOM
from bundler.bundle.manifest import Manifest
from bundler.bundle.programs import programs
from bundler.bundle.reader import Bundle
from bundler.bundle.signature import Standing
from bundler.bundle.statement import time_text
from bundler.files import replacing, write_file
from bundler.model.difference import Change, Contents, difference
from bundler.model.items import Item, Object, source_text
from bundler.model.places import places
from bundler.templates import render_to

PAGE = "report.html"


def write_report(bundle: Bundle, folder: Path, *, standing: Standing, since: Contents | None) -> list[Path]:
    """Write the page and the SBOM of `bundle` into `folder`; gives their paths.

    `standing` is who signed it, `since` what there was before. Only the bundle's head is read. Raises IntegrityError,
    BundleError for documents of another form.
    """
    manifest = bundle.manifest
    sbom, readme = bundle.sbom(), bundle.readme()
    folder.mkdir(parents=True, exist_ok=True)
    sizes: Counter[str] = Counter({item.kind: 0 for item in manifest.items})
    for (kind, _), size in {(item.kind, obj.path): obj.size for item in manifest.items for obj in item.objects}.items():
        sizes[kind] += size  # of what items share, once
    changes = difference(since, manifest) if since is not None else None
    with replacing(folder / PAGE) as file:
        render_to(
            file,
            "bundler.report",
            "report.html.j2",
            name=manifest.name,
            version=manifest.version,
            id=manifest.id,
            size=bundle.layout.size,
            left_out=sum(obj.size for obj in bundle.layout.left_out),
            objects=len(manifest.payload),
            targets=[str(target) for target in manifest.targets],
            architectures=manifest.architectures,
            verdict=standing.verdict,
            vouched=standing.vouched,
            signers=[(str(signer.key) if signer.key else None, signer.keyid) for signer in standing.signers],
            expires=time_text(standing.expires) if standing.expires else None,
            documents=manifest.documents,
            readme=readme,
            programs=programs(manifest.items),
            sizes=sizes.most_common(),
            largest=max(sizes.values(), default=0) or 1,
            data=_data(manifest, changes),
            changed=None if changes is None else Counter(change.what for change in changes),
            new_size=None if changes is None else sum(change.size for change in changes),
        )
    write_file(folder / SBOM, sbom)
    return [folder / PAGE, folder / SBOM]


def _data(manifest: Manifest, changes: Sequence[Change] | None) -> Iterator[str]:
    """The page's data as JSON, in pieces. Items name their objects, which they may share, by number."""
    numbers = {obj.path: number for number, obj in enumerate(manifest.payload)}
    yield '{"objects":['
    yield from _entries(map(_file, manifest.payload))
    yield '],"items":['
    yield from _entries(_row(item, numbers) for item in manifest.items)
    yield '],"changes":'
    yield _embedded(None if changes is None else list(map(_changed, changes)))
    yield "}"


def _entries(values: Iterable[object]) -> Iterator[str]:
    for number, value in enumerate(values):
        yield f",{_embedded(value)}" if number else _embedded(value)


def _file(obj: Object) -> list[str | int]:
    """Path, bytes, mode, sha256, source."""
    return [obj.path, obj.size, f"{obj.mode:04o}", obj.sha256, source_text(obj.source)]


def _row(item: Item, numbers: dict[str, int]) -> list[object]:
    """Kind, name, version, bytes, licence, what it is on the site; numbers of objects, package URL, attributes."""
    size = sum({obj.path: obj.size for obj in item.objects}.values())
    shown = [item.kind, item.name, item.version, size, item.licence or "", places(item)]
    return [*shown, [numbers[obj.path] for obj in item.objects], item.purl or "", _readable(item.attributes)]


def _readable(attributes: object) -> str:
    """Attributes as JSON to be read: numbers as they are written, and escapes for what reorders text or hides in it."""
    text = json.dumps(attributes, indent=1, ensure_ascii=False)
    if text.isascii():
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else json.dumps(letter)[1:-1] for letter in text)


def _changed(change: Change) -> list[str | int]:
    """What, kind, name, the versions before and now, what of it, new bytes."""
    before, now = " ".join(change.old), " ".join(change.new)
    return [change.what, change.kind, change.name, before, now, change.why, change.size]


def _embedded(document: object) -> str:
    """JSON that stands within a script element: nothing in it can end that."""
    text = json.dumps(document, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
