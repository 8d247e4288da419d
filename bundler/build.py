"""From a profile to a bundle: resolve, lay out, transfer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ValidationError

from bundler import __version__
from bundler.bundle.content import Completed
from bundler.bundle.delta import Delta
from bundler.bundle.documents import describe
from bundler.bundle.manifest import Manifest
from bundler.bundle.reader import Bundle
from bundler.bundle.receipt import Receipt
from bundler.bundle.standing import with_other_content
from bundler.bundle.writer import Arriving, Writer
from bundler.errors import BundleError, FetchError, IntegrityError, ProfileError
from bundler.files import read_small, write_file
from bundler.kinds import KINDS
from bundler.kinds.base import Kind
from bundler.meanwhile import every
from bundler.model.config import Config
from bundler.model.contents import SIZE_LIMIT
from bundler.model.items import Item, Json
from bundler.model.lock import Lock
from bundler.model.profile import Profile, joined
from bundler.progress import Progress
from bundler.proof import incomplete, prove
from bundler.recipes import RECIPES
from bundler.remembered import forget, resolved
from bundler.transfer import engine
from bundler.transfer.fetched import Fetched
from bundler.transfer.notes import Notes
from bundler.transfer.retry import Stopped
from bundler.transfer.store import Store
from bundler.transfer.upstream import Upstream

logger = logging.getLogger(__name__)

_FLUSHED_EVERY = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class LockFile:
    """A lock on disk. Beside `NAME.lock.json` lies `NAME.lock.d`, the store of the bytes that were made for it."""

    path: Path

    @property
    def store(self) -> Store:
        return Store(self.path.with_name(f"{self.path.name.removesuffix('.json')}.d"))

    @property
    def notes(self) -> Notes:
        """What was found out about this lock and its bundles, in this user's cache."""
        return Notes(self.path)

    def fetched(self, name: str) -> Path:
        """The document that says which files of the bundle `name` came from elsewhere than their sources say."""
        return self.path.with_name(f"{name}.fetched.json")

    def read(self) -> Lock:
        """Raises ProfileError when it cannot be read, BundleError when it is no lock."""
        try:
            return Lock.from_bytes(read_small(self.path, SIZE_LIMIT), str(self.path))
        except OSError as error:
            raise ProfileError(
                f"cannot read the lock {self.path}: {error.strerror}", hint="make it with `bundler lock PROFILE`"
            ) from None

    def write(self, lock: Lock) -> None:
        """Have `lock` in the file, replaced in one step."""
        data = lock.to_bytes()
        with suppress(OSError):
            if read_small(self.path, len(data)) == data:
                return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_file(self.path, data)


def expand(profile: Profile, upstream: Upstream) -> tuple[Profile, list[Item]]:
    """`profile` in the words of the kinds alone, and an item for each recipe that it had."""
    sections: dict[str, Json] = {
        name: spec.model_dump(mode="json", by_alias=True, exclude_unset=True) for name, spec in profile.sections.items()
    }
    items = []
    for recipe in RECIPES:
        if (spec := profile.recipes.get(recipe.name)) is not None:
            logger.info("expanding %s", recipe.name)
            expansion = recipe.expand(spec, profile.targets, upstream)
            sections = joined(sections, expansion.sections)
            items.append(expansion.item)
    specs = {kind.name: _validated(kind, sections[kind.name]) for kind in KINDS if kind.name in sections}
    return replace(profile, sections=specs, recipes={}), items


def _validated(kind: Kind, section: Json) -> BaseModel:
    try:
        return kind.spec.model_validate(section)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in (kind.name, *first["loc"]))
        raise ProfileError(
            f"{place}: {first['msg'].removeprefix('Value error, ')}, once the profile's recipes are expanded",
            hint="`bundler plan --expand` shows what each recipe adds; change the section it is joined to",
        ) from None


