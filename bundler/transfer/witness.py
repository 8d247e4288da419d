"""What a resolution heard from outside: the same answers to the same questions mean the same items."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Question:
    """A small file that was read whole: a URL, or a path relative to the profile; `accept` as HTTP has it."""

    location: str
    accept: str = ""


class Witness:
    """Hears what an `Upstream` is asked, and what it answers. May be used from several threads.

    `answers` are sha256s, None for a file that is not there. `kept` are the sha256s of what was made meanwhile. Bytes
    that had to be of a digest that an answer names are no answer of their own. Once in `doubt`, something else had a
    say, and the answers alone do not tell what would come out the next time.
    """

    def __init__(self) -> None:
        self.answers: dict[Question, str | None] = {}
        self.kept: set[str] = set()
        self.doubt = False
        self._guard = threading.Lock()

    def heard(self, question: Question, answer: str | None) -> None:
        with self._guard:
            # Two answers to one question: it changed meanwhile.
            self.doubt |= self.answers.setdefault(question, answer) != answer

    def made(self, sha256: str) -> None:
        with self._guard:
            self.kept.add(sha256)

    def doubts(self) -> None:
        self.doubt = True


def answer_of(data: bytes | None) -> str | None:
    """How a witness notes what was read."""
    return None if data is None else hashlib.sha256(data).hexdigest()
