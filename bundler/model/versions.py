"""Which of two versions of a bundle is the older one."""

from __future__ import annotations

import re

from packaging.version import InvalidVersion, Version

_PARTS = re.compile(r"[0-9]+|[A-Za-z]+")


def is_older(one: str, other: str) -> bool:
    """Whether `one` comes before `other`: by PEP 440 where both are such versions, else in natural order.

    In natural order numbers count as numbers and come after words, and the signs between them do not count: `r9` comes
    before `r10`, `spring-beta` before `spring-1`. Of two that begin alike the shorter comes first.
    """
    try:
        return Version(one) < Version(other)
    except InvalidVersion:
        return _natural(one) < _natural(other)


def _natural(version: str) -> list[tuple[bool, int, str]]:
    return [
        (part.isdigit(), int(part) if part.isdigit() else 0, part if not part.isdigit() else "")
        for part in _PARTS.findall(version)
    ]
