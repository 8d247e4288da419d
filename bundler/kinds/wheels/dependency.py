"""What a package may say that it needs: another one by its name, and never by the place it lies in."""

from __future__ import annotations

from packaging.requirements import InvalidRequirement, Requirement

_LENGTH = 4096  # characters; real ones have a few hundred


def dependency(text: str) -> Requirement:
    """`text` as a requirement (PEP 508). Raises ValueError when it is malformed, or names a URL, a path or a checkout.

    Whoever follows such a place runs what lies there: pip builds it.
    """
    shown = repr(text[:200])
    if len(text) > _LENGTH or not text.isprintable():
        raise ValueError(f"{shown} is not one line of at most {_LENGTH} characters")
    try:
        found = Requirement(text)
    except (InvalidRequirement, RecursionError):
        raise ValueError(f"{shown} is not a requirement such as 'ansible-core>=2.18'") from None
    if found.url is not None:
        raise ValueError(f"{shown} names a place to fetch from, where only a name and versions may stand")
    return found
