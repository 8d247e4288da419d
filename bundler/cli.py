"""The command line: arguments in, printing out. Nothing else in the package prints.

Every command answers with an `Answer`: lines for people, or the one JSON document of `--json`. Steps, progress,
warnings and errors go to stderr.
"""

from __future__ import annotations

import errno
import functools
import json
import logging
import math
import os
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.shell_completion import CompletionItem, get_completion_class
from tqdm import tqdm

from bundler import __version__
from bundler.errors import BundlerError, ConfigError, ProfileError, SpaceError
from bundler.progress import Progress, Silent

if TYPE_CHECKING:
    from bundler.build import LockFile
    from bundler.model.config import Config
    from bundler.model.items import Item
    from bundler.model.profile import Profile

# What a path that someone named can be: not there, not theirs, not what it should be.
_REFUSALS = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EEXIST,
}
_PLAIN_INTERVAL = 5.0  # seconds between two progress lines where stderr is no terminal


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command has to say on stdout."""

    document: Any
    lines: Iterable[str] = ()


@dataclass(frozen=True, slots=True)
class Common:
    """The options that every command takes."""

    as_json: bool
    quiet: bool
    config_file: Path | None

    def config(self, jobs: int | None = None) -> Config:
        """bundler's config, with `--jobs` on top."""
        from bundler.inputs import read_config

        config = read_config(self.config_file)
        return config.model_copy(update={"jobs": jobs}) if jobs else config

    def progress(self) -> Progress:
        """How to show progress: bars on a terminal, lines elsewhere, nothing with --quiet."""
        if self.quiet:
            return Silent()
        return Bars() if sys.stderr.isatty() else Lines()


class Bars:
    """Progress as a tqdm bar."""

    def __init__(self) -> None:
        self._bar: tqdm[NoReturn] | None = None

    def start(self, title: str, total: int) -> None:
        self.finish()
        self._bar = tqdm(total=total, desc=title, unit="B", unit_scale=True, unit_divisor=1024, file=sys.stderr)

    def advance(self, size: int) -> None:
        if self._bar is not None:
            self._bar.update(size)

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Lines:
    """Progress as a plain line every few seconds, for logs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._title, self._done, self._total = "", 0, 0
        self._due = math.inf

    def start(self, title: str, total: int) -> None:
        with self._lock:
            self._title, self._done, self._total = title, 0, total
            self._due = time.monotonic() + _PLAIN_INTERVAL

    def advance(self, size: int) -> None:
        with self._lock:
            self._done += size
            if time.monotonic() >= self._due:
                self._due = time.monotonic() + _PLAIN_INTERVAL
                share = 100 * self._done // self._total if self._total else 100
                click.echo(f"{self._title}: {human(self._done)} of {human(self._total)} ({share} %)", err=True)

    def finish(self) -> None:
        self._due = math.inf


class _Handler(logging.Handler):
    """Log records on stderr, in front of a progress bar rather than through it."""

    def emit(self, record: logging.LogRecord) -> None:
        head = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        tqdm.write(f"{head}{record.getMessage()}", file=sys.stderr)


def command(function: Callable[..., Answer]) -> Callable[..., None]:
    """Give a command the common options, print its Answer, and turn its errors into messages and exit codes."""

    @click.option("--json", "as_json", is_flag=True, help="Answer with one JSON document on stdout.")
    @click.option("--quiet", "-q", is_flag=True, help="No steps and no progress on stderr; warnings and errors only.")
    @click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        envvar="BUNDLER_CONFIG",
        help="bundler's own config: mirrors, CA files, proxies, credentials, jobs, retries.",
    )
    @functools.wraps(function)
    def run(*, as_json: bool, quiet: bool, config_file: Path | None, **arguments: Any) -> None:
        logging.basicConfig(level=logging.WARNING, handlers=[_Handler()], force=True)
        logging.getLogger("bundler").setLevel(logging.WARNING if quiet else logging.INFO)
        try:
            with _refusals():
                answer = function(Common(as_json, quiet, config_file), **arguments)
        except BundlerError as error:
            if as_json:
                click.echo(json.dumps({"error": error.message, "hint": error.hint, "exit_code": error.exit_code}))
            click.echo(f"error: {error.message}\nhint: {error.hint}", err=True)
            sys.exit(error.exit_code)
        if as_json:
            click.echo(json.dumps(answer.document, indent=1))
        else:
            for line in answer.lines:
                click.echo(line)

    return run


@contextmanager
def _refusals() -> Iterator[None]:
    """What the file system refuses is no bug of bundler's, wherever it happens."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SpaceError(
                f"{where}{error.strerror}",
                hint="make room, there or in the temporary folder (TMPDIR); then run it again",
            ) from error
        if not error.filename or error.errno not in _REFUSALS:
            raise
        raise ConfigError(
            f"{where}{error.strerror}", hint="name another place, or see who may read and write this one"
        ) from error


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def cli() -> None:
    """Carry RPMs, container images, Python wheels and files across an air gap in one verified tarball.

    On a connected machine: plan, lock, build. Anywhere: verify, inspect. On the closed side: install, status, services,
    nodes, uninstall.
    """


