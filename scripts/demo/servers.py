"""Servers that run for as long as a `with` block: started in the foreground, waited for, ended by their process id."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_PATIENCE = 20.0  # seconds a server has to listen, and then to end
_given: set[int] = set()  # ports that this process was told


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now, another one at each call."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in _given:
            _given.add(port)
            return port


@contextmanager
def server(argv: Sequence[str], *, port: int, log: Path) -> Iterator[None]:
    """Run a server that listens on 127.0.0.1:`port`. Raises RuntimeError with the end of its log when it does not."""
    # A session of its own: Ctrl-C is for the demo, which ends its servers when it no longer needs them.
    with log.open("ab") as out, subprocess.Popen(argv, stdout=out, stderr=out, start_new_session=True) as process:
        try:
            _wait(process, argv[0], port, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: subprocess.Popen[bytes], name: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{name} does not listen on port {port}:\n{log.read_text(errors='replace')[-2000:]}")
