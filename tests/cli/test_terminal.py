"""What bundler prints of others' words: text, and nothing that a terminal obeys or shows in another order."""

from __future__ import annotations

import ast
import json
import os
import pty
import subprocess
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.bundle.documents import describe
from bundler.bundle.layout import layout
from bundler.bundle.manifest import Manifest
from bundler.cli.terminal import plain
from bundler.errors import BundleError
from bundler.model.items import Item
from bundler.model.lock import Lock
from tests.bundle.bundles import write_bundle, write_lock

PACKAGE = Path(__file__).parents[2] / "bundler"
FORGED = "demo.tar: intact, 9 objects"
EVIL = f"\x1b]0;owned\x07\x1b[2J\u202egnp.exe\u2066\u200f\x9b1m\r\x08\n{FORGED}\n"


def test_no_control_or_bidirectional_character_passes() -> None:
    for code in range(sys.maxunicode + 1):
        letter = chr(code)
        category = unicodedata.category(letter)
        reorders = unicodedata.bidirectional(letter) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        if letter == "\t":
            assert plain(letter) == letter
        elif category in ("Cc", "Cs", "Zl", "Zp") or reorders or letter in "\u200e\u200f\u061c\ufeff\u200b":
            assert plain(letter).startswith("\\"), hex(code)


@pytest.mark.parametrize("text", ["ansible 11.13.0", "Größe 1 MiB", "한국어", "a\tb", "\\x1b"])
def test_text_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


def test_only_one_module_writes_to_the_terminal() -> None:
    writers = set()
    for module in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("echo", "secho", "echo_via_pager"):
                writers.add(module.name)
            if isinstance(node, ast.Name) and node.id == "print":
                writers.add(module.name)
    assert writers == {"terminal.py"}


def _forged(path: Path, document: dict[str, object]) -> Path:
    """A file that begins as a bundle does, with `document` for its manifest."""
    data = json.dumps(document, indent=1).encode() + b"\n"
    lock = Lock("demo", "1.0", "0" * 64, ())
    manifest, _ = describe(lock)
    forged = replace(manifest)
    vars(forged)["data"] = data  # the cached property
    shape = layout(forged)
    with path.open("wb") as file:
        file.truncate(shape.size)
        for name, content in shape.head.items():
            member = shape.members[name]
            file.seek(member.start)
            file.write(shape.header(member) + content)
    return path


def _manifest() -> dict[str, object]:
    found: dict[str, object] = json.loads(describe(Lock("demo", "1.0", "0" * 64, ()))[0].data)
    return found


@pytest.mark.parametrize(
    "change",
    [
        {EVIL: 1},
        {"items": [{"kind": "files", "name": EVIL, "version": "1", "objects": []}]},
        {"items": [{"kind": "files", "name": "a", "version": "1", "objects": [], EVIL: EVIL}]},
        {"items": [{"kind": "files", "name": "a", "version": "1", "objects": [EVIL]}]},
        {"name": EVIL},
        {"objects": [{"path": EVIL, "size": 1, "sha256": EVIL, "source": EVIL}]},
    ],
)
def test_hostile_manifest_is_refused_in_plain_words(tmp_path: Path, change: dict[str, object]) -> None:
    bundle = _forged(tmp_path / "evil.tar", {**_manifest(), **change})
    for command in (["verify"], ["inspect"], ["inspect", "--items"], ["diff", str(bundle)]):
        done = _run(*command, str(bundle))
        assert done.returncode in (3, 7, 8), done
        assert b"Traceback" not in done.stderr
        _assert_plain(done.stdout + done.stderr)


def test_hostile_file_name_on_the_command_line() -> None:
    for arguments in (["verify", f"/nowhere/{EVIL}"], [EVIL], ["verify", f"--{EVIL}"], ["build", EVIL]):
        done = _run(*arguments)
        assert done.returncode in (2, 3, 4, 7)
        _assert_plain(done.stdout + done.stderr)


def test_log_lines_on_a_terminal_are_plain() -> None:
    """Where stderr is a terminal, lines go in front of a bar, by another way."""
    script = f"""
import logging
from bundler.cli.command import command, Answer
import click
@click.command()
@command
def say(common):
    logging.getLogger("bundler").warning("%s", {EVIL!r})
    return Answer({{}}, [{EVIL!r}])
say()
"""
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", script], stdout=theirs, stderr=theirs) as process:
        process.wait(60)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).replace(b"\r\n", b"\n")
    os.close(ours)
    assert shown.count(b"gnp.exe") == 2
    _assert_plain(shown)