class ProfileName(click.ParamType[str]):
    """A profile by path or by shipped name; completes both."""

    name = "profile"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from bundler.inputs import shipped_profiles

        names = [CompletionItem(name) for name in shipped_profiles() if name.startswith(incomplete)]
        return [*names, CompletionItem(incomplete, type="file")]


profile_argument = click.argument("profile", type=ProfileName())
set_option = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change the profile: rpms.weak_deps=true."
)
jobs_option = click.option("--jobs", type=click.IntRange(1, 64), help="Transfers at once.")
bundle_argument = click.argument("bundle", type=click.Path(path_type=Path))
root_option = click.option(
    "--root", type=click.Path(path_type=Path), help="Folder of the whole site.  [default: /data]"
)
site_option = click.option(
    "--site", "site_file", type=click.Path(path_type=Path), help="The site's description, site.yaml."
)


@cli.command()
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
@jobs_option
@command
def build(
    common: Common,
    profile: str,
    output: Path,
    settings: Sequence[str],
    lock_path: Path | None,
    reuse: Sequence[Path],
    jobs: int | None,
) -> Answer:
    """Resolve PROFILE and write it as one bundle; its path is the last line on stdout.

    Interrupted, it goes on where it stopped when run again.
    """
    from bundler import build as pipeline

    config = common.config(jobs)
    wanted, base = _read_profile(profile, settings)
    file = pipeline.LockFile(lock_path or output / f"{wanted.name}-{wanted.version}.lock.json")
    lock = _matching_lock(file, wanted) if lock_path else pipeline.lock_profile(wanted, base, file, config)
    path = pipeline.build(lock, base, file, output, config=config, reuse=reuse, progress=common.progress())
    return Answer(
        {"bundle": str(path), "lock": str(file.path), "name": lock.name, "version": lock.version}, [str(path)]
    )


@cli.command()
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
    document = {"lock": str(file.path), "name": made.name, "version": made.version, "sha256": made.sha256}
    return Answer({**document, "totals": _totals(made.items)}, [str(file.path)])


@cli.command()
@profile_argument
@set_option
@click.option("--expand", is_flag=True, help="Print the profile with its defaults filled in; needs no network.")
@command
def plan(common: Common, profile: str, settings: Sequence[str], expand: bool) -> Answer:
    """Say what a build of PROFILE would fetch, and the disk it needs on both sides. Writes nothing."""
    import yaml

    from bundler.build import resolve
    from bundler.bundle.documents import describe
    from bundler.bundle.layout import layout
    from bundler.transfer.store import Store
    from bundler.transfer.upstream import Upstream

    wanted, base = _read_profile(profile, settings)
    if expand:
        expanded = wanted.expanded()
        return Answer(expanded, [yaml.safe_dump(expanded, sort_keys=False).rstrip()])
    with (
        tempfile.TemporaryDirectory(prefix="bundler-plan-") as made,
        Upstream(common.config(), base=base, store=Store(Path(made))) as upstream,
    ):
        resolved = resolve(wanted, upstream)
    totals = _totals(resolved.items)
    size = layout(describe(resolved)[0]).size
    payload = sum(obj.size for obj in resolved.objects)
    document = {
        "name": wanted.name,
        "version": wanted.version,
        "items": [_item_document(item) for item in resolved.items],
        "totals": totals,
        "disk": {"build": size, "install": payload},
    }
    rows = [(kind, str(t["items"]), str(t["objects"]), human(t["size"])) for kind, t in totals.items()]
    return Answer(
        document,
        [
            *table(("kind", "items", "objects", "size"), rows),
            "",
            f"disk: {human(size)} here for the bundle, {human(payload)} on the site beside the bundle",
        ],
    )


