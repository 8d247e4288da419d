"""The connected side: build, lock, plan, and the profiles they start from."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundler.cli.command import Answer, Common, command
from bundler.cli.options import VolumeSize, jobs_option, profile_argument, set_option
from bundler.cli.show import item_document, table, totals_of
from bundler.errors import ProfileError
from bundler.sizes import human

if TYPE_CHECKING:
    from bundler.build import LockFile
    from bundler.model.profile import Profile


@click.command()
@profile_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path(), help="Folder to build in.")
@set_option
@click.option(
    "--lock", "lock_path", type=click.Path(path_type=Path), help="Build what this lock says; resolve nothing."
)
@click.option(
    "--reuse",
    multiple=True,
    type=click.Path(path_type=Path),
    help="An earlier bundle: what it holds is not fetched again.",
)
@click.option(
    "--since",
    type=click.Path(path_type=Path),
    help="A receipt of the site: what it has is left out.",
)
@click.option("--allow-incomplete", is_flag=True, help="Write it though it could not be installed, and warn.")
@click.option("--replace", is_flag=True, help="Give up different content of that name and version that is there.")
@click.option("--sign", "sign_key", type=click.Path(path_type=Path), help="Sign it with this secret key.")
@click.option(
    "--signer", help="A command that signs its standard input and answers in base64; --sign is its public key."
)
@click.option("--split", "volume_size", type=VolumeSize(), help=f"Write volumes beside it. {VolumeSize.text}")
@jobs_option
@command
def build(
    common: Common,
    profile: str,
    output: Path,
    settings: Sequence[str],
    lock_path: Path | None,
    reuse: Sequence[Path],
    since: Path | None,
    allow_incomplete: bool,
    replace: bool,
    sign_key: Path | None,
    signer: str | None,
    volume_size: int | None,
    jobs: int | None,
) -> Answer:
    """Resolve PROFILE and write it as one bundle; its path is the last line on stdout.

    Interrupted, it goes on where it stopped when run again.
    """
    from bundler import build as pipeline
    from bundler.bundle import signature, volumes
    from bundler.bundle.reader import Bundle
    from bundler.bundle.receipt import read_receipt

    if signer and not sign_key:
        raise click.UsageError("--signer goes with --sign, which names its public key")
    config = common.config(jobs)
    wanted, base = _read_profile(profile, settings)
    file = pipeline.LockFile(lock_path or output / f"{wanted.name}-{wanted.version}.lock.json")
    lock = _matching_lock(file, wanted) if lock_path else pipeline.lock_profile(wanted, base, file, config)
    receipt = read_receipt(since) if since else None
    path = pipeline.build(
        lock,
        base,
        file,
        output,
        config=config,
        reuse=reuse,
        progress=common.progress(),
        since=receipt,
        allow_incomplete=allow_incomplete,
        replace=replace,
    )
    document = {"bundle": str(path), "lock": str(file.path), "name": lock.name, "version": lock.version}
    if sign_key:
        with Bundle(path) as built:
            document["signature"] = str(signature.sign(path, built.manifest, sign_key, signer).file)
    if volume_size:
        document["volumes"] = str(volumes.split(path, output, volume_size, progress=common.progress()))
    return Answer(document, [document.get("volumes", document["bundle"])])


@click.command()
@profile_argument
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The lock file.  [default: ./NAME-VERSION.lock.json]"
)
@set_option
@command
def lock(common: Common, profile: str, output: Path | None, settings: Sequence[str]) -> Answer:
    """Resolve PROFILE and write its lock: the same lock gives the same bundle, byte for byte."""
    from bundler import build as pipeline

    wanted, base = _read_profile(profile, settings)
    file = pipeline.LockFile(output or Path(f"{wanted.name}-{wanted.version}.lock.json"))
    made = pipeline.lock_profile(wanted, base, file, common.config())
    file.write(made)
    document = {"lock": str(file.path), "name": made.name, "version": made.version, "sha256": made.sha256}
    return Answer({**document, "totals": totals_of(made.items)}, [str(file.path)])


@click.command()
@profile_argument
@set_option
@click.option(
    "--expand",
    is_flag=True,
    help="Print the profile with its recipes expanded and its defaults filled in; only a recipe's source is fetched.",
)
@command
def plan(common: Common, profile: str, settings: Sequence[str], expand: bool) -> Answer:
    """Say what a build of PROFILE would fetch, and the disk it needs on both sides. Writes nothing."""
    import yaml

    from bundler import build as pipeline
    from bundler.bundle.documents import describe
    from bundler.bundle.layout import layout
    from bundler.transfer.store import Store
    from bundler.transfer.upstream import Upstream

    wanted, base = _read_profile(profile, settings)
    with (
        tempfile.TemporaryDirectory(prefix="bundler-plan-") as made,
        Upstream(common.config(), base=base, store=Store(Path(made))) as upstream,
    ):
        if expand:
            document = pipeline.expand(wanted, upstream)[0].document()
            return Answer(document, yaml.safe_dump(document, sort_keys=False).splitlines())
        resolved = pipeline.resolve(wanted, upstream)
    totals = totals_of(resolved.items)
    size = layout(describe(resolved)[0]).size
    payload = sum(obj.size for obj in resolved.objects)
    total = {"items": len(resolved.items), "objects": len(resolved.objects), "size": payload}
    document = {
        "name": wanted.name,
        "version": wanted.version,
        "items": [item_document(item) for item in resolved.items],
        "totals": totals,
        "total": total,
        "disk": {"build": size, "install": payload},
    }
    rows = [
        (kind, str(t["items"]), str(t["objects"]), human(t["size"])) for kind, t in (*totals.items(), ("total", total))
    ]
    return Answer(
        document,
        [
            *table(("kind", "items", "objects", "size"), rows),
            "",
            f"disk: {human(size)} here for the bundle, {human(payload)} on the site beside the bundle",
        ],
    )


@click.group(invoke_without_command=True)
@click.pass_context
def profiles(ctx: click.Context) -> None:
    """List the profiles that come with bundler."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(profiles_list, as_json=False, quiet=False, config_file=None)


@profiles.command("list")
@command
def profiles_list(common: Common) -> Answer:
    """List the shipped profiles."""
    from bundler.inputs import shipped_profiles

    found = shipped_profiles()
    return Answer({"profiles": {name: str(path) for name, path in found.items()}}, list(found))


@profiles.command("show")
@profile_argument
@command
def profiles_show(common: Common, profile: str) -> Answer:
    """Print a profile as it stands."""
    from bundler.inputs import find_profile

    path = find_profile(profile)
    text = path.read_text()
    return Answer({"path": str(path), "text": text}, text.rstrip().split("\n"))


@profiles.command("schema")
@command
def profiles_schema(common: Common) -> Answer:
    """Print the JSON schema of a profile, for editors."""
    from bundler.inputs import profile_schema

    schema = profile_schema()
    return Answer(schema, json.dumps(schema, indent=1).split("\n"))


def _read_profile(name: str, settings: Sequence[str]) -> tuple[Profile, Path]:
    """The profile, and the folder that its relative paths start at."""
    from bundler.inputs import changes_of, find_profile, read_profile

    path = find_profile(name)
    return read_profile(path, changes_of(settings)), path.parent


def _matching_lock(file: LockFile, profile: Profile) -> Any:
    lock = file.read()
    if lock.profile_sha256 != profile.sha256:
        raise ProfileError(
            f"{file.path} was made from another profile than this one, or from this one before it was changed",
            hint="make the lock again with `bundler lock`, or build without --lock",
        )
    return lock