def resolve(profile: Profile, upstream: Upstream) -> Lock:
    """What the profile's words mean at its upstreams today. Only metadata is fetched."""
    plain, items = expand(profile, upstream)

    def one(kind: Kind) -> tuple[Item, ...]:
        logger.info("resolving %s", kind.name)
        return resolved(kind.name, kind.resolve, plain.sections[kind.name], plain.targets, upstream)

    # Side by side: each waits for other servers, and for programs of its own. An error, or Ctrl-C, stops them all.
    wanted = [kind for kind in KINDS if kind.name in plain.sections]
    pool = ThreadPoolExecutor(len(wanted) or 1, thread_name_prefix="resolve")
    running = [pool.submit(one, kind) for kind in wanted]
    try:
        _, left = wait(running, return_when=FIRST_EXCEPTION)
        if left:
            upstream.stopped.set()
            wait(left)
    except BaseException:
        upstream.stopped.set()
        pool.shutdown(wait=False)
        raise
    pool.shutdown()
    for error in (each.exception() for each in running):
        if error is not None and not isinstance(error, Stopped):
            raise error
    items += [item for each in running for item in each.result()]
    lock = Lock(profile.name, profile.version, profile.sha256, tuple(items), profile.targets)
    logger.info("resolved %d items: %d bytes", len(items), sum(obj.size for obj in lock.objects))
    return lock


def lock_profile(profile: Profile, base: Path, file: LockFile, config: Config) -> Lock:
    """Resolve `profile`, whose relative paths start at `base`; what is made for it goes into the store of `file`."""
    file.path.parent.mkdir(parents=True, exist_ok=True)
    with Upstream(config, base=base, store=file.store, notes=file.notes) as upstream:
        return resolve(profile, upstream)


def build(
    lock: Lock,
    base: Path,
    file: LockFile,
    folder: Path,
    *,
    config: Config,
    reuse: Sequence[Path],
    progress: Progress,
    since: Receipt | None = None,
    allow_incomplete: bool = False,
    replace: bool = False,
) -> Path:
    """Make the bundle of `lock` in `folder`: every byte is written once, at its final place. Returns its path.

    The lock goes into `file`. An interrupted build goes on where it stopped. Bundles in `reuse`, and the one that
    stands at the target already, give what they have; the rest is fetched. What the receipt `since` names is left out:
    NAME-VERSION.delta.tar.

    Raises ProfileError when the folder has different content under that name and version; with `replace` that goes, and
    its volumes, delta and signature, once the new bundle is whole. Raises IncompleteError, and gives it no name, when
    it could not be installed; `allow_incomplete` warns instead.
    """
    manifest, documents = describe(lock)
    folder.mkdir(parents=True, exist_ok=True)
    others = with_other_content(folder, manifest)
    if others and not replace:
        raise ProfileError(
            f"{others[0].path} is {manifest.name} {manifest.version} with different content: its id is {others[0].id}, "
            f"and would be {manifest.id} now",
            hint="raise `version` in the profile, or build into another folder (-o); --replace gives up what is there",
        )
    file.write(lock)
    delta = Delta.of(manifest, since.id, since.objects) if since else None
    target = folder / f"{manifest.folder}{'.delta' if delta else ''}.tar"
    with Upstream(config, base=base, store=file.store, notes=file.notes) as upstream:
        if _stands(target, manifest, delta, file.notes, config.jobs, progress):
            logger.info("%s is complete already: nothing was fetched", target)
            _prove(target, manifest, upstream, allow_incomplete=allow_incomplete)
            return target
        with Writer(target, manifest, documents, progress, delta) as writer:
            proof = partial(_prove, writer.part, manifest, upstream, writer, allow_incomplete=allow_incomplete)
            try:
                _fill_and_prove(writer, proof, target, reuse, upstream, progress)
            except (FetchError, IntegrityError):
                forget(file.notes)
                raise
            finally:
                upstream.places.write(file.fetched(manifest.folder), lock.objects)
            for other in others:
                other.give_way(target)
            writer.commit()
        file.notes.remember(*_whole(target, manifest))
        return target


