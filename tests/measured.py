"""What a piece of code takes, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_FRAME = """
import sys, time
sys.path.insert(0, {folder!r})
began = time.monotonic()
{code}
peak = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(f"{{peak}} {{time.monotonic() - began}}", file=sys.stderr)
"""


@dataclass(frozen=True)
class Taken:
    """`memory` is the peak in bytes, `seconds` the time, `said` what it printed."""

    memory: int
    seconds: float
    said: str


def measured(code: str) -> Taken:
    """Run `code`, which ends well, and say what it took. It is killed after a minute."""
    folder = str(Path(__file__).resolve().parent.parent)
    ran = subprocess.run(
        [sys.executable, "-c", _FRAME.format(folder=folder, code=code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    memory, seconds = ran.stderr.splitlines()[-1].split()
    return Taken(int(memory), float(seconds), ran.stdout)
