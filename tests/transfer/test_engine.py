"""Whatever an upstream does, the bundle ends up right, or bundler ends with an error that says what to do."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest

from bundler.bundle.documents import describe
from bundler.bundle.reader import Bundle
from bundler.bundle.writer import Writer
from bundler.errors import BundlerError, FetchError, IntegrityError
from bundler.model.config import Config, Retries
from bundler.model.items import Download, Item, Object
from bundler.model.lock import Lock
from bundler.transfer import engine
from bundler.transfer.store import Store
from bundler.transfer.upstream import Upstream
from tests.fakes.upstream import Fault, Seen, sha256
from tests.fakes.upstream import Upstream as Server

DATA = random.Random(5).randbytes(3 << 20)
HALF = len(DATA) // 2


def lock_of(*objects: Object) -> Lock:
    return Lock("demo", "1", "0" * 64, (Item("files", "x", "1", objects),))


def obj_at(url: str, data: bytes = DATA, name: str = "x") -> Object:
    return Object(f"files/{name}", len(data), sha256(data), Download(url))


def run(target: Path, outside: Upstream, *objects: Object, jobs: int = 4) -> None:
    """A build of `objects` at `target`, verified."""
    manifest, documents = describe(lock_of(*objects))
    with Writer(target, manifest, documents) as writer:
        engine.fetch(writer.pending(), writer, outside, jobs=jobs)
        writer.commit()
    with Bundle(target) as bundle:
        bundle.verify(jobs=1)


def ranges(seen: list[Seen]) -> list[str | None]:
    return [request.headers.get("Range") for request in seen if request.method == "GET"]


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([Fault(status=500), Fault(status=503)], id="5xx"),
        pytest.param([Fault(status=429, headers={"Retry-After": "0"})], id="429"),
        pytest.param([Fault(cut_at=0), Fault(cut_at=0)], id="nothing sent"),
        pytest.param([Fault(cut_at=HALF)], id="truncated"),
        pytest.param([Fault(reset_at=HALF)], id="reset"),
        pytest.param([Fault(cut_at=HALF), Fault(ignore_range=True)], id="no ranges"),
        pytest.param([Fault(body=bytes(len(DATA)))], id="wrong bytes once"),
        # Each of these brings a little: patience is counted in tries without progress.
        pytest.param([Fault(cut_at=100_000)] * 10, id="ten cuts"),
    ],
)
def test_a_passing_fault_is_passed(tmp_path: Path, server: Server, outside: Upstream, faults: list[Fault]) -> None:
    run(tmp_path / "demo-1.tar", outside, obj_at(server.put("/x", DATA, *faults)))


def test_a_cut_transfer_goes_on_where_it_stopped(tmp_path: Path, server: Server, outside: Upstream) -> None:
    url = server.put("/x", DATA, Fault(cut_at=HALF))
    run(tmp_path / "demo-1.tar", outside, obj_at(url))
    assert ranges(server.seen) == [None, f"bytes={HALF}-"]
    assert server.sent == len(DATA)


def test_retry_after_is_waited_for(tmp_path: Path, server: Server, outside: Upstream) -> None:
    url = server.put("/x", DATA, Fault(status=429, headers={"Retry-After": "1"}))
    started = time.monotonic()
    run(tmp_path / "demo-1.tar", outside, obj_at(url))
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize(
    ("faults", "error", "words"),
    [
        ([Fault(status=404)], FetchError, ["404", "no longer"]),
        ([Fault(status=403)], FetchError, ["403", "credentials"]),
        ([Fault(status=401)], FetchError, ["401", "log-in"]),
        ([Fault(status=500)] * 3, FetchError, ["500", "3 tries", "run it again"]),
        ([Fault(cut_at=0)] * 3, FetchError, ["3 tries", "run it again"]),
        (
            [Fault(body=b"<!DOCTYPE html><p>Please log in", content_type="text/html")],
            FetchError,
            ["HTML page", "proxy"],
        ),
        ([Fault(body=bytes(len(DATA)))] * 2, IntegrityError, [sha256(DATA), "changed the file"]),
        ([Fault(body=DATA + b"more")], IntegrityError, [str(len(DATA) + 4), "changed the file"]),
    ],
)
def test_a_lasting_fault_names_the_object_its_url_and_the_remedy(
    tmp_path: Path,
    server: Server,
    outside: Upstream,
    faults: list[Fault],
    error: type[BundlerError],
    words: list[str],
) -> None:
    url = server.put("/x", DATA, *faults)
    with pytest.raises(error) as caught:
        run(tmp_path / "demo-1.tar", outside, obj_at(url))
    told = f"{caught.value.message}\n{caught.value.hint}"
    assert caught.value.message.startswith("fetch files/x: ")
    assert all(word in told for word in [url, *words]), told
    assert not (tmp_path / "demo-1.tar").exists()


def test_nobody_listening_is_an_error_that_says_so(tmp_path: Path, outside: Upstream) -> None:
    with pytest.raises(FetchError, match="Connection refused"):
        run(tmp_path / "demo-1.tar", outside, obj_at("http://127.0.0.1:9/x"))


def test_an_error_stops_the_others_and_keeps_what_they_have(tmp_path: Path, server: Server, outside: Upstream) -> None:
    good = [obj_at(server.put(f"/{n}", DATA), name=str(n)) for n in range(4)]
    bad = obj_at(server.put("/bad", b"x", Fault(status=404)), b"x", "bad")
    target = tmp_path / "demo-1.tar"
    with pytest.raises(FetchError):
        run(target, outside, *good, bad, jobs=1)
    before = server.sent
    server.put("/bad", b"x")
    run(target, outside, *good, bad)
    assert server.sent - before == 1  # all but the bad one had been fetched: the largest go first


def test_a_stalled_upstream_is_given_up(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = Config(retries=Retries(attempts=1, timeout=0.3))
        with Upstream(config, base=tmp_path, store=Store(tmp_path / "s")) as outside, pytest.raises(FetchError):
            run(tmp_path / "demo-1.tar", outside, obj_at(f"http://127.0.0.1:{silent.getsockname()[1]}/x"))


def test_hundreds_of_objects_arrive_in_parallel(tmp_path: Path, server: Server, outside: Upstream) -> None:
    chance = random.Random(9)
    contents = {str(n): chance.randbytes(chance.randrange(0, 30_000)) for n in range(300)}
    faults = [Fault(), Fault(status=503), Fault(cut_at=10)]
    objects = [
        obj_at(server.put(f"/{name}", data, faults[int(name) % 3]), data, name) for name, data in contents.items()
    ]
    run(tmp_path / "demo-1.tar", outside, *objects, jobs=16)
    assert threading.active_count() < 40


def test_local_files_and_made_bytes_take_the_same_way(tmp_path: Path, outside: Upstream) -> None:
    (tmp_path / "local.bin").write_bytes(DATA)
    made = outside.keep("files/made", b"made here", mode=0o755)
    run(tmp_path / "demo-1.tar", outside, outside.local_object("files/local", "local.bin"), made)
