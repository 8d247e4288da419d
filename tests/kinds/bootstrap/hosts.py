"""Machines that install.sh runs on: for real, in a mount namespace, with some of the host's commands recorded."""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from bundler.bundle.reader import Bundle
from bundler.errors import TrustError
from bundler.model.items import Item, Json
from bundler.model.lock import Lock
from bundler.templates import render
from tests.bundle.bundles import TARGETS, item_of, write_lock

ADDRESS = ("--address", "192.168.10.10")
TRUST = TrustError.exit_code
BOOTSTRAP = ("python3.12", "nginx", "podman", "policycoreutils-python-utils")
WHEEL = "bootstrap/wheels/bundler-1-py3-none-any.whl"
_KEY_FILE = "keys/RPM-GPG-KEY-Rocky"
_MEMBERS = ("baseos/Packages/nginx.rpm", "baseos/repodata/repomd.xml")
# The machine that the script looks at and changes: all of it is there for the script alone. `local` is what the machine
# has in /usr/local/bin, `attack` what a local user does all the while.
_INSIDE = """\
set -eu
for place in etc usr/bin; do
    mount -t overlay overlay -o "lowerdir=$1/$place:/$place" "/$place"
done
for folder in /opt /run /usr/local/bin; do
    mount -t tmpfs -o mode=755 tmpfs "$folder"
done
mount -t tmpfs tmpfs /var/tmp
mkdir -p /run/systemd/system
cp -p "$1"/local/* /usr/local/bin 2>/dev/null || :
setpriv --reuid=65534 --regid=65534 --clear-groups sh -c "$(cat "$1/attack")" >/dev/null 2>&1 &
attacker=$!
folder=$1
cd "$folder/unpacked"
shift
sh bootstrap/install.sh "$@" && code=0 || code=$?
kill "$attacker" 2>/dev/null || :
ls -A /var/tmp >"$folder/left"
exit "$code"
"""


