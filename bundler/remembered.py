"""Resolutions that need not be done again: upstream is asked the same small questions, and answers the same.

What a kind resolved to is kept in the user's notes, with the questions that it came from and their answers. Whether
that still holds costs a request for each of them, where resolving may take minutes. The rest of what was read had to be
of digests that these answers name, and cannot have become something else.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bundler import __version__
from bundler.errors import BundlerError
from bundler.kinds import KINDS
from bundler.model.items import Item, Json
from bundler.model.lock import Lock
from bundler.model.target import Target
from bundler.transfer.notes import Notes
from bundler.transfer.upstream import Upstream
from bundler.transfer.witness import Question, answer_of

logger = logging.getLogger(__name__)

# Programs and libraries that have a say in what comes out, beside bundler.
_DECIDE = ("createrepo-c", "packaging", "pip", "pip-tools", "solv")
# Where pip's own configuration may name an index (https://pip.pypa.io/en/stable/topics/configuration/#location).
_PIP_CONF = ("/etc/xdg/pip/pip.conf", "/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")
_LIMIT = 64 << 20  # bytes of an answer
_ASKED_AT_ONCE = 2  # for each transfer

Resolve = Callable[[BaseModel, tuple[Target, ...], Upstream], tuple[Item, ...]]


def resolved(
    kind: str, resolve: Resolve, spec: BaseModel, targets: tuple[Target, ...], upstream: Upstream
) -> tuple[Item, ...]:
    """What `resolve` makes of `spec`, or what it made the last time, where that must come out again."""
    key = _key(kind, spec, targets, upstream)
    known = upstream.notes.recall(_name(kind))
    if known is not None and (found := _again(known, key, upstream)) is not None:
        logger.info("%s: upstream has not changed: taken as resolved before", kind)
        return found
    attended = upstream.attended()
    items = resolve(spec, targets, attended)
    witness = attended.witness
    if not witness.doubt:
        facts: dict[str, Json] = {
            "key": key,
            "answers": [[each.location, each.accept, answer] for each, answer in witness.answers.items()],
            "kept": list(witness.kept),
        }
        lock = Lock(kind, "1", key, items)
        upstream.notes.remember(_name(kind), json.dumps(facts).encode() + b"\n" + lock.to_bytes())
    return items


def forget(notes: Notes) -> None:
    """Resolve everything anew the next time: what a resolution named turned out not to be there."""
    for kind in KINDS:
        notes.forget(_name(kind.name))


def _again(known: bytes, key: str, upstream: Upstream) -> tuple[Item, ...] | None:
    """The items that `known` has, if all that they came from is still so."""
    head, _, lock = known.partition(b"\n")
    try:
        facts: dict[str, Any] = json.loads(head)
        if facts["key"] != key or not all(upstream.store.has(sha256) for sha256 in facts["kept"]):
            return None
        answers = {Question(location, accept): answer for location, accept, answer in facts["answers"]}
        items = Lock.from_bytes(lock).items
    except (ValueError, KeyError, TypeError, BundlerError):
        return None  # of another make

    def same(question: Question) -> bool:
        return not upstream.stopped.is_set() and _answer(question, upstream) == answers[question]

    pool = ThreadPoolExecutor(_ASKED_AT_ONCE * upstream.config.jobs, thread_name_prefix="again")
    try:
        return items if all(pool.map(same, answers)) else None
    finally:
        pool.shutdown(cancel_futures=True)


def _answer(question: Question, upstream: Upstream) -> str | None:
    """What upstream says now; something that it never said where it does not say."""
    try:
        return answer_of(upstream.read(question.location, limit=_LIMIT, accept=question.accept))
    except BundlerError as error:
        return None if getattr(error, "absent", False) else f"({error.message})"


def _key(kind: str, spec: BaseModel, targets: tuple[Target, ...], upstream: Upstream) -> str:
    """A digest of all that has a say and is not upstream's."""
    versions = []
    for name in _DECIDE:
        try:
            versions.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            versions.append((name, ""))
    said = {
        "bundler": __version__,
        "python": sys.version,
        "versions": versions,
        "kind": kind,
        "spec": spec.model_dump(mode="json", by_alias=True),
        "targets": [target.model_dump(mode="json") for target in targets],
        "config": upstream.config.model_dump(mode="json"),
        "pip": _configuration_of_pip(),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _configuration_of_pip() -> list[object]:
    """It has a say where the profile names no index."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    named = [variables.get("PIP_CONFIG_FILE", ""), f"{os.environ.get('XDG_CONFIG_HOME', '')}/pip/pip.conf"]
    found: list[object] = [sorted(variables.items())]
    for place in (*_PIP_CONF, f"{sys.prefix}/pip.conf", *named):
        try:
            found.append(Path(place).expanduser().read_bytes().hex())
        except (OSError, RuntimeError):  # none, or no home
            found.append(None)
    return found


def _name(kind: str) -> str:
    return f"resolved-{kind}"
