"""How the stores that all releases of a site share name what is in them: images in a registry, projects in an index.

The registry's grammar is that of the OCI distribution-spec 1.1 ("Pulling manifests"), the index's that of the core
metadata specification ("Name"). None of these names has a segment that leads anywhere else.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

# Unanchored; the models put ^ and $ around them.
_ALPHANUMERIC = "[a-z0-9]+"
_COMPONENT = rf"{_ALPHANUMERIC}(?:(?:[._]|__|-+){_ALPHANUMERIC})*"
REPOSITORY = rf"{_COMPONENT}(?:/{_COMPONENT})*"
TAG = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
DIGEST = "sha256:[0-9a-f]{64}"
PROJECT = "[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"

LONGEST_REPOSITORY = 255  # characters

Repository = Annotated[str, StringConstraints(pattern=f"^{REPOSITORY}$", max_length=LONGEST_REPOSITORY)]
Tag = Annotated[str, StringConstraints(pattern=f"^{TAG}$")]
Digest = Annotated[str, StringConstraints(pattern=f"^{DIGEST}$")]
ProjectName = Annotated[str, StringConstraints(pattern=f"^{PROJECT}$", max_length=255)]
