"""Platforms of images: `os/architecture[/variant]`, and which of those on offer a machine runs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_WORD = re.compile(r"[a-z0-9_.]+")
_VARIANT = re.compile(r"v([0-9]+)")

# Other words for one architecture, and the variant that is meant where none is said: as containerd's platforms package.
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386"}
_VARIANTS = {"amd64": "v1", "arm64": "v8", "arm": "v7"}


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """An operating system and architecture in Go's words (OCI image-spec, "platform"), normalised by `of`."""

    os: str
    architecture: str
    variant: str = ""  # `v7`; empty where it is the architecture's usual one

    @classmethod
    def of(cls, os: str, architecture: str, variant: str = "") -> Platform:
        """Normalise: `aarch64` is arm64, `linux/arm64/v8` is `linux/arm64`."""
        os, architecture, variant = os.lower(), architecture.lower(), variant.lower()
        architecture = _ARCHITECTURES.get(architecture, architecture)
        return cls(os, architecture, "" if _VARIANTS.get(architecture) == variant else variant)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read `os/architecture[/variant]`; raises ValueError."""
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(_WORD.fullmatch(part) for part in parts):
            raise ValueError(f"{text!r} is no platform: expected os/architecture[/variant], such as linux/amd64")
        return cls.of(*parts)

    def best(self, offered: Iterable[Platform]) -> Platform | None:
        """The one of `offered` that suits a machine of this platform best; None where none runs on it.

        Same os and architecture; of variants the newest that is not newer than the machine (arm/v7 runs arm/v6,
        amd64/v3 runs amd64). Variants that are no numbers must be equal.
        """
        alike = [one for one in offered if (one.os, one.architecture) == (self.os, self.architecture)]
        if self in alike:
            return self
        mine = self._level()
        older = [one for one in alike if mine is not None and (level := one._level()) is not None and level < mine]
        return max(older, key=lambda one: one._level() or 0, default=None)

    def _level(self) -> int | None:
        found = _VARIANT.fullmatch(self.variant or _VARIANTS.get(self.architecture, ""))
        return int(found.group(1)) if found else None

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)
