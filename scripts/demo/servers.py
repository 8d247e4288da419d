"""Servers that run for as long as a `with` block: started in the foreground, waited for, ended by their process id."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from scripts.demo.hosts import program

_PATIENCE = 20.0  # seconds a server has to listen, and then to end
_NGINX = """\
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
worker_processes 2;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {folder}/tmp-body;
    proxy_temp_path {folder}/tmp-proxy;
    fastcgi_temp_path {folder}/tmp-fastcgi;
    uwsgi_temp_path {folder}/tmp-uwsgi;
    scgi_temp_path {folder}/tmp-scgi;
    default_type application/octet-stream;
    {http}
}}
"""
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


@contextmanager
def nginx(folder: Path, http: str, *, port: int) -> Iterator[None]:
    """Run an nginx that keeps all it writes in `folder`; `http` is what its http block says more."""
    folder.mkdir(parents=True, exist_ok=True)
    config, log = folder / "nginx.conf", folder / "nginx-error.log"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(_NGINX.format(folder=folder, user=user, http=http))
    with server([program("nginx"), "-e", str(log), "-p", str(folder), "-c", str(config)], port=port, log=log):
        yield


def _wait(process: subprocess.Popen[bytes], name: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{name} does not listen on port {port}:\n{log.read_text(errors='replace')[-2000:]}")
