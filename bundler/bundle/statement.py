"""What whoever vouches for a bundle signs: an in-toto statement with SLSA provenance, in one form and no other.

https://in-toto.io/Statement/v1, https://slsa.dev/provenance/v1. The statement names the bundle by its manifest's
digest, and the manifest names every byte of it. Compact JSON with sorted keys: the same statement always has the same
bytes, so several people sign one payload.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from bundler.bundle.manifest import Manifest
from bundler.errors import TrustError
from bundler.model.contents import Name, Sha256, Version
from bundler.model.problems import first_problem
from bundler.model.target import StrictModel

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PROVENANCE = "https://slsa.dev/provenance/v1"
_BUILD_TYPE = "https://bundler.invalid/build/v1"
_BUILDER = "bundler"
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_SHOWN = 80  # letters of a foreign word

Time = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z$")]


class _Digest(StrictModel):
    sha256: Sha256


class _Subject(StrictModel):
    name: str
    digest: _Digest


class _External(StrictModel):
    name: Name
    version: Version
    profile_sha256: Sha256


class _Internal(StrictModel):
    lock_sha256: Sha256


class _Definition(StrictModel):
    build_type: Literal["https://bundler.invalid/build/v1"] = Field(alias="buildType")
    external: _External = Field(alias="externalParameters")
    internal: _Internal = Field(alias="internalParameters")


class _Predicate(StrictModel):
    definition: _Definition = Field(alias="buildDefinition")
    details: dict[str, Any] = Field(alias="runDetails")
    expires: Time | None = None


class _Record(StrictModel):
    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[_Subject]
    predicate_type: Literal["https://slsa.dev/provenance/v1"] = Field(alias="predicateType")
    predicate: _Predicate


@dataclass(frozen=True, slots=True)
class Statement:
    """That the bundle `name` `version` has the manifest with the digest `id`; it counts until `expires`, in UTC."""

    name: str
    version: str
    id: str
    profile_sha256: str
    lock_sha256: str
    expires: datetime | None = None

    @classmethod
    def of(cls, manifest: Manifest, expires: datetime | None = None) -> Statement:
        """The statement about the bundle that `manifest` describes; `expires` counts in whole seconds."""
        until = expires.astimezone(UTC).replace(microsecond=0) if expires else None
        return cls(manifest.name, manifest.version, manifest.id, manifest.profile_sha256, manifest.lock_sha256, until)

    @property
    def data(self) -> bytes:
        """The bytes that are signed."""
        document = {
            "_type": _STATEMENT,
            "subject": [{"name": f"{self.name}-{self.version}", "digest": {"sha256": self.id}}],
            "predicateType": _PROVENANCE,
            "predicate": {
                "buildDefinition": {
                    "buildType": _BUILD_TYPE,
                    "externalParameters": {
                        "name": self.name,
                        "version": self.version,
                        "profile_sha256": self.profile_sha256,
                    },
                    "internalParameters": {"lock_sha256": self.lock_sha256},
                },
                "runDetails": {"builder": {"id": _BUILDER}},
                **({"expires": time_text(self.expires)} if self.expires else {}),
            },
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, payload: bytes, payload_type: str, what: str) -> Statement:
        """Read what was signed. Raises TrustError, saying what it is, for all that `data` never writes."""
        if payload_type != PAYLOAD_TYPE:
            raise _other(what, f"its payload is of type {_shown(payload_type)}")
        try:
            record = _Record.model_validate_json(payload)
            found = cls._of(record)
        except ValidationError as error:
            raise _other(what, first_problem(error)) from None
        except ValueError as error:
            raise _other(what, f"predicate.expires: {error}") from None
        (subject,) = record.subject
        if subject.name != f"{found.name}-{found.version}":
            raise _other(what, f"its subject is called {_shown(subject.name)}, and its predicate is about {found.name}")
        if found.data != payload:
            raise _other(what, "it is not in the one form that bundler writes")
        return found

    @classmethod
    def _of(cls, record: _Record) -> Statement:
        """Raises ValueError for a day or a time that there is not."""
        external, predicate = record.predicate.definition.external, record.predicate
        expires = datetime.strptime(predicate.expires, _TIME).replace(tzinfo=UTC) if predicate.expires else None
        return cls(
            external.name,
            external.version,
            record.subject[0].digest.sha256,
            external.profile_sha256,
            predicate.definition.internal.lock_sha256,
            expires,
        )

    def check(self, manifest: Manifest, what: str) -> None:
        """Raise TrustError unless this is the statement about the bundle that `manifest` describes."""
        if self != Statement.of(manifest, self.expires):
            raise TrustError(
                f"{what}: what was signed is {self.name} {self.version} ({self.id}), and this is "
                f"{manifest.name} {manifest.version} ({manifest.id})",
                hint="carry the bundle and the signature that belong together",
            )

    def check_time(self, now: datetime, what: str) -> None:
        """Raise TrustError once the statement has expired."""
        if self.expires and self.expires <= now:
            raise TrustError(
                f"{what}: what was signed expired at {time_text(self.expires)}; it is {time_text(now)} here",
                hint="have the bundle signed again, or a newer one; see to this machine's clock if it is wrong",
            )


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed, or says so: a `keyid`, and the file `key` of a key known here, by which that was checked."""

    keyid: str
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Vouched:
    """What was signed, and the trusted keys that signed it."""

    statement: Statement
    signers: tuple[Signer, ...]


def time_text(time: datetime) -> str:
    """`time` in UTC, as statements have it."""
    return time.astimezone(UTC).strftime(_TIME)


def _shown(word: str) -> str:
    """A foreign word as it may stand in a message."""
    return ascii(word[:_SHOWN])


def _other(what: str, reason: str) -> TrustError:
    return TrustError(
        f"{what}: it vouches for something else than a bundle of this format: {reason}",
        hint="have the bundle itself signed with `bundler sign`, and carry that signature",
    )
