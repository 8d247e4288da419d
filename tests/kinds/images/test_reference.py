"""Names of images: distribution/reference's grammar and docker's completion."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.kinds.images.reference import Reference

HEX = "0123456789abcdef" * 4
DIGEST_1 = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.28", "docker.io/library/nginx:1.28"),
        ("bitnami/nginx", "docker.io/bitnami/nginx:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/nginx:1", "docker.io/library/nginx:1"),
        ("quay.io/coreos/etcd:v3.5.26", "quay.io/coreos/etcd:v3.5.26"),
        ("localhost/a", "localhost/a:latest"),
        ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
        ("localhost:5000", "docker.io/library/localhost:5000"),
        ("127.0.0.1:5001/a:b", "127.0.0.1:5001/a:b"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        ("Registry/a", "Registry/a:latest"),
        (f"nginx@{DIGEST_1}", f"docker.io/library/nginx@{DIGEST_1}"),
        (f"nginx:1@{DIGEST_1}", f"docker.io/library/nginx:1@{DIGEST_1}"),
        ("a__b/c-d.e---f", "docker.io/a__b/c-d.e---f:latest"),
    ],
)
def test_short_names_are_completed_as_docker_does(short: str, full: str) -> None:
    assert str(Reference.parse(short)) == full
    assert Reference.parse(full) == Reference.parse(short)


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        ("", "repository path"),
        ("Nginx", "repository path"),
        ("docker.io/Library/nginx", "repository path"),
        ("nginx:", "tag"),
        ("nginx:1/2:", "tag"),
        ("nginx:-1", "tag"),
        ("nginx:" + "a" * 129, "tag"),
        ("nginx@", "digest"),
        ("nginx@sha256:abc", "digest"),
        (f"nginx@sha512:{HEX}{HEX}", "digest"),
        (f"nginx@{DIGEST_1.upper()}", "digest"),
        ("a//b", "repository path"),
        ("a/../b", "repository path"),
        ("/nginx", "repository path"),
        ("quay.io/", "repository path"),
        ("quay.io/a_-b", "repository path"),
        ("-quay.io/a", "registry host"),
        ("quay.io:port/a", "registry host"),
        ("https://quay.io/a", "registry host"),
        ("nginx\n", "repository path"),
        ("nginx 1", "repository path"),
        ("quay.io/" + "a" * 256, "255 characters"),
        (HEX, "id of an image"),
    ],
)
def test_a_wrong_name_is_told_what_was_expected(wrong: str, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        Reference.parse(wrong)


def words(pattern: str) -> st.SearchStrategy[str]:
    return st.from_regex(pattern, fullmatch=True)


hosts = st.builds(
    "{}.{}{}".format, words("[a-zA-Z0-9]{1,9}"), words("[a-z][a-z0-9-]{0,8}[a-z]"), words("(:[0-9]{1,5})?")
)
components = words(r"[a-z0-9]{1,5}((\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}")
references = st.builds(
    Reference,
    hosts,
    st.lists(components, min_size=2, max_size=4).map("/".join),
    words(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
    st.none() | words("sha256:[0-9a-f]{64}"),
)


@given(references)
def test_a_full_name_survives_being_written_and_read(reference: Reference) -> None:
    assert Reference.parse(str(reference)) == reference


@given(st.text(alphabet="aZ09._-:/@[]\n é", max_size=40))
def test_any_text_is_a_name_or_a_value_error(text: str) -> None:
    try:
        parsed = Reference.parse(text)
    except ValueError:
        return
    assert Reference.parse(str(parsed)) == parsed
    assert parsed.tag or parsed.digest