def _fill_and_prove(
    writer: Writer,
    proof: Callable[[], None],
    target: Path,
    reuse: Sequence[Path],
    upstream: Upstream,
    progress: Progress,
) -> None:
    """Bring every object to its place and, meanwhile, have `proof` see whether the bundle could be installed.

    The proof waits for the bytes that it reads, most of which are the first to come. What it finds ends the transfer,
    and so does a disk that fails.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="prove") as pool, every(_FLUSHED_EVERY, writer.flush) as flushing:
        proving = pool.submit(proof)
        for beside in (proving, flushing):
            beside.add_done_callback(lambda ended: stop.set() if ended.exception() else None)
        try:
            _fill(writer, target, reuse, upstream, progress, stop)
            if flushing.done():
                flushing.result()
            proving.result()
        finally:
            writer.give_up()


def _fill(
    writer: Writer, target: Path, reuse: Sequence[Path], upstream: Upstream, progress: Progress, stop: threading.Event
) -> None:
    """Bring every object to its place: from the bundles in `reuse` and at `target`, and from upstream."""
    progress.start("building", writer.payload_size)
    progress.advance(writer.payload_size - writer.missing())
    for path in reuse:
        with Bundle(path) as old:
            writer.reuse(old)
    if target.exists():
        with suppress(BundleError, IntegrityError), Bundle(target) as old:
            writer.reuse(old)
    engine.fetch(writer.pending(), writer, upstream, jobs=upstream.config.jobs, stop=stop)
    progress.finish()


def _prove(
    path: Path,
    manifest: Manifest,
    upstream: Upstream,
    writer: Writer | None = None,
    *,
    allow_incomplete: bool,
) -> None:
    """Raise IncompleteError when the bundle at `path`, with that manifest, could not be installed, or warn of it.

    While a `writer` is at work on it, what is read of it is waited for. What was proved of the same manifest, with all
    that it names, stays true of it, and is noted.
    """
    note = f"{manifest.id} {__version__}".encode()
    if upstream.notes.recall("proved") == note:
        return
    with Bundle(path, known=manifest) as bundle:
        carried = Arriving(writer, bundle) if writer else bundle
        left_out = frozenset(obj.path for obj in bundle.layout.left_out)
        problems = prove(manifest, Completed(carried, left_out, Fetched(upstream)), str(path))
    origin = f"{manifest.name} {manifest.version}"
    if problems and not allow_incomplete:
        raise incomplete(origin, problems, hint="fix the profile, or build it all the same with --allow-incomplete")
    for problem in problems:
        logger.warning("%s is incomplete: %s", origin, problem)
    if not problems and not left_out:
        upstream.notes.remember("proved", note)


def _stands(target: Path, manifest: Manifest, delta: Delta | None, notes: Notes, jobs: int, progress: Progress) -> bool:
    """Whether the very bundle lies at `target`, undamaged: as it was written, or as it was when it was last read."""
    if not target.exists():
        return False
    try:
        with Bundle(target, progress, known=manifest) as bundle:
            if (bundle.manifest.id, bundle.delta) != (manifest.id, delta):
                return False
            name, stamp = _whole(target, manifest)
            if notes.recall(name) == stamp:
                return True
            progress.start("checking", bundle.unchecked())
            bundle.verify(jobs=jobs)
            progress.finish()
            notes.remember(name, stamp)
            return True
    except (BundleError, IntegrityError) as error:
        logger.warning("%s; it is built again", error.message)
        return False


def _whole(target: Path, manifest: Manifest) -> tuple[str, bytes]:
    """The note that the file is whole, and what tells it from one that was written to since: nothing sets its time of
    change at will."""
    state = target.stat()
    stamp = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    return f"whole-{target.name}", f"{manifest.id} {stamp}".encode()
