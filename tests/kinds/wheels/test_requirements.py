from __future__ import annotations

import pytest

from bundler.errors import ProfileError
from bundler.kinds.wheels.requirements import gather


def read_from(files: dict[str, str]):  # type: ignore[no-untyped-def]
    return lambda location: files[location].encode()


def test_files_are_gathered_with_what_they_include() -> None:
    files = {
        "deps/all.txt": "# a comment\nansible==11.13.0  # pinned\n-r more.txt\n-c limits.txt\n--pre\n\n",
        "deps/more.txt": "cffi \\\n  >=1.17\n--requirement=https://example.org/far/away.txt\n",
        "deps/limits.txt": "six<2\n",
        "https://example.org/far/away.txt": "-rnear.txt\n",
        "https://example.org/far/near.txt": 'tomli; python_version < "3.11"\n',
    }
    inputs = gather(["deps/all.txt", "six"], ["urllib3<3"], read_from(files))
    assert inputs.requirements == [
        "ansible==11.13.0",
        "cffi   >=1.17",
        'tomli; python_version < "3.11"',
        "--pre",
        "six",
    ]
    assert inputs.constraints == ["six<2", "urllib3<3"]


PAGE = "https://example.org/far/r.txt"


@pytest.mark.parametrize(
    "line",
    [
        *("-r /etc/passwd", "-r ../passwd", "-c more.txt", "-r https://example.org:443/more.txt"),
        *("six==1 --hash=sha256:00", "a @ http://e.org/a-1-py3-none-any.whl", "https://e.org/a-1-py3-none-any.whl"),
    ],
)
def test_a_fetched_file_may_name_what_is_on_its_server(line: str) -> None:
    asked: list[str] = []

    def read(location: str) -> bytes:
        asked.append(location)
        return (line if location == PAGE else "six").encode()

    inputs = gather([PAGE], [], read)
    assert all(location.startswith(("https://example.org/", "https://example.org:443/")) for location in asked)
    assert set(inputs.named.values()) <= {PAGE}


@pytest.mark.parametrize(
    "line",
    [
        *("-r file:///etc/passwd", "-c file:/etc/passwd", "-r //localhost/x", "-r http://example.org/far/x.txt"),
        *("-r https://127.0.0.1/role", "-r https://example.org:8443/x", "-r https://example.org@evil.org/x"),
        *("-r https://[x", "--requirement=FILE:///etc/passwd", "-r ftp://example.org/x"),
        *("a @ file:///srv/a-1-py3-none-any.whl", "a @ file://localhost/srv/a-1-py3-none-any.whl", "/srv/a.whl"),
        *("a @ FILE:///srv/a-1-py3-none-any.whl", "./a-1-py3-none-any.whl", "file:///srv/a-1-py3-none-any.whl"),
    ],
)
def test_a_fetched_file_may_not_lead_elsewhere(line: str) -> None:
    files = {PAGE: f"six\n{line}\n"}
    for first in (PAGE, "local.txt"):
        with pytest.raises(ProfileError, match=r"https://example\.org/far/r\.txt:2: "):
            gather([first], [], read_from({**files, "local.txt": f"-r {PAGE}\n"}))


def test_who_named_a_url_is_known() -> None:
    own, other = "http://e.org/a-1-py3-none-any.whl", "http://e.org/b-1-py3-none-any.whl"
    files = {PAGE: f"a @ {own}\nb @ {other}#sha256=00\n"}
    expected = {own: own, other: PAGE}
    assert gather([own, PAGE], [], read_from(files)).named == expected
    assert gather([PAGE], [f"a @ {own}"], read_from(files)).named == expected


def test_hashes_of_a_locked_file_stay() -> None:
    line = "six==1.17.0 --hash=sha256:" + "0" * 64
    assert gather(["lock.txt"], [], read_from({"lock.txt": f"--require-hashes\n{line}\n"})).requirements == [line]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "six\n--extra-index-url https://example.org\n",
            r"r\.txt:2: --extra-index-url https://example\.org is not taken",
        ),
        ("-e git+https://example.org/x\n", r"r\.txt:1: .*build a wheel"),
        ("six = 1\n", r"r\.txt:1: 'six = 1' is neither"),
        ("-r r.txt\n", "includes itself"),
        ("--find-links /tmp\nsix\n", r"r\.txt:1: --find-links /tmp is not taken"),
        ("--pre --find-links /tmp\n", r"r\.txt:1: --pre --find-links /tmp is not taken"),
        (
            "--only-binary=:all: --index-url=http://e.org\n",
            r"r\.txt:1: --only-binary=:all: --index-url=http://e.org is not taken",
        ),
        ("--prefer-binary-and-more\n", r"r\.txt:1: --prefer-binary-and-more is not taken"),
        ("six --config-settings=a=b\n", r"r\.txt:1: --config-settings=a=b is not taken"),
        ("six --hash=sha256:00 --global-option=x\n", r"--global-option=x is not taken"),
        ("a @ https://e.org/${HOME}/a-1-py3-none-any.whl\n", "variables of the environment are not filled in"),
        ("a @ file:///srv/a.tar.gz\n", "places to take a package from"),
    ],
)
def test_a_line_that_cannot_be_locked_is_named(text: str, expected: str) -> None:
    with pytest.raises(ProfileError, match=expected):
        gather(["r.txt"], [], read_from({"r.txt": text}))
