"""What an examination finds: one line for each thing that was looked at, and what to do where it is not well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """`said` is what was seen. `remedy` is what someone has to do about it; `mend` does it, where that is safe."""

    check: str
    state: Literal["ok", "warning", "failed"]
    said: str
    remedy: str = ""
    mend: Callable[[], object] | None = field(default=None, compare=False, repr=False)