def test_newline_in_a_bundles_name_makes_no_line(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / f"x\n{FORGED}\nid 1.tar", {"files/a": b"a"})
    for command in (["verify"], ["inspect"], ["diff", str(bundle)]):
        done = _run(*command, str(bundle))
        assert done.returncode == 0, done.stderr
        _assert_plain(done.stdout + done.stderr)
    refused = _run("verify", str(bundle), FORGED, "\nerror: nothing")
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 4


def test_error_has_the_lines_that_bundler_gave_it_and_no_others() -> None:
    script = f"""
from bundler.cli.command import command, Answer
from bundler.errors import BundleError
import click
@click.command()
@command
def say(common):
    raise BundleError("two are wrong:", "  one", {f"  x{EVIL}"!r}, hint={f"go{EVIL}"!r})
say()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 7
    _assert_plain(done.stderr)
    assert done.stderr.startswith(b"error: two are wrong:\n  one\n  x")
    assert len(done.stderr.splitlines()) == 4
    as_json = subprocess.run([sys.executable, "-c", script, "--json"], capture_output=True, check=False)
    assert json.loads(as_json.stdout)["error"] == f"two are wrong:\n  one\n  x{EVIL}"


def test_traceback_of_a_bug_has_no_line_that_passes_for_bundlers() -> None:
    script = f"""
from bundler import cli
cli.cli.commands["key"].callback = None
def bug(*_, **__): raise RuntimeError({EVIL!r})
cli.cli.main = bug
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"RuntimeError" in done.stderr
    _assert_plain(done.stderr)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "[1, -Infinity]", '{"y": 1e999}'])
def test_number_that_json_does_not_have_is_refused(tmp_path: Path, number: str) -> None:
    item = {"kind": "files", "name": "a", "version": "1", "objects": [], "attributes": {"x": json.loads(number)}}
    bundle = _forged(tmp_path / "evil.tar", {**_manifest(), "items": [item]})
    done = _run("inspect", "--json", str(bundle))
    assert done.returncode == 7
    assert "is no number of JSON's" in json.loads(done.stdout, parse_constant=pytest.fail)["error"]
    lock = json.loads(Lock("demo", "1.0", "0" * 64, ()).to_bytes()) | {"items": [item]}
    with pytest.raises(BundleError, match="is no number of JSON's"):
        Lock.from_bytes(json.dumps(lock).encode())


def test_json_stays_json_whatever_a_bundle_says(tmp_path: Path) -> None:
    words = "".join(map(chr, range(0xD7FF)))
    lock = Lock("demo", "1.0", "0" * 64, (Item("files", "a", "1", (), {"x": words}),))
    done = _run("inspect", "--json", str(write_lock(tmp_path / "demo.tar", lock, {})))
    assert json.loads(done.stdout)["items"][0]["attributes"] == {"x": words}
    assert b"\x7f" not in done.stdout


@pytest.mark.parametrize(
    "source", ["https://e.example/\u202e", "file:a\nb", "file:\x1b[2J", "file:\u2066", "file:" + "x" * 4096]
)
def test_source_is_a_line_of_text(tmp_path: Path, source: str) -> None:
    entry = {"path": "files/a", "size": 1, "sha256": "0" * 64, "source": source}
    done = _run("inspect", str(_forged(tmp_path / "evil.tar", {**_manifest(), "objects": [entry]})))
    assert done.returncode == 7
    assert b"objects.0.source" in done.stderr
    _assert_plain(done.stdout + done.stderr)


def test_terminal_that_cannot_show_a_letter(tmp_path: Path) -> None:
    done = _run("verify", f"{tmp_path}/번들.tar", PYTHONIOENCODING="ascii")
    assert done.returncode == 7
    assert b"\\ubc88\\ub4e4.tar" in done.stderr


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-m", "bundler", *arguments]
    return subprocess.run(argv, capture_output=True, env={**os.environ, **environment}, check=False)


def _assert_plain(shown: bytes) -> None:
    lines = shown.decode().split("\n")
    assert [plain(line) for line in lines] == lines
    assert FORGED not in lines


def test_forged_bundle_is_one_without_the_change(tmp_path: Path) -> None:
    """Else the tests above would see some other refusal."""
    data = _forged(tmp_path / "plain.tar", _manifest())
    assert Manifest.from_bytes(json.dumps(_manifest(), indent=1).encode() + b"\n").items == ()
    assert _run("inspect", str(data)).returncode == 0
