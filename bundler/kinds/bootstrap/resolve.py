"""bundler and what it needs to install and serve, as wheels for the admin host's Python; and install.sh."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bundler.errors import ProfileError
from bundler.kinds.bootstrap import own_wheel
from bundler.kinds.bootstrap.attributes import NeededAttributes, OwnAttributes, ScriptsAttributes
from bundler.kinds.bootstrap.spec import Spec
from bundler.kinds.wheels import resolve as wheels
from bundler.kinds.wheels.attributes import LockAttributes, WheelAttributes
from bundler.kinds.wheels.locked import requirements_text
from bundler.kinds.wheels.spec import Spec as WheelsSpec
from bundler.model.items import Item, Object
from bundler.model.target import Target
from bundler.templates import render

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream

_FOLDER = "bootstrap"
_PURL, _LICENCE = "pkg:generic/bundler@{}", "Apache-2.0"


def resolve(spec: Spec, targets: tuple[Target, ...], upstream: Upstream) -> tuple[Item, ...]:
    """An item for each wheel, and one for the scripts. Raises ProfileError, ResolveError, FetchError."""
    target = next((target for target in targets if str(target) == spec.target), None)
    if target is None:
        raise ProfileError(f"bootstrap: {spec.target} is none of the targets", hint="name one of them in full")
    upstream.witness.doubts()  # bundler's own files have a say
    wanted = WheelsSpec(python=(spec.python,), requirements=own_wheel.requirements("site"))
    resolved = wheels.resolve(wanted, (target,), upstream)
    ((_, lock),) = LockAttributes.among(resolved)
    ours = upstream.keep(f"{_FOLDER}/wheels/{own_wheel.file_name()}", own_wheel.build())
    items = [
        Item(
            "bootstrap",
            "bundler",
            own_wheel.version(),
            (ours,),
            OwnAttributes().as_json(),
            purl=_PURL.format(own_wheel.version()),
            licence=_LICENCE,
        ),
        *(_needed(item, wheel) for item, wheel in WheelAttributes.among(resolved)),
    ]
    return (*items, _scripts(target, lock, items, upstream))


def _needed(item: Item, wheel: WheelAttributes) -> Item:
    attributes = NeededAttributes(**wheel.model_dump()).as_json()
    return dataclasses.replace(item, kind="bootstrap", objects=tuple(map(_moved, item.objects)), attributes=attributes)


def _moved(obj: Object) -> Object:
    """A wheel in a folder of its own: the index has its own choice of versions."""
    return dataclasses.replace(obj, path=f"{_FOLDER}/{obj.path}")


def _scripts(target: Target, lock: LockAttributes, items: Iterable[Item], upstream: Upstream) -> Item:
    pins = [(item.name, item.version, item.objects[0].sha256) for item in items]
    values = {"distro": target.distro, "release": target.release, "arch": target.arch, "python": lock.python}
    objects = (
        upstream.keep(f"{_FOLDER}/install.sh", _script("install.sh.j2", values), mode=0o755),
        upstream.keep(f"{_FOLDER}/uninstall.sh", _script("uninstall.sh.j2", values), mode=0o755),
        upstream.keep(f"{_FOLDER}/requirements.txt", requirements_text(pins).encode()),
    )
    return Item("bootstrap", "scripts", own_wheel.version(), objects, ScriptsAttributes(**lock.model_dump()).as_json())


def _script(template: str, values: dict[str, str]) -> bytes:
    return render("bundler.kinds.bootstrap", template, **values).encode()
