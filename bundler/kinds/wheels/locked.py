"""Requirements files with hashes: what a lock comes to, for anyone with pip alone."""

from __future__ import annotations

from collections.abc import Iterable


def requirements_item_name(python: str, arch: str | None) -> str:
    """`requirements-3.12.txt`; with the architecture where a bundle has several. No project is called so (PEP 508)."""
    return f"requirements-{python}-{arch}.txt" if arch else f"requirements-{python}.txt"


def requirements_text(pins: Iterable[tuple[str, str, str]]) -> str:
    """`pins` of (project, version, sha256) as `pip install --require-hashes -r` reads them."""
    return "".join(f"{project}=={version} --hash=sha256:{sha256}\n" for project, version, sha256 in sorted(pins))
