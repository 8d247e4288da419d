"""The `images:` section."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from bundler.kinds.images.platform import Platform
from bundler.kinds.images.spec import Spec


def test_entries_are_names_or_mappings() -> None:
    spec = Spec.model_validate(
        [
            "nginx",
            {"ref": "quay.io/coreos/etcd:v3.5.26", "platforms": ["linux/amd64", "linux/arm64/v8"]},
            {"ref": "busybox", "platforms": "all"},
        ]
    )
    assert [str(image.ref) for image in spec.root] == [
        "docker.io/library/nginx:latest",
        "quay.io/coreos/etcd:v3.5.26",
        "docker.io/library/busybox:latest",
    ]
    assert spec.root[0].platforms is None
    assert spec.root[1].platforms == (Platform("linux", "amd64"), Platform("linux", "arm64"))
    assert spec.root[2].platforms == "all"


@pytest.mark.parametrize(
    ("entry", "place", "expected"),
    [
        ("Nginx", (0, "ref"), "is no repository path"),
        (7, (0,), "dictionary"),
        ({"ref": 7}, (0, "ref"), "expected an image reference"),
        ({}, (0, "ref"), "required"),
        ({"ref": "nginx", "platform": "all"}, (0, "platform"), "not permitted"),
        ({"ref": "nginx", "platforms": ["amd64"]}, (0, "platforms"), "expected os/architecture"),
        ({"ref": "nginx", "platforms": []}, (0, "platforms"), "at least 1"),
        ({"ref": "nginx", "platforms": "some"}, (0, "platforms"), "'all'"),
    ],
)
def test_a_wrong_entry_is_named_with_its_place(entry: object, place: tuple[object, ...], expected: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Spec.model_validate([entry])
    found = [error for error in refused.value.errors() if error["loc"][: len(place)] == place]
    assert any(expected in error["msg"] for error in found), refused.value


def test_a_spec_can_be_written_back() -> None:
    spec = Spec.model_validate(["nginx", {"ref": "busybox", "platforms": ["linux/arm/v6"]}])
    written = spec.model_dump(mode="json", exclude_none=True)
    assert written == [
        {"ref": "docker.io/library/nginx:latest"},
        {"ref": "docker.io/library/busybox:latest", "platforms": ["linux/arm/v6"]},
    ]
    assert Spec.model_validate(written) == spec


def test_the_schema_takes_both_forms() -> None:
    schema = Spec.model_json_schema()
    entry = schema["$defs"]["Image"]["anyOf"]
    assert [form["type"] for form in entry] == ["string", "object"]
    assert entry[1]["additionalProperties"] is False
