"""Programs that only note how they were called, for a machine that this one is not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_SCRIPT = """\
#!/bin/sh
printf '%s\\n' "${0##*/} $*" >>LOG
case "$*" in
ANSWERS
esac
exit 0
"""


@dataclass(frozen=True)
class Recorder:
    """A folder of such programs, to stand first on the PATH."""

    folder: Path

    @property
    def calls(self) -> list[str]:
        log = self.folder / "calls"
        return log.read_text().splitlines() if log.exists() else []

    def program(self, name: str, **answers: str) -> None:
        """Add one.

        `answers` are shell commands by what of the arguments they answer to, `_` standing for a blank or a dash; LOG in
        them is the file that `calls` are the lines of.
        """
        cases = "\n".join(f"*{word.replace('_', '?')}*) {command} ;;" for word, command in answers.items())
        path = self.folder / name
        path.write_text(_SCRIPT.replace("ANSWERS", cases or "*) ;;").replace("LOG", str(self.folder / "calls")))
        path.chmod(0o755)

    def changing(self, *words: str) -> list[str]:
        """The calls with one of `words` in them."""
        return [call for call in self.calls if any(word in call for word in words)]
