"""The comparisons: for each, what is done by turns, and what of it is told."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from scripts.bench import bundler_side, peers
from scripts.bench.bundler_side import COMMAND, Bundler
from scripts.bench.chain import Chain
from scripts.bench.data import Data, make, registry
from scripts.bench.measure import Measured, descendants, measure, run
from scripts.bench.upstream import Upstream, upstream
from scripts.demo.hosts import program
from scripts.demo.servers import free_port, server

Turn = Callable[[], Measured]


@dataclass(frozen=True)
class Row:
    """Medians of one side of a comparison over some rounds; `size` is the bytes of the bundle it was about."""

    work: str
    side: str
    measured: Measured
    size: int


def by_turns(work: str, sides: dict[str, Turn], rounds: int, size: Callable[[], int]) -> Iterator[Row]:
    """Each side once a round, the first one changing; gives the medians."""
    found: dict[str, list[Measured]] = {side: [] for side in sides}
    for number in range(rounds):
        order = list(sides) if number % 2 == 0 else list(reversed(sides))
        for side in order:
            found[side].append(sides[side]())
    for side, measured in found.items():
        seconds, *rest = (statistics.median(each) for each in zip(*map(astuple, measured), strict=True))
        yield Row(work, side, Measured(seconds, *map(round, rest)), size())


class Bench:
    """The comparisons over `data` in the folder `work`."""

    def __init__(self, data: Data, work: Path, rounds: int) -> None:
        self.data, self.work, self.rounds = data, work, rounds
        self.bundler = Bundler(data, work / "bundler")
        self.chain = Chain(data, work / "chain")

    def build(self, *, latency: float = 0, rate: int = 0) -> Iterator[Row]:
        """Cold, and again with nothing changed; from near, or from far away."""
        far = f", {latency * 1000:.0f} ms away" if latency else ""
        with upstream(self.data, self.work / "upstream", latency=latency, rate=rate) as there:

            def ours() -> None:
                self.bundler.build(there)

            def theirs() -> None:
                self.chain.build(there.netloc, there.registry)

            def cold(side: Bundler | Chain, work: Callable[[], object]) -> Measured:
                side.forget()
                return measure(work, self.work)

            yield from by_turns(
                f"build, cold{far}",
                {"bundler": lambda: cold(self.bundler, ours), "chain": lambda: cold(self.chain, theirs)},
                self.rounds,
                self.size,
            )
            if not far:
                again = {"bundler": lambda: measure(ours, self.work), "chain": lambda: measure(theirs, self.work)}
                yield from by_turns("build, nothing changed", again, self.rounds, self.size)

    def install(self) -> Iterator[Row]:
        """Into services that run already."""

        def ours() -> Measured:
            with upstream(self.data, self.work / "upstream") as there:
                return _install(self.bundler, self.work, there)

        def theirs() -> Measured:
            with _their_site(self.work / "site") as (to, names, pids):
                return measure(lambda: self.chain.install(to, *names), self.work, pids)

        yield from by_turns("install", {"bundler": ours, "chain": theirs}, self.rounds, self.size)
        shutil.rmtree(self.work / "site", ignore_errors=True)

    def verify(self) -> Iterator[Row]:
        """Against sha256sum over the unpacked payload, and what the cores can hash; the file is in the page cache."""
        run(["cat", self.bundler.bundle])
        sides: dict[str, Turn] = {
            "bundler": lambda: measure(self.bundler.verify, self.work),
            "sha256sum": lambda: measure(self.chain.sums, self.work),
            "cores": lambda: Measured(self.size() / _hash_rate(), 0, 0, 0),
        }
        yield from by_turns("verify", sides, self.rounds, self.size)

    def look(self) -> Iterator[Row]:
        """What answers at once."""
        sides: dict[str, Turn] = {
            "--help": lambda: measure(lambda: run([*COMMAND, "--help"]), self.work),
            "inspect": lambda: measure(self.bundler.inspect, self.work),
        }
        yield from by_turns("look", sides, max(5, self.rounds), self.size)

    def size(self) -> int:
        """Bytes of the bundle."""
        return self.bundler.bundle.stat().st_size


def growth(folder: Path, work: Path, scales: Sequence[float]) -> Iterator[Row]:
    """bundler alone, at each scale of the data: build, install and verify."""
    for scale in scales:
        bench = Bench(make(folder / f"scale-{scale:g}", scale), work, 1)
        with upstream(bench.data, work / "upstream") as there:
            bench.bundler.forget()
            built = measure(lambda: bench.bundler.build(there), work)  # noqa: B023 - it is called in this round
            installed = _install(bench.bundler, work, there)
        verified = measure(bench.bundler.verify, work)
        for name, measured in (("build", built), ("install", installed), ("verify", verified)):
            yield Row(f"growth, {name}", f"{scale * 16:g}x", measured, bench.size())


def _install(side: Bundler, work: Path, there: Upstream) -> Measured:
    with bundler_side.site(work / "site", there) as (root, pids):
        return measure(lambda: side.install(root), work, pids)


@contextmanager
def _their_site(folder: Path) -> Iterator[tuple[Path, tuple[str, str, Path], tuple[int, ...]]]:
    """docker-registry and devpi-server, empty: a folder to work in, their names and devpi's client, their processes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    here = Path(sys.executable).parent
    port, client = free_port(), _devpi_client(folder.parent / "peers")
    run([here / "devpi-init", "--serverdir", folder / "devpi", "--root-passwd", "bench"])
    argv = [str(here / "devpi-server"), "--serverdir", str(folder / "devpi"), "--port", str(port), "--offline-mode"]
    with ExitStack() as stack:
        images = stack.enter_context(registry(folder)).removeprefix("http://")
        stack.enter_context(server(argv, port=port, log=folder / "devpi.log"))
        url, known = f"http://127.0.0.1:{port}", ["--clientdir", str(folder / "devpi-client")]
        run([client, "use", *known, url])
        run([client, "login", *known, "root", "--password", "bench"])
        run([client, "index", *known, "-c", "prod", "bases="])
        pids = tuple(pid for pid in descendants(os.getpid()) if _name(pid) in ("docker-registry", "devpi-server"))
        yield folder, (images, f"{url}/root/prod", client), pids


