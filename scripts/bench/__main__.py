"""`make bench`: bundler beside the chain of tools that people use in its place, on one machine and the same data.

    python -m scripts.bench [--small] [--rounds N] [--only WORK]… [--json FILE]

Prints a table and writes a JSON file. What is made (about 3 GB of data, and as much again for each side) is kept under
.cache/bench, and taken again the next time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from scripts.bench.data import make
from scripts.bench.works import Bench, Row, growth, resolve

_CACHE = Path(".cache/bench")
_WORKS = ("build", "verify", "install", "look", "resolve", "far", "growth")
_FAR = 0.05  # seconds
_RATE = 20 << 20  # bytes a second and connection


def _rows(names: Iterable[str], scale: float, rounds: int) -> Iterator[Row]:
    work = _CACHE.absolute() / "work"
    work.mkdir(parents=True, exist_ok=True)
    bench = Bench(make(_CACHE / f"scale-{scale:g}", scale), work, rounds)
    for name in names:
        match name:
            case "build":
                yield from bench.build()
            case "verify":
                yield from bench.verify()
            case "install":
                yield from bench.install()
            case "look":
                yield from bench.look()
            case "resolve":
                yield from resolve(Path("../shared").absolute(), work, max(3, rounds))
            case "far":
                quarter = Bench(make(_CACHE / "scale-0.25", 1 / 4), work / "far", rounds)
                yield from quarter.build(latency=_FAR, rate=_RATE)
            case "growth":
                yield from growth(_CACHE, work, (1 / 16, 1 / 4, 1) if scale == 1 else (1 / 64, 1 / 16))


def _line(row: Row, first: Row) -> str:
    m = row.measured
    times = m.seconds / first.measured.seconds
    if row.work.startswith("growth"):  # of the time that a byte takes
        times *= first.size / row.size
    ratio = f"{times:6.2f}" if row is not first else "      "
    written = f"{m.written / row.size:7.2f}" if row.size else "       "
    return (
        f"{row.work:<26} {row.side:<12} {m.seconds:8.2f} s {ratio} {m.memory / (1 << 20):8.0f} MiB {written} "
        f"{m.disk / (1 << 20):8.0f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a sixteenth of the data")
    parser.add_argument("--rounds", type=int, default=3, help="of each comparison; medians are told")
    parser.add_argument("--only", action="append", choices=_WORKS, help="these alone; `verify` and others need `build`")
    parser.add_argument("--json", type=Path, default=_CACHE / "bench.json", help="where the figures go")
    options = parser.parse_args()
    rows: list[Row] = []
    print(f"{'work':<26} {'side':<12} {'time':>10} {'ratio':>6} {'memory':>12} {'written':>7} {'disk':>12}")
    for row in _rows(options.only or _WORKS, 1 / 16 if options.small else 1, options.rounds):
        rows.append(row)
        print(_line(row, next(each for each in rows if each.work == row.work)), flush=True)
        options.json.write_text(json.dumps([asdict(each) for each in rows], indent=1) + "\n")
    print("\nratio: to the first side of the time, where data grows of the time for a byte; written: bytes, in bundles")
    print(f"{options.json} has the figures")


if __name__ == "__main__":
    main()
