"""What the closed side reads: items, images and statements that hold together, with something wrong in them."""

from __future__ import annotations

import base64
import hashlib
import json
import platform
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from bundler.bundle.content import Content
from bundler.bundle.documents import README, SBOM, describe, sbom
from bundler.bundle.keys import Trust, new_key, read_public
from bundler.bundle.layout import layout
from bundler.bundle.manifest import Manifest
from bundler.bundle.programs import programs
from bundler.bundle.reader import Bundle
from bundler.bundle.signature import sign, standing, vouched
from bundler.bundle.statement import PAYLOAD_TYPE, Statement
from bundler.errors import BundlerError
from bundler.install import emit
from bundler.kinds import KINDS
from bundler.model.items import Item, Json, Made, Object
from bundler.model.lock import Lock
from bundler.model.site import Served, SiteConfig
from bundler.model.target import OCI_ARCHITECTURES
from bundler.proof import prove
from bundler.report import write_report
from bundler.sections import items_by_section
from bundler.site.services.registry_image import registry_image
from bundler.site.site import Site
from scripts.fuzz.mutation import Choices, mutated

# On the memory's own file system: a file for each input.
_FOLDER = Path(tempfile.mkdtemp(prefix="bundler-fuzz-", dir="/dev/shm"))

_SERVED = Served(SiteConfig(address="192.168.10.10"), "demo", "1.0")
_STORE = SimpleNamespace(stage=print, stage_blob=print, stage_manifest=print)
_SITE = cast("Site", SimpleNamespace(web=_STORE, registry=_STORE, index=_STORE))
_SEEDS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("items.json").read_bytes())


class _Known(Content):
    """Objects whose bytes are what the seed or the fuzzer says."""

    def __init__(self, content: dict[str, bytes]) -> None:
        self._content = content

    def stream(self, obj: Object) -> Iterator[bytes]:
        """See `Content.stream`."""
        yield self._content.get(obj.path, b"")


def load(data: bytes) -> Manifest:
    """What install does with manifest.json, as far as that alone decides."""
    manifest = Manifest.from_bytes(data)
    layout(manifest)
    by_section = items_by_section(manifest.items, "fuzz")
    for kind in KINDS:
        for step in kind.load(by_section[kind.name], _SITE):
            assert ".." not in step.obj.path.split("/")
    for file in emit(manifest.items, _SERVED).files:
        assert ".." not in file.path.split("/")
    return manifest


def read_items(data: bytes) -> None:
    """What install and verify --closure do with items."""
    choices = Choices(data)
    items, content = _items(mutated(_SEEDS, choices), choices)
    prove(load(replace(_MANIFEST, items=items).data), _Known(content), "fuzz")


def _items(documents: Any, choices: Choices) -> tuple[tuple[Item, ...], dict[str, bytes]]:
    """The items that `documents` describe, and the bytes of their objects by path."""
    items: list[Item] = []
    content: dict[str, bytes] = {}
    for entry in documents if isinstance(documents, list) else []:
        if not isinstance(entry, dict):
            continue
        paths = entry.get("objects", [])
        parts = []
        for path in paths if isinstance(paths, list) else []:
            data = content.setdefault(str(path), choices.rest(64) if choices.left else b"{}")
            parts.append(
                Object(str(path), len(data), _digest_in(str(path)) or hashlib.sha256(data).hexdigest(), Made())
            )
        attributes = entry.get("attributes", {})
        kind, name, version = (str(entry.get(key, "x")) for key in ("kind", "name", "version"))
        items.append(Item(kind, name, version, tuple(parts), attributes if isinstance(attributes, dict) else {}))
    return tuple(items), content


def _digest_in(path: str) -> str | None:
    """The digest that a blob's path promises, where it is one."""
    name = path.rpartition("/")[2]
    return name if len(name) == 64 and set(name) <= set("0123456789abcdef") else None


