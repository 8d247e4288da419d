"""One target in this process: `python -m scripts.fuzz.one NAME [libFuzzer's options] CORPUS`; without, their names."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["bundler"]):
    from scripts.fuzz.targets import targets


def main() -> None:
    by_name = {target.name: target for target in targets()}
    if len(sys.argv) < 2:
        print("\n".join(by_name))
        return
    target = by_name[sys.argv[1]]
    logging.disable()
    corpus = Path(sys.argv[-1])
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)

    def one(data: bytes) -> None:
        try:
            target.take(data)
        except target.right:
            return

    atheris.Setup([sys.argv[0], *sys.argv[2:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