@cli.command()
@bundle_argument
@jobs_option
@command
def verify(common: Common, bundle: Path, jobs: int | None) -> Answer:
    """Check every byte of BUNDLE against its manifest."""
    from bundler.bundle.reader import Bundle

    progress = common.progress()
    with Bundle(bundle, progress) as opened:
        progress.start("verifying", opened.unchecked())
        opened.verify(jobs=jobs or os.cpu_count() or 1)
        progress.finish()
        manifest, size = opened.manifest, opened.layout.size
    document = {
        "name": manifest.name,
        "version": manifest.version,
        "id": manifest.id,
        "size": size,
        "objects": len(manifest.objects),
        "intact": True,
    }
    return Answer(document, [f"{bundle}: intact, {len(manifest.objects)} objects, {human(size)}", f"id {manifest.id}"])


@cli.command()
@bundle_argument
@click.option("--items", "show", flag_value="items", help="A line for each item.")
@click.option("--objects", "show", flag_value="objects", help="A line for each object: sha256, size, path.")
@command
def inspect(common: Common, bundle: Path, show: str | None) -> Answer:
    """Say what BUNDLE holds; only its head is read."""
    from bundler.bundle.manifest import FORMAT
    from bundler.bundle.reader import Bundle

    with Bundle(bundle) as opened:
        manifest, size = opened.manifest, opened.layout.size
    document = {
        "format": FORMAT,
        "name": manifest.name,
        "version": manifest.version,
        "id": manifest.id,
        "size": size,
        "objects": [{"path": obj.path, "size": obj.size, "sha256": obj.sha256} for obj in manifest.objects],
        "items": [
            {**_item_document(item), "attributes": dict(item.attributes), "objects": [obj.path for obj in item.objects]}
            for item in manifest.items
        ],
    }
    if show == "items":
        rows = [(item.kind, item.name, item.version, human(_size([item]))) for item in manifest.items]
        return Answer(document, table(("kind", "name", "version", "size"), rows))
    if show == "objects":
        return Answer(document, [f"{obj.sha256} {obj.size:>12} {obj.path}" for obj in manifest.objects])
    totals = [(kind, str(t["items"]), human(t["size"])) for kind, t in _totals(manifest.items).items()]
    head = [f"{manifest.name} {manifest.version}", f"id {manifest.id}", f"size {human(size)}", ""]
    return Answer(document, [*head, *table(("kind", "items", "size"), totals)])


@cli.command()
@bundle_argument
@click.option("--address", help="What the nodes reach this host by.")
@root_option
@site_option
@click.option("--dry-run", is_flag=True, help="Say what would be installed, and whether there is room; change nothing.")
@command
def install(
    common: Common, bundle: Path, address: str | None, root: Path | None, site_file: Path | None, dry_run: bool
) -> Answer:
    """Serve BUNDLE from this host: load it, verify it, then switch to it.

    Needs --address or --site the first time. Running it again changes nothing; after a failure it goes on.
    """
    from bundler import install as pipeline
    from bundler.inputs import read_site

    config = read_site(site_file, address=address, root=root)
    if dry_run:
        outlook = pipeline.outlook(bundle, config)
        document: dict[str, Any] = {
            "name": outlook.name,
            "version": outlook.version,
            "id": outlook.id,
            "url": outlook.url,
        }
        document |= {"needed": outlook.needed, "available": outlook.available, "installed": outlook.installed}
        state = "is installed already" if outlook.installed else "would be installed"
        room = f"it needs at most {human(outlook.needed)}; {human(outlook.available)} are free"
        return Answer(document, [f"{outlook.name} {outlook.version} {state} at {outlook.url}", room])
    done = pipeline.install(bundle, config, progress=common.progress())
    document = {"name": done.name, "version": done.version, "id": done.id, "url": done.url}
    document |= {"changed": done.changed, "objects_written": done.objects, "bytes_written": done.size}
    if not done.changed:
        return Answer(document, [f"{done.name} {done.version} was installed already: nothing changed", done.url])
    lines = [
        f"installed {done.name} {done.version}: {done.objects} objects, {human(done.size)} written",
        f"on each node: curl -fsS {done.url}/nodes/setup.sh | sh",
    ]
    return Answer(document, lines)


