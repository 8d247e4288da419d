"""Keys: what is none is named, and a folder of them that cannot be understood never means that nobody has to sign."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bundler.bundle import keys
from bundler.errors import ConfigError
from tests.bundle.signing import make_key, public


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return make_key(tmp_path)


@pytest.fixture
def folder(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's folder of trusted keys, with one in it."""
    path = tmp_path / "trusted.d"
    monkeypatch.setattr(keys, "TRUSTED", path)
    path.mkdir()
    shutil.copyfile(public(key), path / "release.pub")
    return path


def test_a_secret_key_is_for_one_user(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert b"PRIVATE" not in public(key).read_bytes()
    with pytest.raises(ConfigError, match="is there already"):
        keys.new_key(key)


def test_the_machines_keys_and_those_that_are_named_add_up(folder: Path, tmp_path: Path) -> None:
    other = make_key(tmp_path, "other.key")
    assert [key.file for key in keys.trust([]).keys] == [folder / "release.pub"]
    assert len(keys.trust([public(other)], threshold=2).keys) == 2


def test_a_folder_that_is_not_there_means_that_nobody_has_to_sign(folder: Path) -> None:
    shutil.rmtree(folder)
    assert keys.trust([]) == keys.Trust()


def test_an_empty_folder_is_refused(folder: Path) -> None:
    (folder / "release.pub").unlink()
    with pytest.raises(ConfigError, match="is empty"):
        keys.trust([])


def test_a_file_in_place_of_the_folder_is_refused(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be read"):
        keys.trust([])


def test_a_file_in_place_of_the_folder_above_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "TRUSTED", folder / "release.pub" / "trusted.d")
    with pytest.raises(ConfigError, match="cannot be read"):
        keys.trust([])


def test_a_link_to_nowhere_is_refused(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to(folder.with_name("gone"))
    with pytest.raises(ConfigError, match="link to nowhere"):
        keys.trust([])


def test_a_folder_behind_a_link_is_read(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))
    assert len(keys.trust([]).keys) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="root reads every folder, and only root can become a user who does not")
def test_a_folder_that_the_caller_may_not_read_is_refused(folder: Path) -> None:
    folder.chmod(0o700)
    code = (
        "import os; from pathlib import Path; from bundler.bundle import keys; from bundler.errors import ConfigError\n"
        f"folder = os.open({str(folder.parent)!r}, os.O_PATH); os.fchdir(folder)\n"
        "keys.TRUSTED = Path('trusted.d'); os.setuid(65534)\n"
        "try: print(keys.trust([]))\n"
        "except ConfigError as error: print(error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert "trusted.d cannot be read" in done.stdout


@pytest.mark.parametrize(
    "name", ["release.pem", "README", ".release.pub", "release.pub~", "#release.pub#", "a.pub.bak"]
)
def test_a_file_that_is_not_called_like_a_key_is_named(folder: Path, name: str) -> None:
    shutil.copyfile(folder / "release.pub", folder / name)
    with pytest.raises(ConfigError, match="is not called like a public key") as refused:
        keys.trust([])
    assert name in refused.value.message


def test_a_name_with_escapes_is_shown_without_them(folder: Path) -> None:
    (folder / "a\x1b[2J").write_bytes(b"")
    with pytest.raises(ConfigError) as refused:
        keys.trust([])
    assert refused.value.message.isprintable()


def test_what_is_called_like_a_key_has_to_be_one(folder: Path) -> None:
    (folder / "other.pub").write_text("no key")
    with pytest.raises(ConfigError, match=r"other\.pub is no public key"):
        keys.trust([])
    (folder / "other.pub").unlink()
    (folder / "other.pub").mkdir()
    with pytest.raises(ConfigError, match=r"other\.pub is no public key: it is no regular file"):
        keys.trust([])


def test_a_key_behind_a_link_is_read(folder: Path, tmp_path: Path) -> None:
    (folder / "other.pub").symlink_to(public(make_key(tmp_path, "other.key")))
    assert len(keys.trust([], threshold=2).keys) == 2
    (folder / "gone.pub").symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"gone\.pub is no public key: No such file"):
        keys.trust([])


@pytest.mark.parametrize("by", ["name", "folder"])
def test_a_secret_key_is_refused_by_name(folder: Path, key: Path, by: str) -> None:
    shutil.copyfile(key, folder / "secret.pub" if by == "folder" else folder.parent / "secret.pub")
    named = [folder.parent / "secret.pub"] if by == "name" else []
    with pytest.raises(ConfigError, match=r"secret\.pub is a secret key"):
        keys.trust(named)


def test_a_pipe_in_place_of_a_key_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pub")
    with pytest.raises(ConfigError, match="it is no regular file"):
        keys.read_public(tmp_path / "pipe.pub")
    with pytest.raises(ConfigError, match="it is no regular file"):
        keys.read_secret(tmp_path / "pipe.pub")


def test_a_file_with_several_keys_is_refused(tmp_path: Path, key: Path) -> None:
    both = tmp_path / "both.pub"
    both.write_bytes(public(key).read_bytes() + public(make_key(tmp_path, "other.key")).read_bytes())
    with pytest.raises(ConfigError, match="it has several"):
        keys.read_public(both)


def test_what_is_no_key_is_refused(tmp_path: Path, key: Path) -> None:
    (tmp_path / "text").write_text("no key")
    (tmp_path / "large").write_bytes(public(key).read_bytes() + b"\n" * 100_000)
    for wrong in (tmp_path / "text", tmp_path / "absent", public(key)):
        with pytest.raises(ConfigError, match="is no secret key"):
            keys.read_secret(wrong)
    for wrong in (tmp_path / "text", tmp_path / "absent", tmp_path / "large"):
        with pytest.raises(ConfigError, match="is no public key"):
            keys.read_public(wrong)


def test_keys_of_unsupported_sorts_are_refused(tmp_path: Path) -> None:
    secret = ec.generate_private_key(ec.SECP256K1())
    data = secret.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "curve.pub").write_bytes(data)
    with pytest.raises(ConfigError, match="is no public key"):
        keys.read_public(tmp_path / "curve.pub")
    (tmp_path / "curve").write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ConfigError, match="is no secret key"):
        keys.read_secret(tmp_path / "curve")


def test_one_key_in_two_forms_is_one_key(tmp_path: Path) -> None:
    public_key = rsa.generate_private_key(65537, 2048).public_key()
    for name, form in (("a.pub", PublicFormat.SubjectPublicKeyInfo), ("b.pub", PublicFormat.PKCS1)):
        (tmp_path / name).write_bytes(public_key.public_bytes(Encoding.PEM, form))
    assert keys.read_public(tmp_path / "a.pub").id == keys.read_public(tmp_path / "b.pub").id
    with pytest.raises(ConfigError, match="2 different keys have to sign, and trusted here: 1"):
        keys.trust([tmp_path / "a.pub", tmp_path / "b.pub"], threshold=2)


def test_a_policy_that_no_key_could_meet_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(keys, "TRUSTED", tmp_path / "none.d")
    with pytest.raises(ConfigError, match="2 different keys have to sign, and trusted here: 0"):
        keys.trust([], threshold=2)
    with pytest.raises(ConfigError, match="no key is trusted that could sign"):
        keys.trust([], require_expiry=True)
