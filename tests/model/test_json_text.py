"""Documents are, byte for byte, what Python's own encoder writes."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from bundler.model import json_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_as_json_has_it(document: dict[str, object]) -> None:
    assert json_text.to_bytes(document) == json.dumps(document, indent=1).encode() + b"\n"


@given(st.lists(VALUES, max_size=4))
def test_a_list_may_come_as_an_iterator(entries: list[object]) -> None:
    plain = {"head": 1, "entries": entries, "more": {"entries": entries}}
    lazy = {"head": 1, "entries": iter(entries), "more": {"entries": (each for each in entries)}}
    assert json_text.to_bytes(lazy) == json_text.to_bytes(plain)
