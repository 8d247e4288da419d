"""Whatever an upstream does, the bundle ends up right, or bundler ends with an error that says what to do."""

from __future__ import annotations

import os
import random
import signal
import socket
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
from tests.fakes.upstream import Fault, sha256
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
        engine.fetch(writer.pending(), writer, outside, jobs=jobs, stop=threading.Event())
        writer.commit()
    with Bundle(target) as bundle:
        bundle.verify(jobs=1)


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
        pytest.param([Fault(stall_at=HALF)], id="stalled"),
        pytest.param([Fault(pause=0.01)], id="slow"),
        pytest.param([Fault(chunked=True)], id="no length"),
        pytest.param([Fault(chunked=True, cut_at=HALF)], id="truncated, no length"),
        pytest.param([Fault(body=DATA + b"more")], id="too large once"),
        pytest.param([Fault(body=DATA + b"more", chunked=True)], id="too large once, no length"),
        pytest.param([Fault(body=DATA[:-1])], id="too small once"),
        pytest.param([Fault(cut_at=HALF), Fault(back_up=100)], id="a range that begins too early"),
        pytest.param([Fault(cut_at=HALF), Fault(status=416)], id="a range refused"),
        pytest.param([Fault(status=503, headers={"Retry-After": "\xb2"})], id="no number"),
        pytest.param([Fault(status=503, headers={"Retry-After": "9" * 400})], id="no number of seconds"),
        pytest.param([Fault(status=503, headers={"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"})], id="past"),
    ],
)
def test_a_passing_fault_is_passed(tmp_path: Path, server: Server, outside: Upstream, faults: list[Fault]) -> None:
    run(tmp_path / "demo-1.tar", outside, obj_at(server.put("/x", DATA, *faults)))


def test_a_cut_transfer_goes_on_where_it_stopped(tmp_path: Path, server: Server, outside: Upstream) -> None:
    url = server.put("/x", DATA, Fault(cut_at=HALF))
    run(tmp_path / "demo-1.tar", outside, obj_at(url))
    assert server.ranges() == [None, f"bytes={HALF}-"]
    assert server.sent == len(DATA)


def test_a_range_is_of_the_version_that_was_begun(tmp_path: Path, server: Server, outside: Upstream) -> None:
    url = server.put("/x", DATA, Fault(cut_at=HALF, headers={"ETag": '"old"'}, body=bytes(len(DATA))))
    server.etags["/x"] = '"new"'
    run(tmp_path / "demo-1.tar", outside, obj_at(url))
    assert [request.headers.get("If-Range") for request in server.seen] == [None, '"old"']
    assert server.sent == HALF + len(DATA)


def test_a_weak_etag_names_no_bytes(tmp_path: Path, server: Server, outside: Upstream) -> None:
    url = server.put("/x", DATA, Fault(cut_at=HALF, headers={"ETag": 'W/"old"'}))
    run(tmp_path / "demo-1.tar", outside, obj_at(url))
    assert "If-Range" not in server.seen[1].headers


def test_what_comes_again_and_again_is_no_progress(tmp_path: Path, server: Server, outside: Upstream) -> None:
    url = server.put("/x", DATA, *[Fault(cut_at=HALF, ignore_range=True)] * 50)
    with pytest.raises(FetchError, match="3 tries"):
        run(tmp_path / "demo-1.tar", outside, obj_at(url))
    assert len(server.seen) == 3


def test_no_wait_is_longer_than_the_ceiling(tmp_path: Path, server: Server) -> None:
    url = server.put("/x", DATA, Fault(status=429, headers={"Retry-After": "3600"}))
    config = Config(retries=Retries(attempts=2, backoff=0, ceiling=0.2))
    started = time.monotonic()
    with Upstream(config, base=tmp_path, store=Store(tmp_path / "s")) as outside:
        run(tmp_path / "demo-1.tar", outside, obj_at(url))
    assert 0.2 <= time.monotonic() - started < 2


def test_wrong_bytes_of_an_earlier_run_are_fetched_anew(tmp_path: Path, server: Server, outside: Upstream) -> None:
    obj = obj_at(server.put("/x", DATA, Fault(body=bytes(len(DATA)), cut_at=HALF), *[Fault(status=500)] * 3))
    with pytest.raises(FetchError):
        run(tmp_path / "demo-1.tar", outside, obj)
    run(tmp_path / "demo-1.tar", outside, obj)
    assert server.ranges()[-2:] == [f"bytes={HALF}-", None]


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
        ([Fault(body=bytes(len(DATA)))] * 2, IntegrityError, [sha256(DATA), "re-published the file"]),
        ([Fault(body=DATA + b"more")] * 2, IntegrityError, [str(len(DATA) + 4), "re-published the file"]),
        ([Fault(body=DATA + b"more", chunked=True)] * 2, IntegrityError, ["sends more", "re-published the file"]),
        (
            [Fault(body=b"\n<head><title>Portal</title>", content_type="text/html; charset=utf-8", chunked=True)],
            FetchError,
            ["HTML page"],
        ),
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


def test_what_calls_itself_a_page_and_is_none_is_taken(tmp_path: Path, server: Server, outside: Upstream) -> None:
    xml = b'<?xml version="1.0"?><repomd/>'
    objects = [
        obj_at(server.put(f"/{name}", data, Fault(content_type="text/html")), data, name)
        for name, data in (("binary", DATA), ("repomd.xml", xml), ("page.html", b"<html>"))
    ]
    run(tmp_path / "demo-1.tar", outside, *objects)


def test_an_interrupt_ends_it_and_keeps_what_there_is(tmp_path: Path, server: Server, outside: Upstream) -> None:
    obj = obj_at(server.put("/x", DATA, Fault(pause=0.05)))
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "demo-1.tar", outside, obj)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("transfer")]
    run(tmp_path / "demo-1.tar", outside, obj)
    assert str(server.ranges()[-1]).startswith("bytes=")


def test_an_error_stops_a_transfer_in_its_middle(tmp_path: Path, server: Server, outside: Upstream) -> None:
    slow = obj_at(server.put("/slow", DATA * 4, Fault(pause=0.05)), DATA * 4, "slow")
    bad = obj_at(server.put("/bad", b"x", Fault(status=404)), b"x", "bad")
    with pytest.raises(FetchError, match="files/bad"):
        run(tmp_path / "demo-1.tar", outside, slow, bad)
    assert server.sent < len(DATA) * 4


def test_a_stalled_upstream_is_given_up(tmp_path: Path) -> None:
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


def test_a_local_file_that_changed_is_an_error(tmp_path: Path, outside: Upstream) -> None:
    (tmp_path / "local.bin").write_bytes(DATA)
    obj = outside.local_object("files/local", "local.bin")
    for changed in (DATA[:-1], DATA + b"x", bytes(len(DATA))):
        (tmp_path / "local.bin").write_bytes(changed)
        with pytest.raises(IntegrityError, match=r"from local\.bin"):
            run(tmp_path / "demo-1.tar", outside, obj)


def test_an_empty_file_arrives_unasked(tmp_path: Path, server: Server, outside: Upstream) -> None:
    run(tmp_path / "demo-1.tar", outside, obj_at(server.put("/x", b""), b""))
    assert server.seen == []
