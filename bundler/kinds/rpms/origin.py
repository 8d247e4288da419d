"""A repository of the profile, opened for one target: its table of contents, and its metadata as scratch files."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.errors import ResolveError, TrustError
from bundler.kinds.rpms.keys import Keyring, takes_sha1
from bundler.kinds.rpms.metadata import RepoMetadata
from bundler.kinds.rpms.openpgp import Keys, SignatureError
from bundler.kinds.rpms.records import COMPS, fetch_first, read_if_there
from bundler.kinds.rpms.repodata import Repomd, open_repository
from bundler.kinds.rpms.spec import Repository
from bundler.model.target import Target

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Origin:
    """`folder` is the repository's place in the bundle, `scratch` one for its metadata, gone after resolve."""

    repo: Repository
    target: Target
    folder: str
    repomd: Repomd
    metadata: RepoMetadata
    scratch: Path

    @property
    def what(self) -> str:
        return f"repository {self.repo.id} for {self.target}"


def open_origin(repo: Repository, target: Target, folder: str, keyring: Keyring, upstream: Upstream) -> Origin:
    """Find `repo` as `target` sees it and fetch its metadata.

    Raises ResolveError, FetchError, IntegrityError; TrustError when its repomd.xml is not signed as it should be.
    """
    what = f"repository {repo.id} for {target}"
    log.info("rpms: reading %s", what)
    if repo.gpgcheck is None and not repo.gpgkey:
        log.warning(
            "%s has no gpgkey: nodes will take its packages unchecked (`gpgcheck: false` says it is meant)", what
        )
    repomd = open_repository(
        upstream,
        what,
        url=repo.url and target.fill_in(repo.url),
        metalink=repo.metalink and target.fill_in(repo.metalink),
        mirrorlist=repo.mirrorlist and target.fill_in(repo.mirrorlist),
    )
    if repo.repo_gpgcheck or (repo.repo_gpgcheck is None and repo.checked):
        _check_signature(repomd, repo, target, what, keyring, upstream)
    scratch = Path(tempfile.mkdtemp(prefix="rpms-", dir=upstream.scratch))
    metadata = _fetch(repomd, repo.id, scratch, upstream, what, repo.priority, repo.module_hotfixes)
    return Origin(repo, target, folder, repomd, metadata, scratch)


def _check_signature(
    repomd: Repomd, repo: Repository, target: Target, what: str, keyring: Keyring, upstream: Upstream
) -> None:
    """See that repomd.xml.asc, where it has to be or is, is a signature of repomd.xml by one of the `gpgkey`s."""
    signature = read_if_there(f"{repomd.root}repodata/repomd.xml.asc", upstream)
    if signature is None and not repo.repo_gpgcheck:
        return
    keys = Keys((keyring.content(target.fill_in(key)) for key in repo.gpgkey), sha1=takes_sha1(target))
    try:
        if signature is None:
            raise SignatureError("is missing: there is no repomd.xml.asc")
        keys.verify(signature, [repomd.data])
    except SignatureError as error:
        raise TrustError(
            f"{what}: the signature of its repomd.xml {error}",
            hint="name the key that signs its metadata in its `gpgkey` too, once you trust it; or say `repo_gpgcheck: "
            "false`, and only its packages are checked",
        ) from None


def open_installed(address: str, target: Target, upstream: Upstream) -> RepoMetadata | None:
    """The repository that stands for what nodes have, or None where the profile says `none`."""
    if address == "none":
        return None
    what = f"assume_installed for {target}"
    repomd = open_repository(upstream, what, url=target.fill_in(address), metalink=None, mirrorlist=None)
    scratch = Path(tempfile.mkdtemp(prefix="rpms-", dir=upstream.scratch))
    return _fetch(repomd, "installed", scratch, upstream, what)


def _fetch(
    repomd: Repomd,
    id_: str,
    scratch: Path,
    upstream: Upstream,
    what: str,
    priority: int = 99,
    module_hotfixes: bool = False,
) -> RepoMetadata:

    def fetch(*types: str) -> Path | None:
        return fetch_first(upstream, repomd, types, scratch, what)

    def needed(type_: str) -> Path:
        found = fetch(type_)
        if found is None:
            raise ResolveError(
                f"{what}: {repomd.records[type_].path} is not there, though its repomd.xml lists it",
                hint="the repository is broken or changing just now: run it again later, or name another mirror",
            )
        return found

    return RepoMetadata(
        id=id_,
        primary=needed("primary"),
        filelists=needed("filelists") if "filelists" in repomd.records else None,
        comps=fetch(*COMPS),
        modules=fetch("modules"),
        priority=priority,
        module_hotfixes=module_hotfixes,
    )
