"""The command line: arguments in, printing out. Nothing else in the package prints.

Every command answers with an `Answer`: lines for people, or the one JSON document of `--json`. Steps, progress,
warnings and errors go to stderr.
"""

from __future__ import annotations

import os
import sys
import traceback

import click
from click.shell_completion import get_completion_class

from bundler import __version__
from bundler.cli import bundles, connected, contents, doctor, site
from bundler.cli.terminal import say


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def cli() -> None:
    """Carry RPMs, container images, Python wheels and files across an air gap in one verified tarball.

    On a connected machine: plan, lock, build. Anywhere: verify, inspect, diff, sign, split, join. On the closed side:
    install, status, rollback, prune, receipt, services, nodes, check-node, uninstall. Both: doctor.
    """


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL: eval "$(bundler completion bash)"."""
    found = get_completion_class(shell)
    assert found is not None, "click knows each of the choices"
    say(*found(cli, {}, "bundler", "_BUNDLER_COMPLETE").source().split("\n"))


# A command is a function of one of these modules; here it gets its place.
for _command in (
    *(connected.plan, connected.lock, connected.build, connected.profiles),
    *(bundles.verify, contents.inspect, contents.diff, bundles.sign, bundles.key, bundles.split, bundles.join),
    *(
        site.install,
        site.status,
        site.releases,
        site.rollback,
        site.prune,
        site.receipt,
        site.services,
        site.nodes,
        site.check_node,
        site.uninstall,
    ),
    doctor.doctor,
):
    cli.add_command(_command)


def main() -> None:
    """The console script."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.ClickException as error:
        say(*_usage(error), err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        say("interrupted: run it again to go on from here", err=True)
        # At once: a thread that waits for an upstream would hold the end up until that answers, or for a minute.
        os._exit(130)
    except BrokenPipeError:
        # Whoever read our answer has enough; Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception:  # a bug; its message may have lines that others wrote, and none passes for one of bundler's
        say(*(f"| {line}" for line in traceback.format_exc().splitlines()), err=True)
        sys.exit(1)


def _usage(error: click.ClickException) -> list[str]:
    """What `error` would show, where what was typed, a file's name for one, makes no line of its own."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context and isinstance(error, click.exceptions.NoArgsIsHelpError):
        return context.get_help().split("\n")
    shown = [f"Error: {' '.join(error.format_message().split())}"]
    if context:
        shown = [*context.get_usage().split("\n"), f"Try '{context.command_path} --help' for help.", "", *shown]
    return shown
