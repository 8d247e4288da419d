"""What is in a bundle, for whoever approves it: inspect, diff."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundler.cli.command import Answer, Common, command
from bundler.cli.options import bundle_argument, signature_option, trust_option
from bundler.cli.show import item_document, size_of, table, totals_of
from bundler.errors import ConfigError
from bundler.sizes import human

if TYPE_CHECKING:
    from bundler.bundle.manifest import Manifest
    from bundler.bundle.programs import Program
    from bundler.bundle.reader import Bundle
    from bundler.bundle.signature import Standing
    from bundler.model.difference import Contents
    from bundler.model.items import Item, Object

_MORE = "--objects lists each file with its digest; --report DIR writes a page with all of it, and --json has it all"


@click.command()
@bundle_argument
@click.option("--items", "show", flag_value="items", help="Each item, and all that it is on the site.")
@click.option("--objects", "show", flag_value="objects", help="A line for each object: sha256, size, path.")
@click.option("--documents", "show", flag_value="documents", help="What README.txt says, to be read before it is used.")
@click.option(
    "--report", type=click.Path(path_type=Path), help="Write a page for those who approve, and the SBOM, here."
)
@click.option(
    "--since", type=click.Path(path_type=Path), help="With --report: an earlier bundle or lock, to say what changed."
)
@trust_option
@signature_option
@command
def inspect(
    common: Common,
    bundle: Path,
    show: str | None,
    report: Path | None,
    since: Path | None,
    trust: Sequence[Path],
    signature: Path | None,
) -> Answer:
    """Say what BUNDLE holds, what of it the admin host will run, and who signed it; only its head is read.

    A bundle that nobody signed is shown like any other: `verify` and `install` refuse it where somebody has to.
    """
    from bundler.bundle.reader import Bundle

    if since is not None and report is None:
        raise click.UsageError("--since goes with --report; `bundler diff` says what changed, too")
    with Bundle(bundle) as opened:
        standing = _standing(opened, trust, signature)
        if report is not None:
            from bundler.report import write_report

            written = write_report(opened, report, standing=standing, since=_contents(since) if since else None)
            return Answer({"written": [str(path) for path in written]}, [str(path) for path in written])
        readme = opened.readme() if show == "documents" else None
        manifest, size = opened.manifest, opened.layout.size
        left_out = sum(obj.size for obj in opened.layout.left_out)

    def document() -> dict[str, Any]:
        return _document(manifest, standing, size, left_out) | ({"readme": readme} if readme else {})

    if readme is not None:
        return Answer(document, readme.splitlines())
    if show == "items":
        return Answer(document, [*_items(manifest.items), "", _MORE])
    if show == "objects":
        return Answer(document, _files(manifest.objects))
    return Answer(document, _overview(manifest, standing, size, left_out))


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@command
def diff(common: Common, old: Path, new: Path) -> Answer:
    """Say what changes from OLD to NEW, bundles or locks: added, removed, changed in any way, new bytes.

    OLD may be a site's receipt: then what has to be carried is counted.
    """
    from bundler.bundle.receipt import is_receipt, read_receipt
    from bundler.model.difference import difference, new_bytes

    now = _contents(new)
    if is_receipt(old):
        size = new_bytes(now.items, read_receipt(old).objects)
        return Answer({"changes": None, "size": size}, [f"{human(size)} of it are not on the site"])
    changes = difference(_contents(old), now)
    document = [{"what": change.what, **asdict(change)} for change in changes]
    size = sum(change.size for change in changes)
    rows = [(c.what, c.kind, c.name, " ".join(c.old), " ".join(c.new), human(c.size), c.why) for c in changes]
    head = ("what", "kind", "name", "before", "now", "new bytes", "what of it")
    lines = [*table(head, rows), f"{human(size)} of new bytes"]
    return Answer({"changes": document, "size": size}, lines if changes else ["nothing changed"])


def _contents(path: Path) -> Contents:
    """What a bundle or a lock holds, and for which nodes."""
    from bundler.bundle.reader import Bundle
    from bundler.files import read_small
    from bundler.model.contents import SIZE_LIMIT
    from bundler.model.lock import Lock

    if path.name.endswith(".lock.json"):
        return Lock.from_bytes(read_small(path, SIZE_LIMIT), str(path))
    with Bundle(path) as opened:
        return opened.manifest


def _standing(bundle: Bundle, keys: Sequence[Path], signature: Path | None) -> Standing:
    """How it stands with the keys that are named, and those of this machine; these may be unreadable for who asks."""
    from bundler.bundle.keys import Trust, trust
    from bundler.bundle.signature import Standing, standing

    try:
        trusted = trust(keys)
    except ConfigError as error:
        if keys:
            raise
        found = standing(bundle.path, bundle.manifest, Trust(), signature)
        return Standing(found.signers, found.expires, False, error.message)
    return standing(bundle.path, bundle.manifest, trusted, signature)


def _document(manifest: Manifest, standing: Standing, size: int, left_out: int) -> dict[str, Any]:
    from bundler.bundle.manifest import FORMAT
    from bundler.bundle.programs import programs
    from bundler.bundle.statement import time_text

    return {
        "format": FORMAT,
        "name": manifest.name,
        "version": manifest.version,
        "id": manifest.id,
        "targets": [target.model_dump(mode="json") for target in manifest.targets],
        "architectures": list(manifest.architectures),
        "size": size,
        "left_out": left_out,
        "vouched": standing.vouched,
        "verdict": standing.verdict,
        "signed_by": [
            {
                "key": str(signer.key) if signer.key else None,
                "keyid": signer.keyid,
                "expires": time_text(standing.expires) if standing.expires else None,
            }
            for signer in standing.signers
        ],
        "documents": [_file(obj) for obj in manifest.documents],
        "programs": [{"role": p.role, "item": p.item.name, **_file(p.file)} for p in programs(manifest.items)],
        "objects": [_file(obj) for obj in manifest.objects],
        "items": [
            {
                **item_document(item),
                "attributes": dict(item.attributes),
                "objects": [obj.path for obj in item.objects],
            }
            for item in manifest.items
        ],
    }


def _overview(manifest: Manifest, standing: Standing, size: int, left_out: int) -> list[str]:
    from bundler.bundle.programs import programs

    head = [
        f"{manifest.name} {manifest.version}",
        f"id {manifest.id}",
        f"size {human(size)}",
        f"for {', '.join(map(str, manifest.targets)) or 'no target in particular'}",
    ]
    if left_out:
        head.append(f"left out, because the site has it: {human(left_out)}")
    totals = [(kind, str(t["items"]), human(t["size"])) for kind, t in totals_of(manifest.items).items()]
    return [
        *head,
        *_signatures(standing),
        "",
        *table(("kind", "items", "size"), totals),
        "",
        "documents (--documents shows what README.txt says)",
        *_files(manifest.documents),
        "",
        "programs that the admin host will run",
        *_programs(programs(manifest.items)),
    ]


def _signatures(standing: Standing) -> list[str]:
    from bundler.bundle.statement import time_text

    names = [f"  {signer.key or 'unknown key, not checked'}: key id {signer.keyid}" for signer in standing.signers]
    expires = [f"  until {time_text(standing.expires)}"] if standing.expires else []
    return [standing.verdict, *names, *expires]


def _programs(found: Sequence[Program]) -> list[str]:
    lines = [f"{p.file.sha256} {p.file.size:>12} {p.role} {p.item.name}: {p.file.path}" for p in found]
    return lines or ["none"]


def _items(items: Sequence[Item]) -> list[str]:
    """A line for each item, and further ones for what else it is on the site."""
    from bundler.model.places import places

    rows = []
    for item in items:
        role = item.attributes.get("role")
        first, *more = (*places(item), *([] if role is None else [f"role {role}"])) or ("",)
        rows.append((item.kind, item.name, item.version, human(size_of([item])), first))
        rows += [("", "", "", "", each) for each in more]
    return table(("kind", "name", "version", "size", "on the site"), rows)


def _file(obj: Object) -> dict[str, Any]:
    return {"path": obj.path, "size": obj.size, "sha256": obj.sha256}


def _files(objects: Sequence[Object]) -> list[str]:
    return [f"{obj.sha256} {obj.size:>12} {obj.path}" for obj in objects]
