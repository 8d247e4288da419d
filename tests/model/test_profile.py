from __future__ import annotations

from bundler.model.items import Json
from bundler.model.profile import joined


def test_sections_are_joined_as_if_one_author_had_written_both() -> None:
    own: dict[str, Json] = {
        "rpms": {"repos": [{"id": "baseos"}], "weak_deps": True},
        "files": ["a", "b"],
    }
    more: dict[str, Json] = {
        "rpms": {"packages": ["socat"], "weak_deps": False},
        "files": ["b", "c"],
        "images": ["nginx"],
    }
    assert joined(own, more) == {
        "rpms": {"repos": [{"id": "baseos"}], "weak_deps": True, "packages": ["socat"]},
        "files": ["a", "b", "c"],
        "images": ["nginx"],
    }
    assert own["files"] == ["a", "b"]
