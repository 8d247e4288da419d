"""The closed side: install, and what is done with a site afterwards."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundler.cli.command import Answer, Common, command
from bundler.cli.options import Tls, bundle_argument, replace_option, root_option, signature_option, site_option
from bundler.cli.settings import site_config
from bundler.cli.show import table
from bundler.cli.terminal import say
from bundler.sizes import human

if TYPE_CHECKING:
    from bundler.model.site import SiteConfig
    from bundler.site.releases import InstalledRelease


@click.command()
@bundle_argument
@click.option("--address", help="What the nodes reach this host by.")
@root_option
@site_option
@click.option(
    "--services",
    type=click.Choice(["systemd", "process"]),
    help="Who runs nginx, the registry and devpi.  [default: systemd where it runs, else bundler itself]",
)
@click.option("--tls", type=Tls(), metavar="SELF-SIGNED|FILES", help=Tls.text)
@click.option("--login", metavar="USER", help="Let nobody read who does not log in as USER; needs TLS.")
@signature_option
@click.option("--id", "expected", metavar="ID", help="The id that was approved: a bundle with another is refused.")
@click.option("--allow-older", is_flag=True, help="Take it though it is older, where site.yaml refuses that.")
@replace_option
@click.option("--dry-run", is_flag=True, help="Say what would be installed, and whether there is room; change nothing.")
@command
def install(
    common: Common,
    bundle: Path,
    address: str | None,
    root: Path | None,
    site_file: Path | None,
    services: str | None,
    tls: Mapping[str, str] | str | None,
    login: str | None,
    signature: Path | None,
    expected: str | None,
    allow_older: bool,
    replace: bool,
    dry_run: bool,
) -> Answer:
    """Serve BUNDLE from this host: load it, verify it, then switch to it.

    Needs --address or --site the first time. Running it again changes nothing; after a failure it goes on.
    """
    from bundler import install as pipeline

    config = site_config(site_file, address=address, root=root, services=services, tls=tls, login=login)
    terms = pipeline.Terms(signature, expected, allow_older, replace)
    if dry_run:
        outlook = pipeline.outlook(bundle, config, terms)
        document: dict[str, Any] = {
            "name": outlook.name,
            "version": outlook.version,
            "id": outlook.id,
            "url": outlook.url,
        }
        document |= {"needed": outlook.needed, "available": outlook.available, "installed": outlook.installed}
        document["refusals"] = list(outlook.refusals)
        state = "is installed already" if outlook.installed else "would be installed"
        room = f"it needs at most {human(outlook.needed)}; {human(outlook.available)} are free"
        refused = [f"it would be refused without --replace: {said}" for said in outlook.refusals]
        return Answer(document, [f"{outlook.name} {outlook.version} {state} at {outlook.url}", room, *refused])
    done = pipeline.install(bundle, config, progress=common.progress(), terms=terms)
    document = {"name": done.name, "version": done.version, "id": done.id, "url": done.url}
    document |= {"changed": done.changed, "objects_written": done.objects, "bytes_written": done.size}
    if not done.changed:
        return Answer(document, [f"{done.name} {done.version} was installed already: nothing changed", done.url])
    lines = [
        f"installed {done.name} {done.version}: {done.objects} objects, {human(done.size)} written",
        f"on each node: {config.set_up(done.url)}",
    ]
    if first := [path for path in (config.ca_path, config.netrc_path) if path]:
        lines.append(f"to be copied to them first: {' '.join(first)}")
    return Answer(document, lines)


@click.command()
@root_option
@site_option
@command
def status(common: Common, root: Path | None, site_file: Path | None) -> Answer:
    """Say which releases this site serves, and whether its services run."""
    from bundler.site.site import Site

    config = site_config(site_file, root=root)
    site = Site(config)
    releases = [_release_document(release, config) for release in site.releases()]
    services = [_service_document(service) for service in site.services.status()]
    document = {"address": config.address, "root": config.root, "releases": releases, "services": services}
    rows = [(r["name"], r["version"], r["state"], r["url"] or "-") for r in releases]
    lines = [*table(("release", "version", "state", "address"), rows), "", *_service_table(services)]
    return Answer(document, lines)


@click.command()
@click.argument("name", required=False)
@root_option
@site_option
@command
def releases(common: Common, name: str | None, root: Path | None, site_file: Path | None) -> Answer:
    """Say which releases the site has, of NAME or all: those of a name in the order in which they were served last.

    `alone` is what no other release needs: what deleting this one would free. `kept at` is where nodes find it whatever
    is current: an address with its version.
    """
    from bundler.site.site import Site

    config = site_config(site_file, root=root)
    site = Site(config)
    sizes = {release: {obj.sha256: obj.size for obj in release.manifest.payload} for release in site.in_order()}
    users = Counter(sha256 for objects in sizes.values() for sha256 in objects)
    document: list[dict[str, Any]] = [
        {
            **_release_document(release, config),
            "size": sum(objects.values()),
            "alone": sum(size for sha256, size in objects.items() if users[sha256] == 1),
        }
        for release, objects in sizes.items()
        if name in (None, release.name)
    ]
    rows = [
        (r["name"], r["version"], r["id"][:12], r["state"], human(r["size"]), human(r["alone"]), r["kept_at"] or "-")
        for r in document
    ]
    header = ("release", "version", "id", "state", "size", "alone", "kept at")
    return Answer({"releases": document}, [*table(header, rows)])


@click.command()
@click.argument("name")
@click.argument("version", required=False)
@replace_option
@root_option
@site_option
@command
def rollback(
    common: Common, name: str, version: str | None, replace: bool, root: Path | None, site_file: Path | None
) -> Answer:
    """Serve an earlier release of NAME again: VERSION, or the one before; from what the site still has of it.

    In place of VERSION its id may stand: @ID, all 64 digits of it or at least the first 12, as `bundler releases` shows
    them. The @ may be left out; a word that could mean several releases is refused, and they are listed.
    """
    from bundler import install as pipeline

    done = pipeline.rollback(name, version, site_config(site_file, root=root), replace=replace)
    document = {"name": done.name, "version": done.version, "id": done.id, "url": done.url}
    return Answer(document, [f"{done.name} {done.version} is served again", done.url])


@click.command()
@click.argument("name", required=False)
@click.option("--keep", type=click.IntRange(1), default=2, show_default=True, help="Releases of each name to keep.")
@root_option
@site_option
@command
def prune(common: Common, name: str | None, keep: int, root: Path | None, site_file: Path | None) -> Answer:
    """Delete earlier releases, of NAME or of all, and what only they used in the registry and the index."""
    from bundler.site.site import Site

    gone = Site(site_config(site_file, root=root)).prune(name, keep=keep)
    document = [{"name": release.name, "version": release.version, "id": release.id} for release in gone]
    lines = [f"{release.name} {release.version} is deleted" for release in gone]
    return Answer({"deleted": document}, lines or ["there is nothing to delete"])


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file.  [default: stdout]")
@root_option
@site_option
@command
def receipt(common: Common, output: Path | None, root: Path | None, site_file: Path | None) -> Answer:
    """Write what this site has, to be carried back: `bundler build --since` leaves that out."""
    from bundler import install as pipeline
    from bundler.files import write_file

    data = pipeline.receipt(site_config(site_file, root=root))
    if output is None:
        return Answer(json.loads(data), [data.decode().rstrip()])
    write_file(output, data)
    return Answer({"receipt": str(output)}, [str(output)])


@click.group()
def services() -> None:
    """Start, stop or look at nginx, the registry and devpi."""


def _service_command(verb: str, help_text: str) -> None:
    @services.command(verb, help=help_text)
    @root_option
    @site_option
    @command
    def run(common: Common, root: Path | None, site_file: Path | None) -> Answer:
        from bundler.site.site import Site

        manager = Site(site_config(site_file, root=root)).services
        if verb != "status":
            getattr(manager, verb)()
        found = [_service_document(service) for service in manager.status()]
        return Answer({"services": found}, _service_table(found))


_service_command("start", "Start the services that do not run.")
_service_command("stop", "Stop the services that run.")
_service_command("status", "Say which services run.")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--name", help="The release; needed where several are installed.")
@root_option
@site_option
@command
def nodes(common: Common, folder: Path, name: str | None, root: Path | None, site_file: Path | None) -> Answer:
    """Emit the node files of an installed release into DIR."""
    from bundler.install import emit_into

    written = emit_into(folder, site_config(site_file, root=root), name)
    return Answer({"written": [str(path) for path in written]}, [str(path) for path in written])


@click.command()
@click.argument("name", required=False)
@click.option("--purge", is_flag=True, help="Delete its data as well; without it the data is kept, but not served.")
@root_option
@site_option
@command
def uninstall(common: Common, name: str | None, purge: bool, root: Path | None, site_file: Path | None) -> Answer:
    """Take the release NAME off this site, or all; with the last one the services go, and this host is as it was."""
    from bundler.site.site import Site

    site = Site(site_config(site_file, root=root))
    names = [name] if name else sorted({release.name for release in site.releases()})
    for each in names:
        site.remove(each, purge=purge)
    lines = [f"{each} is not served any more" + (", its data is deleted" if purge else "") for each in names]
    return Answer({"names": names, "purged": purge}, lines or ["nothing is installed"])


@click.command("check-node")
@click.argument("url", metavar="URL")
@click.option(
    "--ca",
    type=click.Path(path_type=Path),
    help="The site's ca.pem, to read the checks over https.  [default: where setup.sh puts it]",
)
@command
def check_node(common: Common, url: str, ca: Path | None) -> Answer:
    """Prove that this machine can use the release at URL, http://ADDRESS/NAME: what its check.sh does.

    Ends with exit code 9 when a check fails.
    """
    from bundler.errors import SiteError
    from bundler.site.node_check import read_checks, run

    results = list(run(read_checks(url, ca)))
    failed = [result for result in results if result.state == "failed"]
    rows = [(result.state, result.title, result.said.splitlines()[-1] if result.said else "") for result in results]
    lines = table(("state", "check", "it said"), rows)
    if failed:
        for line in lines:
            say(line, err=True)
        raise SiteError(
            f"{len(failed)} of {len(results)} checks failed: {', '.join(result.title for result in failed)}",
            hint="run nodes/setup.sh on this machine first; see `bundler status` on the admin host",
        )
    return Answer({"checks": [asdict(result) for result in results]}, lines)


def _release_document(release: InstalledRelease, config: SiteConfig) -> dict[str, Any]:
    from bundler.site.publication import kept_at, wheels_kept_at

    kept = kept_at(release, config)
    return {
        "name": release.name,
        "version": release.version,
        "id": release.id,
        "current": release.current,
        "state": "served" if release.current else "kept" if release.published else "not served",
        "url": f"{config.web_url}/{release.name}" if release.current else kept,
        "kept_at": kept,
        "wheels_kept_at": wheels_kept_at(release, config),
    }


def _service_document(service: Any) -> dict[str, Any]:
    return {"name": service.name, "running": service.running, "pid": service.pid, "address": service.address}


def _service_table(found: Sequence[dict[str, Any]]) -> list[str]:
    rows = [(s["name"], "running" if s["running"] else "stopped", str(s["pid"] or "-"), s["address"]) for s in found]
    return table(("service", "state", "pid", "address"), rows)
