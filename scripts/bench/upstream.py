"""The upstreams of the benchmark on loopback: nginx and docker-registry over the data; near, or far away."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.bench.data import Data, registry
from scripts.demo.servers import free_port, nginx, server

_HTTP = """\
    access_log off;
    sendfile on;
    keepalive_requests 100000;
    {rate}
    server {{
        listen 127.0.0.1:{port};
        root {www};
        location /simple/ {{
            index index.json;
            types {{ application/vnd.pypi.simple.v1+json json; }}
        }}
        location /v2/ {{
            proxy_pass {registry};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_max_temp_file_size 0;
        }}
    }}
"""


@dataclass(frozen=True)
class Upstream:
    """Where files, packages and wheels are asked, and where images are: host and port."""

    netloc: str
    registry: str

    @property
    def url(self) -> str:
        return f"http://{self.netloc}"


@contextmanager
def upstream(data: Data, folder: Path, *, latency: float = 0, rate: int = 0) -> Iterator[Upstream]:
    """Serve `data`. Each answer takes `latency` seconds longer, each connection gets `rate` bytes a second at most."""
    with ExitStack() as stack:
        behind = stack.enter_context(registry(data.folder))
        port, front = free_port(), free_port()
        limit = f"limit_rate {rate};" if rate else ""
        http = _HTTP.format(www=data.folder / "www", registry=behind, port=port, rate=limit)
        stack.enter_context(nginx(folder, http, port=port))
        if latency:
            far = [sys.executable, "-m", "scripts.bench.far", str(front), str(port), str(latency)]
            stack.enter_context(server(far, port=front, log=folder / "far.log"))
            port = front
        # Far away, all comes by one line; near, nothing stands between.
        images = f"127.0.0.1:{port}" if latency or rate else behind.removeprefix("http://")
        yield Upstream(f"127.0.0.1:{port}", images)
