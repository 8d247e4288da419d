"""What earlier runs found, so that it need not be found again: beliefs, which nobody else may write.

They lie in the user's own cache and not beside the bundle: whoever may put files into an output folder could otherwise
say that a bundle was proved, or what a profile resolves to.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

_FOLDER = "bundler"


class Notes:
    """Contents by name, for one place such as a lock's; without a folder nothing is remembered."""

    def __init__(self, place: Path | None) -> None:
        self._folder = _folder() if place else None
        self._prefix = hashlib.sha256(os.fsencode(place.absolute())).hexdigest()[:32] if place else ""

    def remember(self, name: str, content: bytes) -> None:
        """Keep `content` under a name, in place of what was there."""
        if (file := self._file(name)) is None:
            return
        try:
            handle, fresh = tempfile.mkstemp(dir=file.parent, prefix=".new-")
            with os.fdopen(handle, "wb") as to:
                to.write(content)
            os.replace(fresh, file)
        except OSError as error:
            logger.info("cannot remember %s: %s", file, error.strerror)

    def recall(self, name: str) -> bytes | None:
        """What is kept under a name; None where nothing is."""
        if (file := self._file(name)) is None:
            return None
        try:
            with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as kept:
                return kept.read() if os.fstat(kept.fileno()).st_uid == os.geteuid() else None
        except OSError:
            return None

    def forget(self, name: str) -> None:
        """Keep nothing under a name."""
        if file := self._file(name):
            with suppress(OSError):
                file.unlink(missing_ok=True)

    def _file(self, name: str) -> Path | None:
        return self._folder and self._folder / f"{self._prefix}-{name}"


def _folder() -> Path | None:
    """The folder of this user, whom alone it lets in; None where there is no such folder."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        folder = (named if named.is_absolute() else Path.home() / ".cache") / _FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except (OSError, RuntimeError) as error:  # no home, or none that may be written to
        logger.info("nothing is remembered from run to run: %s", error)
        return None
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
        return folder
    logger.warning("%s is not a folder of yours alone (mode 0700): nothing is remembered from run to run", folder)
    return None
