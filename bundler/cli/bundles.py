"""A bundle as a file, on either side: verify, sign, split, join."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bundler.cli.command import Answer, Common, command
from bundler.cli.options import Expiry, VolumeSize, bundle_argument, jobs_option, signature_option, trust_option
from bundler.errors import BundleError, TrustError
from bundler.sizes import human

if TYPE_CHECKING:
    from datetime import datetime

    from bundler.bundle.reader import Bundle
    from bundler.bundle.statement import Vouched
    from bundler.model.items import Object

logger = logging.getLogger(__name__)


@click.command()
@bundle_argument
@trust_option
@signature_option
@click.option("--closure", is_flag=True, help="Prove, too, that it could be installed: nothing in it lacks another.")
@jobs_option
@command
def verify(
    common: Common, bundle: Path, trust: Sequence[Path], signature: Path | None, closure: bool, jobs: int | None
) -> Answer:
    """Check every byte of BUNDLE against its manifest, and its signature where --trust or this machine asks for one."""
    from bundler.bundle import keys
    from bundler.bundle.reader import Bundle
    from bundler.bundle.signature import vouched

    progress = common.progress()
    signed = vouched(bundle, keys.trust(trust), signature)
    with Bundle(bundle, progress, signed) as opened:
        progress.start("verifying", opened.unchecked())
        opened.verify(jobs=jobs or os.cpu_count() or 1)
        progress.finish()
        manifest, size, checked = opened.manifest, opened.layout.size, len(opened.carried)
        left_out = opened.layout.left_out
        if closure:
            _prove_closure(opened)
    signers = _signers(signed) if signed else []
    document = {
        "name": manifest.name,
        "version": manifest.version,
        "id": manifest.id,
        "size": size,
        "objects": checked,
        "left_out": {"objects": len(left_out), "size": sum(obj.size for obj in left_out)},
        "intact": True,
        **({"installable": True} if closure else {}),
        "signed_by": signers,
    }
    found = "intact, nothing lacks" if closure else "intact"
    head = [
        f"{bundle}: {found}, {checked} objects, {human(size)}",
        *([f"a delta: {_left_out(left_out)} are left out of it, and were not checked"] if left_out else []),
        f"id {manifest.id}",
    ]
    if signed is None:
        return Answer(document, [*head, "signature not checked: no key is trusted here"])
    until = f", until {signers[0]['expires']}" if signed.statement.expires else ""
    return Answer(document, [*head, *(f"signed by {who['key']}: key id {who['keyid']}{until}" for who in signers)])


def _left_out(objects: Sequence[Object]) -> str:
    return f"{len(objects)} objects, {human(sum(obj.size for obj in objects))},"


def _signers(signed: Vouched) -> list[dict[str, str | None]]:
    from bundler.bundle.statement import time_text

    expires = time_text(signed.statement.expires) if signed.statement.expires else None
    return [{"key": str(who.key), "keyid": who.keyid, "expires": expires} for who in signed.signers]


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
@click.option("--expires", type=Expiry(), help=Expiry.text)
@click.option(
    "--id", "approved", metavar="ID", help="Sign this bundle, all 64 digits of whose id were approved; no other."
)
@command
def sign(
    common: Common, bundle: Path, key: Path, signer: str | None, expires: datetime | None, approved: str | None
) -> Answer:
    """Vouch for BUNDLE, every byte of which is checked before: a signature beside it.

    Whoever signs it after somebody else adds a signature: the statement stays the one that is there.
    """
    from bundler.bundle import signature
    from bundler.bundle.reader import Bundle
    from bundler.bundle.statement import time_text

    progress = common.progress()
    with Bundle(bundle, progress) as opened:
        id_ = opened.manifest.id
        if approved not in (None, id_):
            raise TrustError(
                f"{bundle} is not the bundle that was approved: its id is {id_}, and not {approved}",
                hint="sign the file that was approved; --id takes all 64 digits",
            )
        if opened.layout.left_out:
            raise BundleError(
                f"{bundle} is a delta: {_left_out(opened.layout.left_out)} are left out of it, and cannot be checked",
                hint="sign the whole bundle: its signature counts for the delta (verify and install: --signature)",
            )
        progress.start("verifying", opened.unchecked())
        opened.verify(jobs=os.cpu_count() or 1)
        progress.finish()
        made = signature.sign(bundle, opened.manifest, key, signer, expires)
    until = time_text(made.statement.expires) if made.statement.expires else None
    if made.adopted and expires is None and until:
        logger.warning("%s: others had signed this before, and it expires at %s", made.file, until)
    document = {"signature": str(made.file), "id": id_, "expires": until}
    return Answer(document, [f"id {id_}", *([f"expires at {until}"] if until else []), str(made.file)])


@click.group()
def key() -> None:
    """Keys to sign bundles with."""


@key.command("new")
@click.argument("path", type=click.Path(path_type=Path))
@command
def new_key(common: Common, path: Path) -> Answer:
    """Make a key pair: PATH, which stays secret, and PATH.pub for the sites."""
    from bundler.bundle.keys import new_key as make

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
@click.option("--replace", is_flag=True, help="Give up what is there under that name, and is not the same bundle.")
@command
def join(common: Common, volumes: Path, folder: Path | None, replace: bool) -> Answer:
    """Make one file of VOLUMES, a folder, one of them or their index. All other commands read volumes as they are."""
    from bundler.bundle import volumes as pieces

    here = volumes if volumes.is_dir() else volumes.parent
    bundle = pieces.join(volumes, folder or here, progress=common.progress(), replace=replace)
    return Answer({"bundle": str(bundle)}, [str(bundle)])
