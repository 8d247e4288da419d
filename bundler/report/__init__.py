"""What people read who approve a bundle: one page that needs no network, and the SBOM."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bundler.bundle.documents import SBOM
from bundler.bundle.programs import programs
from bundler.bundle.reader import Bundle
from bundler.bundle.signature import Standing
from bundler.bundle.statement import time_text
from bundler.files import write_file
from bundler.model.difference import difference
from bundler.model.items import Item, objects_of, source_text
from bundler.templates import render

PAGE = "report.html"
_SOURCES = 3  # of an item, on the page


def write_report(bundle: Bundle, folder: Path, *, standing: Standing, since: Sequence[Item] | None) -> list[Path]:
    """Write the page and the SBOM of `bundle` into `folder`; gives their paths.

    `standing` is who signed it, `since` are the items before. Only the bundle's head is read. Raises IntegrityError,
    BundleError for documents of another form.
    """
    manifest = bundle.manifest
    sbom, readme = bundle.sbom(), bundle.readme()
    folder.mkdir(parents=True, exist_ok=True)
    sizes: Counter[str] = Counter({item.kind: 0 for item in manifest.items})
    for (kind, _), size in {(item.kind, obj.path): obj.size for item in manifest.items for obj in item.objects}.items():
        sizes[kind] += size  # of what items share, once
    changes = difference(since, manifest.items) if since is not None else None
    page = render(
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
        largest=max(sizes.values(), default=1),
        data=_embedded(
            {
                "items": [_row(item) for item in manifest.items],
                "changes": None
                if changes is None
                else [[c.what, c.kind, c.name, " ".join(c.old), " ".join(c.new), c.size] for c in changes],
            }
        ),
        changed=None if changes is None else Counter(change.what for change in changes),
        new_size=None if changes is None else sum(change.size for change in changes),
    )
    write_file(folder / PAGE, page.encode())
    write_file(folder / SBOM, sbom)
    return [folder / PAGE, folder / SBOM]


def _row(item: Item) -> list[str | int]:
    """Kind, name, version, bytes, licence, sources, digests."""
    objects = objects_of([item])
    sources = [source_text(obj.source) for obj in objects[:_SOURCES]]
    digests = [obj.sha256 for obj in objects[:_SOURCES]]
    more = [f"and {len(objects) - _SOURCES} more"] if len(objects) > _SOURCES else []
    size = sum(obj.size for obj in objects)
    return [item.kind, item.name, item.version, size, item.licence or "", " ".join(sources + more), " ".join(digests)]


def _embedded(document: object) -> str:
    """JSON that stands within a script element: nothing in it can end that."""
    text = json.dumps(document, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