@dataclass
class Host:
    """A machine with a release of Rocky: what its commands say, and what was asked of them."""

    folder: Path
    release: str

    def __post_init__(self) -> None:
        for folder in ("etc", "usr/bin", "local", "unpacked/bootstrap"):
            (self.folder / folder).mkdir(parents=True)
        (self.folder / "attack").write_text("")
        self.os_release("rocky", f"{self.release}.1")

    def os_release(self, distro: str, version: str) -> None:
        (self.folder / "etc/os-release").write_text(f'ID="{distro}"\nVERSION_ID="{version}"\n')

    def command(self, name: str, script: str, place: str = "usr/bin") -> None:
        """What the command `name` does, beside noting how it was called."""
        path = self.folder / place / name
        note = f'printf "%s\\n" "${{0##*/}} $*" >>{self.folder}/calls'
        path.write_text(f"#!/bin/sh\n{note}\n{script}\n")
        path.chmod(0o755)

    def python(self, name: str, version: str) -> None:
        """A Python that says its version and makes environments whose pip `installs` bundler."""
        self.command(
            name,
            f'if [ "$2" = -c ]; then [ "$4" = {version} ]; exit; fi\n'
            'if [ "$1 $2 $3" = "-I -m venv" ]; then mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; fi\n'
            'if [ "$1 $2 $3 $4" = "-I -m pip install" ]; then\n'
            f'    cp {self.folder}/usr/bin/bundler "${{0%/*}}/bundler"\nfi',
        )

    def trusts(self, *keys: Key) -> Path:
        """Let it trust `keys`; gives the folder with them."""
        folder = self.folder / "etc/bundler/trusted.d"
        folder.mkdir(parents=True)
        for key in keys:
            (folder / key.public.name).write_bytes(key.public.read_bytes())
        return folder

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        signals = "--default-signal=HUP,INT,TERM"  # whatever ignores them around the tests
        argv = ["/usr/bin/env", signals, "unshare", "--mount", "sh", "-c", _INSIDE, "sh", str(self.folder), *arguments]
        path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        return subprocess.run(argv, env=path | dict(environment or {}), capture_output=True, text=True, check=False)

    def takes(self, bundle: Path, *arguments: str) -> str:
        """What install.sh says of a bundle that it has to take."""
        done = self.run(str(bundle), *arguments, *ADDRESS)
        assert done.returncode == 0, done.stderr
        assert self.calls[-1].startswith(f"bundler install {bundle} --id {id_of(bundle)} ")
        return done.stderr

    def refuses(self, bundle: Path, *arguments: str, code: int = TRUST) -> str:
        """What it says of one that it must not take: nothing of it ran, and nothing is left."""
        done = self.run(str(bundle), *arguments, *ADDRESS)
        assert done.returncode == code, done.stderr
        assert "error: " in done.stderr
        assert "\nhint: " in done.stderr
        assert not self.ran
        assert (self.folder / "left").read_text() == ""
        return done.stderr

    @property
    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def ran(self) -> list[str]:
        """What was run of the bundle, or because of it."""
        return [call for call in self.calls if "venv" in call or call.startswith(("dnf ", "bundler "))]

    def scripts(self) -> dict[str, bytes]:
        """install.sh for this machine, by its path."""
        values = {"distro": "rocky", "release": self.release, "arch": "x86_64", "python": "3.12"}
        return {"bootstrap/install.sh": render("bundler.kinds.bootstrap", "install.sh.j2", **values).encode()}

    def packages(self, **changes: Json) -> dict[str, Json]:
        """What the bundle says of the packages that the machine takes first, with `changes`."""
        repository: dict[str, Json] = {
            "repo": "baseos",
            "path": f"rpms/rocky/{self.release}/baseos",
            "gpgcheck": True,
            "priority": 99,
            "module_hotfixes": False,
            "keys": [_KEY_FILE],
        }
        return {
            "type": "bootstrap",
            "role": "bootstrap",
            "target": {"distro": "rocky", "release": self.release, "arch": "x86_64"},
            "names": list(BOOTSTRAP),
            "repositories": [repository | {key: changes.pop(key) for key in repository if key in changes}],
            **changes,
        }

    def write(
        self,
        target: Path,
        changes: Mapping[str, bytes] | None = None,
        *,
        packages: Mapping[str, Json] | None = None,
        members: Sequence[str] = (),
    ) -> Path:
        """A bundle of the parts that the script reads, with `changes`; its bootstrap folder lies unpacked there.

        `packages` are the attributes of the item with the machine's packages, `members` further objects of it.
        """
        rpms = f"rpms/rocky/{self.release}"
        contents = {
            **self.scripts(),
            "bootstrap/uninstall.sh": b"#!/bin/sh\n",
            "bootstrap/requirements.txt": f"bundler==1 --hash=sha256:{'0' * 64}\n".encode(),
            WHEEL: b"a wheel",
            _KEY_FILE: b"a key",
            f"{rpms}/baseos/Packages/nginx.rpm": b"an rpm",
            f"{rpms}/baseos/Packages/other.rpm": b"another, which nobody asked for",
            f"{rpms}/baseos/repodata/repomd.xml": b"<repomd/>",
            **(changes or {}),
        }
        sample = item_of(contents)
        by_path = {obj.path: obj for obj in sample.objects}
        own = (*(f"{rpms}/{path}" for path in _MEMBERS), _KEY_FILE, *members)
        first = Item(
            "rpms",
            "bootstrap",
            f"rocky-{self.release}-x86_64",
            tuple(by_path[path] for path in own),
            self.packages() if packages is None else packages,
        )
        bundle = write_lock(target, Lock("demo", "1.0", "0" * 64, (sample, first), TARGETS), contents)
        (self.folder / "unpacked/bootstrap/install.sh").write_bytes(contents["bootstrap/install.sh"])
        return bundle

    def forges(self, bundle: Path) -> Path:
        """In place of `bundle`, the genuine install.sh with another bundler, all digests in order."""
        bundle.unlink()
        return self.write(bundle, {WHEEL: b"a wheel that takes over"})


@dataclass
class Key:
    """A key pair; the public key lies at `public`."""

    signer: CryptoSigner
    public: Path

    @classmethod
    def at(cls, public: Path, signer: CryptoSigner | None = None) -> Key:
        made = signer or CryptoSigner.generate_ed25519()
        public.write_bytes(made._private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        return cls(made, public)


def id_of(bundle: Path) -> str:
    with Bundle(bundle) as opened:
        return opened.manifest.id


def statement(bundle: Path, **changes: Any) -> dict[str, Any]:
    """What is signed of a bundle, with `changes`; `expires` and the like go into the predicate."""
    predicate = {"buildDefinition": {"buildType": "https://bundler.invalid/build/v1"}, **changes.pop("predicate", {})}
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "demo-1.0", "digest": {"sha256": id_of(bundle)}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": predicate,
        **changes,
    }


def sign(bundle: Path, *keys: Key, text: bytes | None = None, payload_type: str = "", **changes: Any) -> Path:
    """Sign `text`, or the statement about the bundle with `changes`; gives the signature's file."""
    said = json.dumps(statement(bundle, **changes), sort_keys=True, separators=(",", ":")).encode()
    envelope = Envelope(
        payload=said if text is None else text,
        payload_type=payload_type or "application/vnd.in-toto+json",
        signatures={},
    )
    for key in keys:
        envelope.sign(key.signer)
    file = bundle.with_name(f"{bundle.name}.sig.json")
    file.write_text(json.dumps(envelope.to_dict(), indent=1) + "\n")
    return file


def base64_of(text: bytes) -> str:
    return b64encode(text).decode()
