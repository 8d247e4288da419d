"""A release's checks, run on a node from Python: the table of check.sh, and the same as data."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import requests

from bundler.errors import SiteError
from bundler.model.node_files import NodeCheck
from bundler.model.site import ca_on_nodes
from bundler.site.node_setup import CHECKS

_TIMEOUT = 20.0  # seconds
_LIMIT = 1 << 20
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class Result:
    """How a check ended: `skipped` where the node has not the program; `said` is what the command printed."""

    title: str
    state: Literal["ok", "failed", "skipped"]
    said: str


def read_checks(url: str, ca: Path | None) -> list[NodeCheck]:
    """The checks of the release served at `url`, `http://ADDRESS/NAME`.

    Over https the site is trusted by the file `ca`, by the one that setup.sh put here, or as any server. Raises
    SiteError.
    """
    place = f"{url.rstrip('/')}/nodes/{CHECKS}"
    placed = Path(ca_on_nodes(url.rstrip("/").rpartition("/")[2]))
    trusted = ca or (placed if placed.is_file() else None)
    hint = "give the release's address as `bundler status` shows it; a site with a log-in takes the one in ~/.netrc"
    try:
        with requests.get(place, timeout=_TIMEOUT, stream=True, verify=str(trusted) if trusted else True) as answer:
            answer.raise_for_status()
            text = next(answer.iter_content(_LIMIT), b"")
        document: Any = json.loads(text)
        return [NodeCheck(**entry) for entry in document]
    except (requests.RequestException, OSError, ValueError, TypeError) as error:
        raise SiteError(f"cannot read the checks at {place}: {error}", hint=hint) from None


def run(checks: list[NodeCheck]) -> Iterator[Result]:
    """Each check's result, as it ends."""
    for check in checks:
        if shutil.which(check.needs) is None and shutil.which(check.needs, path=_SBIN) is None:
            yield Result(check.title, "skipped", f"no {check.needs} here")
            continue
        done = subprocess.run(
            ["sh", "-c", check.command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        yield Result(check.title, "failed" if done.returncode else "ok", done.stdout.strip())
