"""The admin host's needs in the words of the kinds: RPMs to begin with, and bundler itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundler.errors import ProfileError
from bundler.model.items import Item, Json
from bundler.model.target import Target
from bundler.recipes.admin.spec import Spec
from bundler.recipes.base import Expansion

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream

# Distributions whose packages are not RPMs: what serving takes is there before bundler comes.
_WITHOUT_RPMS = ("debian", "ubuntu")


def expand(spec: Spec, targets: tuple[Target, ...], upstream: Upstream) -> Expansion:
    """Sections `bootstrap` and `rpms`. Raises ProfileError when the admin host is none of `targets`, or several."""
    del upstream
    found = [target for target in targets if target.matches((spec.target,))]
    if len(found) != 1:
        raise ProfileError(
            f"admin: {spec.target} is {len(found) or 'none'} of the targets: {', '.join(map(str, targets)) or 'none'}",
            hint="say which one the admin host is, in full if need be: `target: rocky-9-x86_64`",
        )
    target = str(found[0])
    sections: dict[str, Json] = {"bootstrap": {"target": target, "python": spec.python}}
    if found[0].distro not in _WITHOUT_RPMS:
        names: list[Json] = [f"python{spec.python}", *spec.packages]
        sections["rpms"] = {"packages": [{"names": names, "for": [target], "bootstrap": True}]}
    attributes: dict[str, Json] = {"type": "admin", "target": target, "python": spec.python}
    return Expansion(sections, Item("admin", "admin", spec.python, (), attributes))
