"""What pip and its index say becomes a lock only in the form that it should have."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from bundler.errors import FetchError, ResolveError
from bundler.kinds.wheels.chosen import Pin, read_choices, read_heard, read_pins
from tests.kinds.wheels.conftest import Resolver
from tests.kinds.wheels.indexes import LocalIndex, make_wheel, wheel_files
from tests.kinds.wheels.test_hostile_index import JSON, page, sends

INDEX = "https://pypi.example.org/simple"
NAME = "a-1.0-py3-none-any.whl"
FILES = wheel_files("a", "1.0", "py3-none-any")
METADATA = FILES["a-1.0.dist-info/METADATA"].encode()
DIGEST = hashlib.sha256(make_wheel(FILES)).hexdigest()
CHOICE = {
    "url": f"https://files.example.org/{NAME}",
    "file_name": NAME,
    "sha256": DIGEST,
    "size": 1000,
    "name": "a",
    "version": "1.0",
    "metadata": {"name": "a", "version": "1.0"},
}


def read(folder: Path, entry: object) -> object:
    file = folder / "choices.json"
    file.write_text(json.dumps([entry]))
    return read_choices(file, INDEX)


def test_a_choice_is_read(tmp_path: Path) -> None:
    read(tmp_path, CHOICE)
    read(tmp_path, CHOICE | {"sha256": None, "size": None})
    local = "a-1.0+cu12-py3-none-any.whl"
    read(
        tmp_path,
        CHOICE | {"url": "https://e.org/a-1.0%2Bcu12-py3-none-any.whl?t=1", "file_name": local, "version": "1.0+cu12"},
    )
    read(tmp_path, CHOICE | {"url": "https://e.org/archive/v1.tar.gz", "file_name": "v1.tar.gz"})


WRONG: dict[str, tuple[object, ...]] = {
    "sha256": ("", "/proc/self/cwd/.bashrc.d", "../" + "0" * 61, "A" * 64, f"{'0' * 64}\n", "0" * 65, ["x"], 0),
    "size": (True, 0, -1, 10**30, 2**62, "1", 1.0),
    "name": ("", "../a", "a b", None),
    "version": ("", "../1", "one", None),
    "metadata": ([], None),
    "more": (1,),
}
ENDS = ("", f"{NAME}/", f"{NAME}%2F", f"x/..%2F{NAME}?#", f"{NAME}/..", "b.whl")
HEADS = (
    *("ftp://e.org", "e.org", "//e.org", "https://", "https://u:p@e.org", "http://[x", "http://e.org:99999"),
    *("https://e.org/ ", "file://h", "file:x"),
)
NAMES = ("", ".", "..", "a.exe", "a.whl", "-a-1.0.tar.gz", "b-1.0-py3-none-any.whl", "a-2.0-py3-none-any.whl")


@pytest.mark.parametrize(
    "wrong",
    [
        *({key: value} for key, values in WRONG.items() for value in values),
        *({"url": f"https://e.org/{end}"} for end in ENDS),
        *({"url": f"{head}/{NAME}"} for head in HEADS),
        *({"file_name": name, "url": f"https://e.org/{name}"} for name in NAMES),
    ],
    ids=str,
)
def test_a_choice_that_has_not_its_form(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(FetchError) as caught:
        read(tmp_path, CHOICE | wrong)
    assert INDEX in caught.value.message


@pytest.mark.parametrize("text", ["", "[", "{}", "null", "[7]", "[" * 100_000, "[1" + "0" * 10_000 + "]"])
def test_choices_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "choices.json").write_text(text)
    with pytest.raises(FetchError, match=INDEX):
        read_choices(tmp_path / "choices.json", INDEX)


@pytest.mark.parametrize("heard", [{}, {"pages": {"x": "y"}, "doubt": False}, {"pages": {}, "doubt": 1}])
def test_pages_that_are_none(tmp_path: Path, heard: object) -> None:
    (tmp_path / "heard.json").write_text(json.dumps(heard))
    with pytest.raises(FetchError, match=INDEX):
        read_heard(tmp_path / "heard.json", INDEX)


def test_a_lock_is_read() -> None:
    first, second, third = "a" * 64, "b" * 64, "c" * 64
    lock = f"# comment\nSix==1.17.0 \\\n    --hash=sha256:{first} \\\n    --hash=sha256:{second}\n"
    lock += f"x @ https://e.org/x.whl \\\n    --hash=sha256:{third}\n"
    assert read_pins(lock, INDEX) == [
        Pin(project="six", sha256=frozenset({first, second})),
        Pin(project="x", sha256=frozenset({third})),
    ]


def test_a_pin_without_a_hash_is_refused() -> None:
    with pytest.raises(ResolveError, match="x @ file:///x has no digest"):
        read_pins("x @ file:///x\n", INDEX)


@pytest.mark.parametrize(
    "line", ["six==1 --hash=sha256:aa", f"six=1 --hash=sha256:{'0' * 64}", f"six==1 --hash=md5:{'0' * 64}"]
)
def test_a_pin_that_has_not_its_form(line: str) -> None:
    with pytest.raises(FetchError, match="six"):
        read_pins(line, INDEX)


@pytest.mark.parametrize("sdist", ["refuse", "build"])
@pytest.mark.parametrize("url", ["/files/{}/", "/files/{}%2F", "/files/{}//"])
@pytest.mark.parametrize("sha256", [DIGEST, "/proc/self/cwd/.bashrc.d", "../../evil"])
def test_an_index_whose_wheel_is_no_wheel_for_bundler(
    index: LocalIndex,
    resolved: Resolver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sha256: str,
    url: str,
    sdist: str,
) -> None:
    """pip strips the slash, sees a wheel whose metadata is vouched for, and never looks at its bytes."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    index.add_sdist("a", "1.0", backend=f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    payload = (index.folder / "files" / "a-1.0.tar.gz").read_bytes()
    entry: dict[str, object] = {
        "filename": NAME,
        "url": url.format(NAME),
        "hashes": {"sha256": sha256},
        "core-metadata": {"sha256": hashlib.sha256(METADATA).hexdigest()},
    }
    index.answers["/simple/a/"] = sends(JSON, page(entry))
    index.answers[url.format(NAME)] = sends("application/zip", payload)
    index.answers[f"{url.format(NAME)}.metadata"] = sends("text/plain", METADATA)
    with pytest.raises(FetchError) as caught:
        resolved(python=["3.11"], requirements=["a"], sdist=sdist, index_url=index.url)
    assert index.url in caught.value.message
    assert list(folder.iterdir()) == []
    assert not (tmp_path / "ran").exists()


STATED: tuple[dict[str, object], ...] = (
    {"size": True},
    {"size": 10**30},
    {"hashes": {"sha256": ["x"]}},
    {"hashes": {"sha256": DIGEST.upper()}},
    {"core-metadata": {"sha256": 7}},
)


@pytest.mark.parametrize("stated", STATED, ids=str)
def test_what_an_index_states_wrongly_is_its_fault(
    index: LocalIndex, resolved: Resolver, stated: dict[str, object]
) -> None:
    index.add_wheel("a", "1.0")
    entry: dict[str, object] = {"filename": NAME, "url": f"/files/{NAME}", "hashes": {"sha256": DIGEST}}
    index.answers["/simple/a/"] = sends(JSON, page({**entry, **stated}))
    with pytest.raises(FetchError, match=index.url.removesuffix("/simple")):
        resolved(python=["3.11"], requirements=["a"], index_url=index.url)
