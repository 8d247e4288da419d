"""Where files were really fetched from, when that is not where their sources say: mirrors, and what they lead to.

The document lies beside the lock, for whoever approves a bundle. It is no part of the bundle, whose bytes are the same
wherever they came from.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable
from pathlib import Path

import requests

from bundler.model.items import Object
from bundler.model.json_text import to_bytes
from bundler.planted import replace
from bundler.transfer.redirects import without_secrets

logger = logging.getLogger(__name__)

FORMAT = 1
_LARGEST = 256 << 20  # bytes of a document that is read again
_PLACES = 8  # of one file, the last ones


class Places:
    """Notes each file's places while it is fetched. May be used from several threads."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, str, list[str]]] = {}
        self._guard = threading.Lock()

    def note(self, obj: Object, source: str, place: str) -> None:
        """Bytes of `obj`, which are to be had at the URL `source`, came from `place`."""
        if place in (source := without_secrets(source), without_secrets(_as_asked(source))):
            return
        with self._guard:
            known = self._found.get(obj.path)
            places = known[2] if known and known[0] == obj.sha256 else []
            if place not in places:
                self._found[obj.path] = (obj.sha256, source, [*places, place][-_PLACES:])

    def write(self, file: Path, objects: Iterable[Object]) -> None:
        """Write what was noted of `objects`; of what was not fetched now, what the file said of the same bytes stays.

        Nothing is written, and an older file goes, where all came from where it was to come from.
        """
        with self._guard:
            known = {**_read(file), **self._found}
        entries = [
            {"path": obj.path, "sha256": obj.sha256, "source": source, "places": places}
            for obj in sorted(objects, key=lambda obj: obj.path)
            for sha256, source, places in [known.get(obj.path, ("", "", []))]
            if sha256 == obj.sha256
        ]
        try:
            if entries:
                replace(file, to_bytes({"format": FORMAT, "fetched": entries}))
            else:
                file.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("cannot note in %s where files came from: %s", file, error.strerror)


def _as_asked(url: str) -> str:
    """A URL as requests asks for it: hosts in lower case, nothing quoted that need not be."""
    return str(requests.Request("GET", url).prepare().url)


def _read(file: Path) -> dict[str, tuple[str, str, list[str]]]:
    """What an earlier run noted; nothing where it cannot be read."""
    try:
        if file.stat().st_size > _LARGEST:
            return {}
        entries = json.loads(file.read_bytes())["fetched"]
        return {
            str(each["path"]): (str(each["sha256"]), str(each["source"]), [str(place) for place in each["places"]])
            for each in entries
        }
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
