"""What is not well, on either side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundler.cli.command import Answer, Common, command
from bundler.cli.options import ProfileName, root_option, set_option, site_option
from bundler.cli.settings import site_config
from bundler.cli.show import table

if TYPE_CHECKING:
    from bundler.findings import Finding

_SAMPLE = 100
_SITE_IS_UNWELL, _UPSTREAM_IS_UNWELL = 9, 6  # as the errors that would come of it


@click.command()
@click.argument("profile", type=ProfileName(), required=False)
@root_option
@site_option
@set_option
@click.option("--all", "all_objects", is_flag=True, help=f"Read every object, not {_SAMPLE} of each release by chance.")
@click.option("--fix", is_flag=True, help="Do what remedies say where that is safe, and look again.")
@command
def doctor(
    common: Common,
    profile: str | None,
    root: Path | None,
    site_file: Path | None,
    settings: Sequence[str],
    all_objects: bool,
    fix: bool,
) -> Answer:
    """Look a site over: services, doors, disk, certificates, permissions, and whether nodes get the right bytes.

    With PROFILE, on the connected side: whether every upstream that it names answers, with the log-ins at hand, and
    there is room to build. Ends with exit code 9, or 6 with PROFILE, when something failed; warnings are no failure.
    """
    from bundler.inputs import changes_of, find_profile, read_profile

    if profile is not None:
        from bundler.doctor.upstreams import examine_upstreams

        path = find_profile(profile)
        wanted = read_profile(path, changes_of(settings))
        found = examine_upstreams(wanted, path.parent, common.config(), Path())
        return _answer(list(found), _UPSTREAM_IS_UNWELL)
    from bundler.doctor.site import examine_site

    config = site_config(site_file, root=root)
    sample = None if all_objects else _SAMPLE
    findings = list(examine_site(config, sample=sample))
    mended = [finding for finding in findings if finding.state != "ok" and finding.mend] if fix else []
    for finding in mended:
        assert finding.mend is not None
        finding.mend()
    if mended:
        findings = list(examine_site(config, sample=sample))
    return _answer(findings, _SITE_IS_UNWELL, mended)


def _answer(findings: Sequence[Finding], exit_code: int, mended: Iterable[Finding] = ()) -> Answer:
    well = all(finding.state != "failed" for finding in findings)
    document: dict[str, Any] = {
        "well": well,
        "findings": [_document(finding) for finding in findings],
        "mended": [_document(finding) for finding in mended],
    }
    lines = [f"mended: {finding.check}: {finding.said}" for finding in mended]
    lines += table(("state", "what", "it said"), [(f.state, f.check, f.said) for f in findings])
    remedies = {f.check: f.remedy for f in findings if f.state != "ok" and f.remedy}
    lines += [f"remedy for {check}: {remedy}" for check, remedy in remedies.items()]
    return Answer(document, lines, 0 if well else exit_code)


def _document(finding: Finding) -> dict[str, Any]:
    return {"check": finding.check, "state": finding.state, "said": finding.said, "remedy": finding.remedy}
