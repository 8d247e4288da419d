"""What every command has: the common options, an Answer, errors as messages and exit codes."""

from __future__ import annotations

import errno
import functools
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundler.cli.show import Lines
from bundler.cli.terminal import say, say_json
from bundler.errors import BundlerError, ConfigError, SpaceError
from bundler.progress import Progress, Silent

if TYPE_CHECKING:
    from bundler.model.config import Config

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
    errno.EOPNOTSUPP,
    errno.EFBIG,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command says on stdout. It may end with another code than 0: what was asked for is not well.

    `document` is for `--json`: the thing itself, or what makes it. Each of `lines` is one where it is printed.
    """

    document: Any
    lines: Iterable[str] = ()
    exit_code: int = 0


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
        if not sys.stderr.isatty():
            return Lines()
        from bundler.cli.bars import Bars

        return Bars()


class _Handler(logging.Handler):
    """Log records on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        head = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        line = f"{head}{record.getMessage()}"
        if sys.stderr.isatty():
            from bundler.cli.bars import write

            write(line)
        else:
            say(line, err=True)


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
                say_json({"error": error.message, "hint": error.hint, "exit_code": error.exit_code})
            first, *more = error.lines
            say(f"error: {first}", *more, f"hint: {error.hint}", err=True)
            sys.exit(error.exit_code)
        if as_json:
            say_json(answer.document() if callable(answer.document) else answer.document)
        else:
            for line in answer.lines:
                say(line)
        if answer.exit_code:
            sys.exit(answer.exit_code)

    return run


@contextmanager
def _refusals() -> Iterator[None]:
    """What the file system refuses, or this installation goes without, is no bug of bundler's, wherever it shows."""
    try:
        yield
    except ModuleNotFoundError as error:
        absent = (error.name or "").partition(".")[0]
        if absent == "bundler":
            raise
        raise ConfigError(
            f"{absent} is not installed here: only a part of bundler is",
            hint="install bundler with what resolves and proves: pip install '.[build]', in its source",
        ) from error
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