def read_registry_image(data: bytes) -> None:
    """An index, a manifest and a config with something wrong in them, and what is found of the registry's program."""
    choices = Choices(data)
    documents = mutated(_IMAGE, choices)
    if not isinstance(documents, dict):
        return
    content: dict[str, bytes] = {}
    digests: dict[str, str] = {}
    for name in ("layer", "config", "manifest", "index"):  # each is named by the next
        document = _with_digests(documents.get(name), digests)
        raw = choices.rest(200) if choices.below(16) == 1 else json.dumps(document).encode()
        digests[name] = hashlib.sha256(raw).hexdigest()
        content[f"images/blobs/sha256/{digests[name]}"] = raw
    objects = [Object(path, len(raw), path[-64:], Made()) for path, raw in content.items()]
    attributes: dict[str, Json] = {"role": "registry", "digest": f"sha256:{digests['index']}"}
    registry_image([Item("images", "registry", "3", tuple(objects), attributes)], _Known(content))


def _with_digests(document: Any, digests: dict[str, str]) -> Any:
    """`document` with the digest in place of each `@name`."""
    text = json.dumps(document)
    for name, digest in digests.items():
        text = text.replace(f'"@{name}"', f'"sha256:{digest}"')
    return json.loads(text)


_PLATFORM = {"os": "linux", "architecture": OCI_ARCHITECTURES.get(platform.machine(), platform.machine())}
_IMAGE: dict[str, Any] = {
    "layer": "",
    "config": {**_PLATFORM, "config": {"Entrypoint": ["/entrypoint.sh"], "Cmd": ["/etc/distribution/config.yml"]}},
    "manifest": {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"digest": "@config", "size": 122},
        "layers": [{"digest": "@layer", "size": 2}],
    },
    "index": {"schemaVersion": 2, "manifests": [{"digest": "@manifest", "size": 309, "platform": _PLATFORM}]},
}


def read_statement(data: bytes) -> None:
    """What was signed, with something wrong in it; and the envelope around it, as a file."""
    choices = Choices(data)
    payload = json.dumps(mutated(_STATEMENT, choices), sort_keys=True, separators=(",", ":")).encode()
    with suppress(BundlerError):
        Statement.from_bytes(payload, PAYLOAD_TYPE, "fuzz").check(_MANIFEST, "fuzz")
    envelope = {**_ENVELOPE, "payload": base64.b64encode(payload).decode()} if choices.below(2) else _ENVELOPE
    envelope = mutated(envelope, choices) if choices.below(2) else envelope
    (_FOLDER / "signed.tar.sig.json").write_text(json.dumps(envelope, indent=1) + "\n")
    standing(_FOLDER / "signed.tar", _MANIFEST, _TRUST)
    vouched(_FOLDER / "signed.tar", _TRUST)


_MANIFEST, _ = describe(Lock("demo", "1.0", "0" * 64, ()))
_STATEMENT: dict[str, Any] = json.loads(Statement.of(_MANIFEST, datetime(2099, 1, 1, tzinfo=UTC)).data)


def _signed() -> tuple[dict[str, Any], Trust]:
    """An envelope that a key has signed, and the trust in that key."""
    new_key(_FOLDER / "fuzz.key")
    signed = sign(_FOLDER / "signed.tar", _MANIFEST, _FOLDER / "fuzz.key")
    public = read_public(_FOLDER / "fuzz.key.pub")
    envelope: dict[str, Any] = json.loads(signed.file.read_bytes())
    return envelope, Trust((public,))


_ENVELOPE, _TRUST = _signed()


def show_items(data: bytes) -> None:
    """What an approver is shown of a bundle, whose head is all that is there: the page, and the programs."""
    choices = Choices(data)
    items, _ = _items(mutated(_SEEDS, choices), choices)
    target = _FOLDER / "shown.tar"
    try:
        manifest = replace(_MANIFEST, items=items)
        written = {SBOM: sbom(manifest), README: b"read me\n"}
        objects = [Object(path, len(each), hashlib.sha256(each).hexdigest(), Made()) for path, each in written.items()]
        shape = layout(manifest := replace(manifest, documents=tuple(objects)))
    except ValueError:
        return  # no manifest could say that
    with target.open("wb") as file:
        file.truncate(shape.size)
        for path, content in (*shape.head.items(), *written.items()):
            member = shape.members[path]
            file.seek(member.start)
            file.write(shape.header(member) + content)
    with Bundle(target) as bundle:
        write_report(bundle, _FOLDER / "report", standing=standing(target, bundle.manifest, _TRUST), since=manifest)
        for program in programs(bundle.manifest.items):
            assert program.role.isprintable()