def _devpi_client(folder: Path) -> Path:
    """devpi's client, from PyPI, in an environment of its own."""
    client = folder / "bin" / "devpi"
    if not client.exists():
        run([sys.executable, "-m", "venv", folder])
        run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", "devpi-client"])
    return client


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _hash_rate() -> float:
    """Bytes a second that the cores can hash together, by openssl's own measure."""
    cores = os.cpu_count() or 1
    command = [program("openssl"), "speed", "-seconds", "1", "-bytes", "1048576", "-multi", str(cores), "-mr", "sha256"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rates = [line for line in said.splitlines() if line.startswith("+F:")]
    return float(rates[-1].split(":")[-1])


def resolve(shared: Path, work: Path, rounds: int) -> Iterator[Row]:
    """Whole processes on real data: the closure of a Kubespray node's packages, and Kubespray's variables.

    Nothing where there is no test data.
    """
    metadata, tree = shared / "rpm" / "cs9-metadata", shared / "kubespray" / "v2.31.0"
    if not (metadata.is_dir() and tree.is_dir()):
        return
    with peers.repositories(metadata, work / "resolve") as url:
        closure = peers.Closure(url, work / "resolve")
        sides: dict[str, Turn] = {
            "bundler": lambda: measure(closure.bundler, work),
            "dnf, warm": lambda: measure(closure.dnf, work),
        }
        closure.dnf()  # fills its cache
        yield from by_turns("closure of a node", sides, rounds, lambda: 0)
    expansion = peers.Expansion(tree, work / "expand")
    sides = {
        "bundler": lambda: measure(expansion.bundler, work),
        "ansible": lambda: measure(expansion.ansible, work),
    }
    yield from by_turns("kubespray's lists", sides, rounds, lambda: 0)
