"""What is not well with what a build needs: each upstream asked, and the remedy."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bundler.build import expand
from bundler.errors import BundlerError
from bundler.findings import Finding
from bundler.kinds import KINDS
from bundler.model.config import Config
from bundler.model.profile import Profile
from bundler.sizes import human
from bundler.transfer.store import Store
from bundler.transfer.upstream import Upstream

_LITTLE = 2 << 30  # bytes: with less in the temporary folder, resolving a distribution may fail


def examine_upstreams(profile: Profile, base: Path, config: Config, output: Path) -> Iterator[Finding]:
    """Whether what `profile` names can be asked, with the credentials at hand, and there is room to work."""
    yield from _rooms(output)
    # One attempt each: what answers at the third is not well either.
    config = config.model_copy(update={"retries": config.retries.model_copy(update={"attempts": 1})})
    with (
        tempfile.TemporaryDirectory(prefix="bundler-doctor-") as made,  # what recipes make on the way is not kept
        Upstream(config, base=base, store=Store(Path(made))) as upstream,
    ):
        try:
            plain, _ = expand(profile, upstream)
        except BundlerError as error:
            yield Finding("recipes", "failed", error.message, error.hint)
            return
        questions: list[tuple[str, Callable[[], object]]] = []
        for kind in KINDS:
            if kind.name in plain.sections:
                questions += kind.ask(plain.sections[kind.name], plain.targets, upstream)
        with ThreadPoolExecutor(config.jobs) as pool:
            yield from pool.map(_asked, questions)


def _asked(question: tuple[str, Callable[[], object]]) -> Finding:
    what, ask = question
    try:
        ask()
    except BundlerError as error:
        return Finding(what, "failed", error.message, error.hint)
    return Finding(what, "ok", "answers")


def _rooms(output: Path) -> Iterator[Finding]:
    for what, folder in (("output", output), ("temporary folder", Path(os.environ.get("TMPDIR", "/tmp")))):  # noqa: S108
        there: Sequence[Path] = [path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir()]
        found = os.statvfs(there[0])
        free = found.f_bavail * found.f_frsize
        said = f"{there[0]}: {human(free)} are free"
        if not os.access(there[0], os.W_OK):
            yield Finding(what, "failed", f"{there[0]} may not be written to", "name another folder")
        elif free < _LITTLE:
            yield Finding(what, "warning", said, "`bundler plan` says how much the bundle takes: make room")
        else:
            yield Finding(what, "ok", said)
