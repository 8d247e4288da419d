"""A bundle as a file, on either side: verify, inspect."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundler.cli.command import Answer, Common, command
from bundler.cli.options import VolumeSize, bundle_argument, jobs_option, signature_option
from bundler.cli.show import item_document, size_of, table, totals_of
from bundler.errors import BundleError
from bundler.sizes import human

if TYPE_CHECKING:
    from bundler.bundle.reader import Bundle
    from bundler.model.items import Item


@click.command()
@bundle_argument
@click.option("--trust", multiple=True, type=click.Path(path_type=Path), help="A public key that must have signed it.")
@signature_option
@click.option("--closure", is_flag=True, help="Prove, too, that it could be installed: nothing in it lacks another.")
@jobs_option
@command
def verify(
    common: Common, bundle: Path, trust: Sequence[Path], signature: Path | None, closure: bool, jobs: int | None
) -> Answer:
    """Check every byte of BUNDLE against its manifest, and its signature where --trust or this machine asks for one."""
    from bundler.bundle.reader import Bundle
    from bundler.bundle.signature import trusted_keys, vouched

    progress = common.progress()
    with Bundle(bundle, progress, vouched(bundle, trusted_keys(trust), signature)) as opened:
        progress.start("verifying", opened.unchecked())
        opened.verify(jobs=jobs or os.cpu_count() or 1)
        progress.finish()
        manifest, size = opened.manifest, opened.layout.size
        if closure:
            _prove_closure(opened)
    document = {
        "name": manifest.name,
        "version": manifest.version,
        "id": manifest.id,
        "size": size,
        "objects": len(manifest.objects),
        "intact": True,
        **({"installable": True} if closure else {}),
    }
    found = "intact, nothing lacks" if closure else "intact"
    return Answer(document, [f"{bundle}: {found}, {len(manifest.objects)} objects, {human(size)}", f"id {manifest.id}"])


def _prove_closure(opened: Bundle) -> None:
    """Raise IncompleteError when the bundle could not be installed, BundleError when that does not show in it."""
    from bundler.proof import incomplete, prove

    if opened.once or opened.delta:
        raise BundleError(
            f"{opened.path}: that nothing lacks cannot be proved from {'a pipe' if opened.once else 'a delta alone'}",
            hint="name a file with the whole bundle; a build proves it before the bundle gets its name",
        )
    problems = prove(opened.manifest, opened, str(opened.path))
    if problems:
        raise incomplete(str(opened.path), problems, hint="build it again, from a mended profile")


@click.command()
@bundle_argument
@click.option("--key", type=click.Path(path_type=Path), required=True, help="The secret key; a signer's public one.")
@click.option("--signer", help="A command that signs its standard input and answers in base64.")
@command
def sign(common: Common, bundle: Path, key: Path, signer: str | None) -> Answer:
    """Vouch for BUNDLE, every byte of which is checked before: a signature beside it."""
    from bundler.bundle import signature
    from bundler.bundle.reader import Bundle

    progress = common.progress()
    with Bundle(bundle, progress) as opened:
        progress.start("verifying", opened.unchecked())
        opened.verify(jobs=os.cpu_count() or 1)
        progress.finish()
        made = signature.sign(bundle, opened.manifest, key, signer)
    return Answer({"signature": str(made), "id": opened.manifest.id}, [str(made)])


@click.group()
def key() -> None:
    """Keys to sign bundles with."""


@key.command("new")
@click.argument("path", type=click.Path(path_type=Path))
@command
def new_key(common: Common, path: Path) -> Answer:
    """Make a key pair: PATH, which stays secret, and PATH.pub for the sites."""
    from bundler.bundle.signature import new_key as make

    public = make(path)
    return Answer({"secret": str(path), "public": str(public)}, [str(path), str(public)])


@click.command()
@bundle_argument
@click.option("--size", type=VolumeSize(), required=True, help=VolumeSize.text)
@click.option("-o", "--output", "folder", type=click.Path(path_type=Path), help="Folder.  [default: the bundle's own]")
@command
def split(common: Common, bundle: Path, size: int, folder: Path | None) -> Answer:
    """Write BUNDLE as volumes that fit the medium: plain parts, and an index that knows each by its digest."""
    from bundler.bundle import volumes
    from bundler.bundle.storage import read_index

    index = volumes.split(bundle, folder or bundle.parent, size, progress=common.progress())
    files = [volume.file for volume in read_index(index).volumes]
    return Answer({"index": str(index), "volumes": files}, [*(str(index.parent / file) for file in files), str(index)])


@click.command()
@click.argument("volumes", type=click.Path(path_type=Path))
@click.option("-o", "--output", "folder", type=click.Path(path_type=Path), help="Folder.  [default: theirs]")
@command
def join(common: Common, volumes: Path, folder: Path | None) -> Answer:
    """Make one file of VOLUMES, a folder, one of them or their index. All other commands read volumes as they are."""
    from bundler.bundle import volumes as pieces

    here = volumes if volumes.is_dir() else volumes.parent
    bundle = pieces.join(volumes, folder or here, progress=common.progress())
    return Answer({"bundle": str(bundle)}, [str(bundle)])


@click.command()
@bundle_argument
@click.option("--items", "show", flag_value="items", help="A line for each item.")
@click.option("--objects", "show", flag_value="objects", help="A line for each object: sha256, size, path.")
@click.option(
    "--report", type=click.Path(path_type=Path), help="Write a page for those who approve, and the SBOM, here."
)
@click.option(
    "--since", type=click.Path(path_type=Path), help="With --report: an earlier bundle or lock, to say what changed."
)
@command
def inspect(common: Common, bundle: Path, show: str | None, report: Path | None, since: Path | None) -> Answer:
    """Say what BUNDLE holds; only its head is read."""
    from bundler.bundle.manifest import FORMAT
    from bundler.bundle.reader import Bundle

    if since is not None and report is None:
        raise click.UsageError("--since goes with --report; `bundler diff` says what changed, too")
    if report is not None:
        from bundler.report import write_report

        with Bundle(bundle) as opened:
            written = write_report(opened, report, since=_items_of(since) if since else None)
        return Answer({"written": [str(path) for path in written]}, [str(path) for path in written])
    with Bundle(bundle) as opened:
        manifest, size = opened.manifest, opened.layout.size
        left_out = sum(obj.size for obj in opened.layout.left_out)

    def document() -> dict[str, Any]:
        return {
            "format": FORMAT,
            "name": manifest.name,
            "version": manifest.version,
            "id": manifest.id,
            "size": size,
            "left_out": left_out,
            "objects": [{"path": obj.path, "size": obj.size, "sha256": obj.sha256} for obj in manifest.objects],
            "items": [
                {
                    **item_document(item),
                    "attributes": dict(item.attributes),
                    "objects": [obj.path for obj in item.objects],
                }
                for item in manifest.items
            ],
        }

    if show == "items":
        rows = [(item.kind, item.name, item.version, human(size_of([item]))) for item in manifest.items]
        return Answer(document, table(("kind", "name", "version", "size"), rows))
    if show == "objects":
        return Answer(document, [f"{obj.sha256} {obj.size:>12} {obj.path}" for obj in manifest.objects])
    totals = [(kind, str(t["items"]), human(t["size"])) for kind, t in totals_of(manifest.items).items()]
    head = [f"{manifest.name} {manifest.version}", f"id {manifest.id}", f"size {human(size)}"]
    if left_out:
        head.append(f"left out, because the site has it: {human(left_out)}")
    head.append("")
    return Answer(document, [*head, *table(("kind", "items", "size"), totals)])


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@command
def diff(common: Common, old: Path, new: Path) -> Answer:
    """Say what changes from OLD to NEW, bundles or locks: added, removed, other versions, new bytes.

    OLD may be a site's receipt: then what has to be carried is counted.
    """
    from bundler.bundle.receipt import is_receipt, read_receipt
    from bundler.model.difference import difference, new_bytes

    items = _items_of(new)
    if is_receipt(old):
        size = new_bytes(items, read_receipt(old).objects)
        return Answer({"changes": None, "size": size}, [f"{human(size)} of it are not on the site"])
    changes = difference(_items_of(old), items)
    document = [
        {"what": c.what, "kind": c.kind, "name": c.name, "old": list(c.old), "new": list(c.new), "size": c.size}
        for c in changes
    ]
    size = sum(change.size for change in changes)
    rows = [(c.what, c.kind, c.name, " ".join(c.old), " ".join(c.new), human(c.size)) for c in changes]
    lines = [*table(("what", "kind", "name", "before", "now", "new bytes"), rows), f"{human(size)} of new bytes"]
    return Answer({"changes": document, "size": size}, lines if changes else ["nothing changed"])


def _items_of(path: Path) -> tuple[Item, ...]:
    """The items of a bundle or a lock."""
    from bundler.bundle.reader import Bundle
    from bundler.model.lock import Lock

    if path.name.endswith(".lock.json"):
        return Lock.from_bytes(path.read_bytes(), str(path)).items
    with Bundle(path) as opened:
        return opened.manifest.items