@cli.command()
@root_option
@site_option
@command
def status(common: Common, root: Path | None, site_file: Path | None) -> Answer:
    """Say which releases this site serves, and whether its services run."""
    from bundler.inputs import read_site
    from bundler.site.site import Site

    config = read_site(site_file, address=None, root=root)
    site = Site(config)
    releases = [
        {"name": r.name, "version": r.version, "id": r.id, "current": r.current, "url": f"{config.web_url}/{r.name}"}
        for r in site.releases()
    ]
    services = [_service_document(service) for service in site.services.status()]
    document = {"address": config.address, "root": config.root, "releases": releases, "services": services}
    rows = [(str(r["name"]), str(r["version"]), "served" if r["current"] else "kept", str(r["url"])) for r in releases]
    lines = [*table(("release", "version", "state", "address"), rows), "", *_service_table(services)]
    return Answer(document, lines)


@cli.group()
def services() -> None:
    """Start, stop or look at nginx, the registry and devpi."""


def _service_command(verb: str, help_text: str) -> None:
    @services.command(verb, help=help_text)
    @root_option
    @site_option
    @command
    def run(common: Common, root: Path | None, site_file: Path | None) -> Answer:
        from bundler.inputs import read_site
        from bundler.site.site import Site

        manager = Site(read_site(site_file, address=None, root=root)).services
        if verb != "status":
            getattr(manager, verb)()
        found = [_service_document(service) for service in manager.status()]
        return Answer({"services": found}, _service_table(found))


_service_command("start", "Start the services that do not run.")
_service_command("stop", "Stop the services that run.")
_service_command("status", "Say which services run.")


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--name", help="The release; needed where several are installed.")
@root_option
@site_option
@command
def nodes(common: Common, folder: Path, name: str | None, root: Path | None, site_file: Path | None) -> Answer:
    """Emit the node files of an installed release into DIR."""
    from bundler.inputs import read_site
    from bundler.install import emit_into

    written = emit_into(folder, read_site(site_file, address=None, root=root), name)
    return Answer({"written": [str(path) for path in written]}, [str(path) for path in written])


@cli.command()
@click.argument("name")
@click.option("--purge", is_flag=True, help="Delete its data as well; without it the data is kept, but not served.")
@root_option
@site_option
@command
def uninstall(common: Common, name: str, purge: bool, root: Path | None, site_file: Path | None) -> Answer:
    """Take the release NAME off this site; the last one to go stops the services."""
    from bundler.inputs import read_site
    from bundler.site.site import Site

    Site(read_site(site_file, address=None, root=root)).remove(name, purge=purge)
    return Answer(
        {"name": name, "purged": purge}, [f"{name} is not served any more" + (", its data is deleted" if purge else "")]
    )


@cli.group(invoke_without_command=True)
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
    return Answer({"path": str(path), "text": text}, [text.rstrip()])


@profiles.command("schema")
@command
def profiles_schema(common: Common) -> Answer:
    """Print the JSON schema of a profile, for editors."""
    from bundler.inputs import profile_schema

    schema = profile_schema()
    return Answer(schema, [json.dumps(schema, indent=1)])


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL: eval "$(bundler completion bash)"."""
    found = get_completion_class(shell)
    assert found is not None, "click knows each of the choices"
    click.echo(found(cli, {}, "bundler", "_BUNDLER_COMPLETE").source())


def human(size: int) -> str:
    """A number of bytes for people: `1.5 GiB`."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of text, each as wide as its widest cell."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]


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


def _size(items: Iterable[Item]) -> int:
    return sum({obj.path: obj.size for item in items for obj in item.objects}.values())


def _totals(items: Iterable[Item]) -> dict[str, dict[str, int]]:
    """Items, objects and bytes by kind; an object that items share counts once."""
    by_kind: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_kind[item.kind].append(item)
    return {
        kind: {
            "items": len(found),
            "objects": len({obj.path for item in found for obj in item.objects}),
            "size": _size(found),
        }
        for kind, found in sorted(by_kind.items())
    }


def _item_document(item: Item) -> dict[str, Any]:
    return {
        "kind": item.kind,
        "name": item.name,
        "version": item.version,
        "size": _size([item]),
        "purl": item.purl,
        "licence": item.licence,
    }


def _service_document(service: Any) -> dict[str, Any]:
    return {"name": service.name, "running": service.running, "pid": service.pid, "address": service.address}


def _service_table(found: Sequence[dict[str, Any]]) -> list[str]:
    rows = [(s["name"], "running" if s["running"] else "stopped", str(s["pid"] or "-"), s["address"]) for s in found]
    return table(("service", "state", "pid", "address"), rows)


def main() -> None:
    """The console script."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: run it again to go on from here", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our answer has enough; Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
