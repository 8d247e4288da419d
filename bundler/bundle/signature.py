"""Who vouches for a bundle: signatures of one statement about its manifest, in a file beside it.

`<bundle>.tar.sig.json` is a DSSE envelope (https://github.com/secure-systems-lab/dsse) around a statement. Several
people may sign one bundle. What is in the envelope comes from outside until a trusted key was found to have signed it.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints, ValidationError
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error as SignatureError
from securesystemslib.signer import Signature

from bundler.bundle.keys import Trust, read_public, read_secret
from bundler.bundle.manifest import Manifest
from bundler.bundle.statement import PAYLOAD_TYPE, Signer, Statement, Vouched, time_text
from bundler.bundle.storage import STDIN, find_index, read_index
from bundler.errors import ConfigError, TrustError
from bundler.files import read_small, write_file
from bundler.model.problems import first_problem, printable
from bundler.model.target import StrictModel
from bundler.sizes import human

SUFFIX = ".sig.json"
_LIMIT = 1 << 20  # bytes of the file
_SIGNATURES = 64
_PATIENCE = 600  # seconds for an external signer

Base64 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]*={0,2}$")]


class _Signature(StrictModel):
    keyid: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    sig: Base64


class _Envelope(StrictModel):
    payload: Base64
    payload_type: str = Field(alias="payloadType")
    signatures: tuple[_Signature, ...] = Field(max_length=_SIGNATURES)


@dataclass(frozen=True, slots=True)
class Signed:
    """The `file` of a signature, and what was signed; `adopted` when others had signed that before."""

    file: Path
    statement: Statement
    adopted: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """How a bundle stands with the keys that are trusted here.

    `signers` are all whom the signature names: those with a `key` were checked, the others only say so. `vouched` is
    None where nobody is trusted, so that nobody has to vouch for it. `problem` says what is wrong, where something is.
    """

    signers: tuple[Signer, ...]
    expires: datetime | None
    vouched: bool | None
    problem: str | None = None

    @property
    def verdict(self) -> str:
        """The same in a few words."""
        if self.vouched:
            return "signed by those who are trusted here"
        if self.problem:
            return self.problem
        if not self.signers:
            return "signed by nobody" if self.vouched is None else "not signed: signed by nobody who is trusted here"
        return "signed, but not checked: no key is trusted here"


def sign(
    bundle: Path, manifest: Manifest, key: Path, signer: str | None = None, expires: datetime | None = None
) -> Signed:
    """Sign the bundle at `bundle` whose manifest is `manifest`.

    `key` is a secret key, or the public one of an external `signer`: a command that gets the bytes to sign on its
    standard input and answers with the signature, in base64. Who signs second signs the statement that is there.

    Raises ConfigError, also where that statement is another one, and where one signature more could not be read again:
    no signature is lost; TrustError where it is none.
    """
    target = signature_file(bundle)
    envelope = _to_sign(target, manifest, expires)
    adopted = bool(envelope.signatures)
    if signer is None:
        envelope.sign(read_secret(key))
    else:
        public = read_public(key)
        made = Signature(public.id, _ask(signer, envelope.pae()).hex())
        if not _good(made, envelope, Trust((public,))):
            raise ConfigError(f"what {signer!r} answered is no signature of {key}", hint="see the signer")
        envelope.signatures[public.id] = made
    data = f"{json.dumps(envelope.to_dict(), indent=1)}\n".encode()
    try:
        _envelope_of(data, target)
    except TrustError as error:
        raise ConfigError(f"with one signature more, {error.message}", hint=_away(target)) from None
    write_file(target, data)
    return Signed(target, Statement.from_bytes(envelope.payload, envelope.payload_type, str(target)), adopted)


def vouched(bundle: Path, trust: Trust, signature: Path | None = None) -> Vouched | None:
    """What enough keys of `trust` signed for the bundle at `bundle`; None where nobody is trusted.

    The signature lies beside the bundle, or at `signature`. Raises TrustError.
    """
    if not trust.keys and signature is None:
        return None
    path = signature or signature_file(bundle)
    if not trust.keys:
        raise TrustError(
            f"{path} cannot be checked: no key is trusted here",
            hint="name one: --trust, or `trusted_keys` in site.yaml",
        )
    if not path.is_file():
        raise TrustError(f"{bundle} is not signed, and this site takes signed bundles only", hint=_hint(path))
    envelope = _read(path)
    return _judged(path, envelope, _signers(envelope, trust), trust)


def standing(bundle: Path, manifest: Manifest, trust: Trust, signature: Path | None = None) -> Standing:
    """Who signed the bundle at `bundle`, whose manifest is `manifest`, and whether that is enough for `trust`."""
    nobody = False if trust.keys else None
    try:
        path = signature or signature_file(bundle)
        if not path.is_file():
            return Standing((), None, nobody)
        envelope = _read(path)
        statement = Statement.from_bytes(envelope.payload, envelope.payload_type, str(path))
        statement.check(manifest, str(path))
    except TrustError as error:
        return Standing((), None, nobody, error.message)
    signers = _signers(envelope, trust)
    try:
        statement.check_time(datetime.now(UTC), str(path))
        if trust.keys:
            _judged(path, envelope, signers, trust)
    except TrustError as error:
        return Standing(signers, statement.expires, nobody, error.message)
    return Standing(signers, statement.expires, True if trust.keys else None)


def signature_file(bundle: Path) -> Path:
    """Where the signature of the bundle at `bundle`, a file or volumes, lies. Raises TrustError for a pipe."""
    if bundle == STDIN:
        raise TrustError(
            "a bundle in a pipe has no signature beside it",
            hint="send the signature before it, and name it: --signature",
        )
    index = find_index(bundle)
    if index is not None and index.exists():
        return index.with_name(f"{read_index(index).bundle}{SUFFIX}")
    return bundle.with_name(f"{bundle.name}{SUFFIX}")


def to_carry(there: Path, here: Path) -> bytes | None:
    """The signature file `there`, if there is one that is to go `here` with its bundle.

    Raises ConfigError where another one lies, which would be lost; TrustError when it is none.
    """
    if there == here or not there.is_file():
        return None
    data = _bytes(there)
    if here.exists() and (not here.is_file() or _bytes(here) != data):
        raise ConfigError(
            f"{here}: another signature is there, and would be lost",
            hint=f"move it away, or put the one to be kept in place of {there}",
        )
    return data


def _judged(path: Path, envelope: Envelope, signers: Sequence[Signer], trust: Trust) -> Vouched:
    """What was signed. Raises TrustError unless enough trusted keys signed, what they signed is a statement about a
    bundle, and it counts today.
    """
    good = tuple(signer for signer in signers if signer.key)
    if not good:
        raise TrustError(f"{path}: it is signed by nobody who is trusted here", hint=_hint(path))
    if len(good) < trust.threshold:
        names = ", ".join(str(signer.key) for signer in good)
        raise TrustError(
            f"{path}: {trust.threshold} of the keys trusted here have to sign, and {len(good)} did: {names}",
            hint="have it signed by more of them: `bundler sign` adds a signature to those that are there",
        )
    statement = Statement.from_bytes(envelope.payload, envelope.payload_type, str(path))
    if trust.require_expiry and statement.expires is None:
        raise TrustError(
            f"{path}: what was signed never expires, and this site takes what does only",
            hint="have it signed with `bundler sign --expires`",
        )
    statement.check_time(datetime.now(UTC), str(path))
    return Vouched(statement, good)


def _signers(envelope: Envelope, trust: Trust) -> tuple[Signer, ...]:
    """Each key once whose signature is good; those that are not known here as the envelope names them.

    What is no signature of the trusted key that it names is left out.
    """
    known = {key.id for key in trust.keys}
    found = []
    for made in envelope.signatures.values():
        if made.keyid not in known:
            found.append(Signer(made.keyid))
        elif (file := _good(made, envelope, trust)) is not None:
            found.append(Signer(made.keyid, file))
    return tuple(found)


def _good(made: Signature, envelope: Envelope, trust: Trust) -> Path | None:
    """The file of the key of `trust` that made this signature; None when the one that it names did not."""
    for public in trust.keys:
        if public.id == made.keyid:
            try:
                public.key.verify_signature(made, envelope.pae())
            except (SignatureError, ValueError):
                return None
            return public.file
    return None


def _to_sign(target: Path, manifest: Manifest, expires: datetime | None) -> Envelope:
    """What a signature is to be added to: what somebody signed at `target`, or a new envelope.

    Raises ConfigError, TrustError.
    """
    wanted = Statement.of(manifest, expires)
    new = Envelope(payload=wanted.data, payload_type=PAYLOAD_TYPE, signatures={})
    if not target.exists():
        return new
    envelope = _read(target)
    if not envelope.signatures:
        return new
    try:
        there = Statement.from_bytes(envelope.payload, envelope.payload_type, str(target))
        there.check(manifest, str(target))
        there.check_time(datetime.now(UTC), str(target))
    except TrustError as error:
        raise ConfigError(f"{error.message}; its signatures would be lost", hint=_away(target)) from None
    if expires is not None and there != wanted:
        until = f"expires at {time_text(there.expires)}" if there.expires else "never expires"
        raise ConfigError(
            f"{target}: what is signed there {until}, and all who sign a bundle sign one statement",
            hint=f"leave out --expires to sign that statement; or {_away(target)}",
        )
    return envelope


def _read(path: Path) -> Envelope:
    """The envelope at `path`. Raises TrustError when it is none."""
    return _envelope_of(_bytes(path), path)


def _envelope_of(data: bytes, path: Path) -> Envelope:
    """The envelope that the bytes `data` of `path` are. Raises TrustError when they are none."""
    if len(data) > _LIMIT:
        raise _no_signature(path, f"it is too large: more than {human(_LIMIT)}")
    try:
        record = _Envelope.model_validate(json.loads(data, object_pairs_hook=_once))
        made = [Signature(each.keyid, b64decode(each.sig, validate=True).hex()) for each in record.signatures]
        if len({each.keyid for each in made}) != len(made):
            raise ValueError("a key signed it twice")
        payload = b64decode(record.payload, validate=True)
    except ValidationError as error:
        raise _no_signature(path, first_problem(error)) from None
    except RecursionError:
        raise _no_signature(path, "it is nested too deep") from None
    except ValueError as error:
        raise _no_signature(path, str(error)) from None
    return Envelope(payload=payload, payload_type=record.payload_type, signatures={each.keyid: each for each in made})


def _bytes(path: Path) -> bytes:
    """What is in the file at `path`. Raises TrustError when it cannot be a signature."""
    try:
        return read_small(path, _LIMIT)
    except OSError as error:
        raise _no_signature(path, str(error.strerror)) from None


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an entry is there twice")
    return found


def _no_signature(path: Path, reason: str) -> TrustError:
    return TrustError(f"{path} is no signature: {printable(reason)}", hint="carry it again, or have it signed again")


def _away(path: Path) -> str:
    return f"move {path} away and sign again; whoever signed it before has to sign again too"


def _hint(path: Path) -> str:
    return f"have it signed by someone trusted here, and carry {path.name} beside it"


def _ask(signer: str, data: bytes) -> bytes:
    """The external signer's answer. Raises ConfigError."""
    try:
        done = subprocess.run(shlex.split(signer), input=data, capture_output=True, check=False, timeout=_PATIENCE)
        if done.returncode == 0:
            return b64decode(done.stdout.strip(), validate=True)
        said = done.stderr.decode(errors="replace").strip()[-500:]
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = str(error)
    raise ConfigError(f"the signer {signer!r} failed: {said}", hint="see the signer; it answers in base64")
