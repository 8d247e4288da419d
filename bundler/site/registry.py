"""The site's registry as a store: blobs go in while a bundle is loaded, manifests and then tags when it is committed.

Nothing can be pulled before `commit`: blobs that no manifest names are invisible. Both own and external registries are
filled this way, over the API of the OCI distribution-spec 1.1.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import shutil
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bundler.bundle.content import Content
from bundler.errors import BundleError, SiteError
from bundler.model.items import Object
from bundler.model.site import SiteConfig
from bundler.site.folders import parent_of
from bundler.site.registry_client import RegistryClient
from bundler.site.session import LOCAL
from bundler.site.sockets import socket_of

log = logging.getLogger(__name__)

_DIGEST_HEADER = "Docker-Content-Digest"
_MANIFEST_LIMIT = 4 << 20  # bytes
_PUSHED_AT_ONCE = 4
_REPOSITORIES = "docker/registry/v2/repositories"  # of distribution's storage
_NOBODYS = f"sha256:{'0' * 64}"

# Without it, distribution 2.8 answers with a manifest converted to Docker's schema 1, of another digest.
_ACCEPT = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)


class RegistryStore:
    """The registry that nodes pull from. The `stage_` methods may be called from several threads.

    `bytes_written` and `objects_written` count what the registry took: what it has already is not sent again.
    """

    def __init__(self, config: SiteConfig) -> None:
        self._client = (
            RegistryClient(external.url, external.credentials, external.ca)
            if (external := config.registry)
            else RegistryClient(LOCAL, socket=socket_of(config, "registry"))
        )
        self._lock = threading.Lock()
        self._one_at_a_time: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._repositories: dict[str, list[str]] = defaultdict(list)
        self._manifests: dict[tuple[str, str], _Staged] = {}
        self._found: dict[tuple[str, str], str | None] = {}
        self.bytes_written = 0
        self.objects_written = 0

    def stage_blob(self, repository: str, digest: str, obj: Object, content: Content) -> None:
        """Have the blob in `repository`: there already, mounted from another of this store's, or sent as it is read.

        Raises IntegrityError (of `content`), after which the registry has nothing of it; SiteError, SpaceError.
        """
        with self._lock:
            alone = self._one_at_a_time[digest]
        with alone:  # so that a second repository can mount what the first one was sent
            known = self._repositories[digest]
            if repository in known:
                return
            if not self._has_blob(repository, digest):
                elsewhere = known[0] if known else None
                sent = self._client.upload(repository, digest, _Body(obj, content), mount_from=elsewhere)
                self._count(sent)
            known.append(repository)

    def stage_manifest(
        self, repository: str, references: Sequence[str], media_type: str, rank: int, obj: Object, content: Content
    ) -> None:
        """Remember a manifest or index, and the tags that shall lead to it; `commit` pushes it.

        Its bytes are verified now, so that a damaged one ends the load before anything is published. An index has a
        higher `rank` than the manifests it names. Raises IntegrityError (of `content`).
        """
        data = content.read(obj, limit=_MANIFEST_LIMIT)
        with self._lock:
            staged = self._manifests.setdefault((repository, f"sha256:{obj.sha256}"), _Staged(media_type, data))
            staged.tags.update(references)
            staged.rank = max(staged.rank, rank)

    def state(self, tags: Iterable[tuple[str, str]] = ()) -> RegistryState:
        """What nodes get of all that was staged, before `commit`, and of other `tags` (repository and tag)."""
        staged = {(repository, tag) for (repository, _), each in self._manifests.items() for tag in each.tags}
        tags = sorted(staged.union(tags))
        asked = (*tags, *sorted(self._manifests))
        with ThreadPoolExecutor(_PUSHED_AT_ONCE, thread_name_prefix="look") as pool:
            self._found = dict(zip(asked, pool.map(lambda each: self._digest(*each), asked), strict=True))
        absent = tuple(key for key in sorted(self._manifests) if self._found[key] is None)
        return RegistryState(tuple((*tag, self._found[tag]) for tag in tags), absent)

    def commit(self) -> None:
        """Push what was staged: every manifest by its digest, those of lower rank first, and then every tag.

        So no tag leads to an image that is not whole. Raises SiteError when the registry refuses one.
        """
        rounds: dict[float, list[tuple[str, str, str, _Staged]]] = defaultdict(list)
        for (repository, digest), staged in sorted(self._manifests.items(), key=lambda entry: entry[0]):
            rounds[staged.rank].append((repository, digest, digest, staged))
            rounds[math.inf] += [(repository, tag, digest, staged) for tag in sorted(staged.tags)]
        with ThreadPoolExecutor(_PUSHED_AT_ONCE, thread_name_prefix="push") as pool:
            for _, alike in sorted(rounds.items(), key=lambda entry: entry[0]):
                for _ in pool.map(lambda push: self._put(*push), alike):
                    pass
        self._manifests.clear()

    def restore(self, before: RegistryState, *, keep: Collection[tuple[str, str]]) -> None:
        """Undo what a commit has changed since `before`; manifests in `keep` stay, by repository and digest.

        A registry that deletes nothing keeps what it took. Raises SiteError when it does not answer.
        """
        for repository, tag, digest in before.tags:
            if digest is not None:
                self.lead(repository, tag, (digest,))
            elif self._digest(repository, tag) is not None and self._deletes(repository):
                self.remove_tag(repository, tag)
        for repository, digest in before.absent:
            new = (repository, digest) not in keep and self._digest(repository, digest) is not None
            if new and self._deletes(repository):
                self.remove_manifest(repository, digest)

    def fetch(self, repository: str, digest: str, *, is_manifest: bool) -> Iterator[bytes]:
        """The bytes of a manifest or blob that the registry has, not verified. Raises SiteError when it has not."""
        path = f"{'manifests' if is_manifest else 'blobs'}/{digest}"
        headers = {"Accept": _ACCEPT if is_manifest else "*/*"}
        answer = self._client.request("GET", repository, path, expect=(200,), headers=headers, stream=True)
        with answer:
            yield from answer.iter_content(1 << 20)

    def leads_to(self, repository: str, tag: str) -> str | None:
        """Digest of what `tag` leads to; None when there is no such tag. Raises SiteError."""
        return self._digest(repository, tag)

    def lead(self, repository: str, tag: str, digests: Sequence[str]) -> None:
        """Have `tag` lead to one of `digests`: it stays where it leads to one already, else the first is taken."""
        if self._digest(repository, tag) in digests:
            return
        digest = digests[0]
        if (found := self._manifest(repository, digest)) is None:
            log.warning("%s:%s cannot lead to %s again: the registry has lost that", repository, tag, digest)
            return
        self._push(repository, tag, digest, *found)

    def remove_tag(self, repository: str, tag: str) -> None:
        """Take `tag` out of `repository`, and leave what it leads to; one that is not there is no error.

        A registry that cannot delete a tag (distribution 2.8) deletes manifests, and every tag of one with it. There
        the tag first gets a manifest of its own: the same one, a line longer.
        """
        if self._delete(repository, tag, expect=(202, 404, 400, 405)) in (202, 404):
            return
        if (found := self._manifest(repository, tag)) is None:
            return
        media_type, data = found
        data += b"\n"
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self._push(repository, tag, digest, media_type, data)
        self.remove_manifest(repository, digest)

    def remove_manifest(self, repository: str, digest: str) -> None:
        """Take a manifest out of `repository`, with the tags that lead to it; one that is not there is no error.

        Blobs stay until the registry's own garbage collection.
        """
        self._delete(repository, digest, expect=(202, 404))

    def _put(self, repository: str, reference: str, digest: str, staged: _Staged) -> None:
        """Have `reference` (a tag, or the digest itself) lead to the manifest."""
        known = (repository, reference)
        if (self._found[known] if known in self._found else self._digest(*known)) == digest:
            return
        self._push(repository, reference, digest, staged.media_type, staged.data)
        self._count(len(staged.data))

    def _push(self, repository: str, reference: str, digest: str, media_type: str, data: bytes) -> None:
        answer = self._client.request(
            "PUT",
            repository,
            f"manifests/{reference}",
            expect=(201,),
            headers={"Content-Type": media_type},
            data=data,
        )
        told = answer.headers.get(_DIGEST_HEADER, digest)
        if told != digest:
            raise SiteError(
                f"the registry took {repository} {digest} for {told}",
                hint="it changes manifests, which breaks every pinned digest: use a registry that keeps their bytes",
            )

    def _manifest(self, repository: str, reference: str) -> tuple[str, bytes] | None:
        """Media type and bytes of the manifest that `reference` leads to; None when there is none."""
        answer = self._client.request(
            "GET", repository, f"manifests/{reference}", expect=(200, 404), headers={"Accept": _ACCEPT}, stream=True
        )
        with answer:
            if answer.status_code == 404:
                return None
            data = b""
            for chunk in answer.iter_content(1 << 16):
                data += chunk
                if len(data) > _MANIFEST_LIMIT:
                    raise SiteError(
                        f"the registry's manifest {repository} {reference} is larger than {_MANIFEST_LIMIT} bytes",
                        hint="see what keeps it: no image's manifest is as large",
                    )
            return answer.headers.get("Content-Type", ""), data

    def _has_blob(self, repository: str, digest: str) -> bool:
        # 307: a registry that keeps blobs elsewhere and sends its clients there has it.
        answer = self._client.request("HEAD", repository, f"blobs/{digest}", expect=(200, 302, 307, 404))
        return answer.status_code != 404

    def _digest(self, repository: str, reference: str) -> str | None:
        """Digest of the manifest that `reference` leads to; None when there is none."""
        answer = self._client.request(
            "HEAD", repository, f"manifests/{reference}", expect=(200, 404), headers={"Accept": _ACCEPT}
        )
        return answer.headers.get(_DIGEST_HEADER) if answer.status_code == 200 else None

    def _delete(self, repository: str, reference: str, *, expect: Collection[int]) -> int:
        answer = self._client.request(
            "DELETE", repository, f"manifests/{reference}", expect=expect, actions="pull,push,delete"
        )
        return answer.status_code

    def _deletes(self, repository: str) -> bool:
        """Whether the registry deletes at all: it is asked to delete what nobody has."""
        if self._delete(repository, _NOBODYS, expect=(202, 404, 400, 401, 403, 405)) in (202, 404):
            return True
        log.warning("the registry deletes nothing: what was pushed to %s stays there", repository)
        return False

    def _count(self, sent: int) -> None:
        with self._lock:
            self.bytes_written += sent
            self.objects_written += 1


def discard_uploads(storage: Path) -> None:
    """Delete what broken uploads left in `storage`, the folder of a distribution registry that nobody pushes to now.

    Distribution itself does so after a week (`storage.maintenance.uploadpurging`), which a full disk cannot wait for.
    The folder is the registry's user's: no link in it is followed, whenever it is put there.
    """
    with suppress(OSError), parent_of(storage.resolve(), _REPOSITORIES, make=False) as (parent, name):
        for folder, sessions, _, at in os.fwalk(name, dir_fd=parent):
            if Path(folder).name == "_uploads":
                for session in tuple(sessions):
                    shutil.rmtree(session, ignore_errors=True, dir_fd=at)
                sessions.clear()


@dataclass(frozen=True, slots=True)
class RegistryState:
    """What nodes get before a commit: where its tags lead (repository, tag, digest), and which manifests are absent."""

    tags: tuple[tuple[str, str, str | None], ...] = ()
    absent: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _Staged:
    """A manifest that waits for the commit."""

    media_type: str
    data: bytes
    tags: set[str] = field(default_factory=set)
    rank: int = 0


class _Body:
    """An object as a request's body. Requests sends Content-Length because it has a length; each try reads it anew."""

    def __init__(self, obj: Object, content: Content) -> None:
        self._obj = obj
        self._content = content

    def __len__(self) -> int:
        return self._obj.size

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._content.stream(self._obj)
        except OSError as error:  # else it would look like the connection's failure
            raise BundleError(
                f"cannot read {self._obj.path} from the bundle: {error.strerror}", hint="see the medium it lies on"
            ) from error
