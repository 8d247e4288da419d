"""`make demo`: build a bundle, carry it over an air gap, install it, use it from a node; tell it all as it goes."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from scripts.demo import checks
from scripts.demo.hosts import CommandError, can_make_namespaces
from scripts.demo.internet import internet
from scripts.demo.journey import Say, journey, remove

_PROJECT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run the demo; 0 when every check passed, 1 otherwise, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--loopback", action="store_true", help="do without namespaces, as without root")
    parser.add_argument("--keep", action="store_true", help="leave the work folder behind, to look at")
    arguments = parser.parse_args()
    # `kill` must clean up as Ctrl-C does.
    signal.signal(signal.SIGTERM, _interrupt)
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"\n[{time.monotonic() - started:4.0f} s] {text}", flush=True)

    gap = can_make_namespaces() and not arguments.loopback
    # A short path: gpg-agent and podman put sockets under it, whose names the kernel limits to 107 bytes.
    work = Path(tempfile.mkdtemp(prefix="bundler-demo-"))
    try:
        outcomes = _demo(work, gap, say)
    except KeyboardInterrupt:
        say("Interrupted; cleaning up.")
        return 130
    except (CommandError, RuntimeError) as problem:
        say(f"It ends here; cleaning up. {problem}")
        return 1
    finally:
        if arguments.keep:
            print(f"Kept: {work}")
        else:
            remove(work)
    say("What was checked:")
    width = max(len(outcome.title) for outcome in outcomes)
    for outcome in outcomes:
        print(f"  {outcome.title:<{width}}  {outcome.verdict:<8}  {outcome.detail.splitlines()[0]}")
    failed = [outcome for outcome in outcomes if outcome.verdict == "FAIL"]
    left_out = sum(outcome.verdict == "left out" for outcome in outcomes)
    print(f"\n{len(outcomes) - len(failed) - left_out} ok, {len(failed)} failed, {left_out} left out")
    return 1 if failed else 0


def _demo(work: Path, gap: bool, say: Say) -> list[checks.Outcome]:
    if not gap:
        say("Not root: no namespaces, so there is no air gap to show; everything runs on loopback at free ports.")
    shared = _PROJECT.parent / "shared"
    found = shared if (shared / "rpm").is_dir() else None
    source = "the test data in ../shared" if found else "packages and images made on the spot"
    say(f"Bring up an internet on loopback, nginx and docker-registry, with {source}")
    outcomes = []
    with internet(work / "internet", found) as upstream:
        for name, url in upstream.mirrors.items():
            print(f"         {name} → {url}")
        with journey(work, upstream, gap=gap, say=say, show=True) as way:
            for check in checks.CHECKS:
                say(check.title)
                outcome = checks.run(check, way)
                print(f"         {outcome.verdict}: {outcome.detail}", flush=True)
                outcomes.append(outcome)
            say("Clean up")
    return outcomes


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
