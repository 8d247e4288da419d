"""Arguments and options that several commands take."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import click
from click.shell_completion import CompletionItem

_LAST_SECOND = time(23, 59, 59)


class ProfileName(click.ParamType[str]):
    """A profile by path or by shipped name; completes both."""

    name = "profile"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from bundler.inputs import shipped_profiles

        names = [CompletionItem(name) for name in shipped_profiles() if name.startswith(incomplete)]
        return [*names, CompletionItem(incomplete, type="file")]


class VolumeSize(click.ParamType[int]):
    """Bytes, as `4G`, or as what a medium holds."""

    name = "size"
    text = "Of each volume: 4G, 700M; or what fits on fat32, cd, dvd, bd."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from bundler.bundle.volumes import parse_size

        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Tls(click.ParamType[Mapping[str, str] | str]):
    """`self-signed`, or three files as site.yaml's `tls` takes them."""

    name = "tls"
    text = "Serve over https: `self-signed`, or the files CERTIFICATE,KEY,CA."

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Mapping[str, str] | str:
        if value == "self-signed":
            return "self-signed"
        files = str(value).split(",")
        if len(files) != 3:
            self.fail(f"{value!r} is neither `self-signed` nor three files: CERTIFICATE,KEY,CA", param, ctx)
        return dict(zip(("certificate", "key", "ca"), (str(Path(file).absolute()) for file in files), strict=True))


class Expiry(click.ParamType[datetime]):
    """A day, whose end it is, or days from now; in UTC."""

    name = "90d|date"
    text = "Until when it counts: `90d`, or the end of a day in UTC, `2027-01-31`.  [default: without end]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        now, text = datetime.now(UTC), str(value)
        try:
            if text.endswith("d"):
                until = now + timedelta(days=int(text.removesuffix("d")))
            else:
                until = datetime.combine(date.fromisoformat(text), _LAST_SECOND, UTC)
        except (ValueError, OverflowError):
            self.fail(f"{text!r} is neither days nor a date: say 90d, or 2027-01-31", param, ctx)
        if until <= now:
            self.fail(f"{text!r} is over already", param, ctx)
        return until


profile_argument = click.argument("profile", type=ProfileName())
set_option = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change the profile: rpms.weak_deps=true."
)
jobs_option = click.option("--jobs", type=click.IntRange(1, 64), help="Transfers at once.")
signature_option = click.option(
    "--signature", type=click.Path(path_type=Path), help="BUNDLE's signature, where it does not lie beside it."
)
trust_option = click.option(
    "--trust",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A public key whose signature counts, beside those that this machine trusts; again for more.",
)
replace_option = click.option(
    "--replace",
    is_flag=True,
    help="Take what another release serves with different content, or another bundle of its version.",
)
bundle_argument = click.argument("bundle", type=click.Path(path_type=Path))
root_option = click.option(
    "--root", type=click.Path(path_type=Path), help="Folder of the whole site.  [default: /data]"
)
site_option = click.option(
    "--site", "site_file", type=click.Path(path_type=Path), help="The site's description, site.yaml."
)
