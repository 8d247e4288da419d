"""`make fuzz`: each target for its share of the time, two at once. What was found lies in .cache/fuzz/findings.

What atheris learns is kept in .cache/fuzz/<target>, and the next run goes on from there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_FOLDER = Path(".cache") / "fuzz"
_MEMORY, _SLOW = 2048, 20  # MiB, and seconds for one input: more is a finding


def main() -> int:
    arguments = argparse.ArgumentParser(prog="make fuzz ARGS=…", description=__doc__)
    arguments.add_argument("--seconds", type=int, default=3600, help="in all, on all cores together")
    arguments.add_argument("--only", action="append", default=[], help="a target's name; may be given again")
    given = arguments.parse_args()
    found = subprocess.run([sys.executable, "-m", "scripts.fuzz.one"], capture_output=True, text=True, check=True)
    names = [name for name in found.stdout.split() if not given.only or name in given.only]
    cores = os.cpu_count() or 1
    share = max(1, given.seconds * min(cores, len(names)) // len(names))
    (_FOLDER / "findings").mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(cores) as pool:
        codes = dict(zip(names, pool.map(lambda name: _run(name, share), names), strict=True))
    for name, code in codes.items():
        print(f"{name:12} {'nothing found' if code == 0 else f'FOUND something, see {_FOLDER}/{name}.log'}")
    return int(any(codes.values()))


def _run(name: str, seconds: int) -> int:
    corpus = _FOLDER / name
    corpus.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", f"-rss_limit_mb={_MEMORY}", f"-timeout={_SLOW}", "-max_len=65536"]
    options += [f"-artifact_prefix={_FOLDER}/findings/{name}-", "-print_final_stats=1"]
    argv = [sys.executable, "-m", "scripts.fuzz.one", name, *options, str(corpus)]
    with (_FOLDER / f"{name}.log").open("wb") as log:
        # Of errors in Rust nobody reads the backtrace, and it takes longer than what is tried.
        environment = {**os.environ, "RUST_BACKTRACE": "0"}
        return subprocess.run(argv, stdout=log, stderr=log, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
