"""On the closed side no command opens a socket but to the site's own addresses: every call to connect is looked at."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from scripts.demo.hosts import HERE
from scripts.demo.internet import Internet
from scripts.demo.journey import site
from tests.e2e import small

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

_ADDRESS = re.compile(r"sa_family=AF_INET6?\b.*?(?:inet_addr\(|inet_pton\(AF_INET6, )\"([^\"]+)\"")


def test_offline_commands_reach_for_the_site_alone(upstream: Internet, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    first = small.build(upstream, tmp_path / "first")
    second = small.build(upstream, tmp_path / "second", "--set", "version=2")
    with site(HERE, tmp_path, own_ports=False) as there:
        there.install(first)  # its services run from now on, so that strace need not follow them
        root = ["--root", str(there.root)]
        commands = [
            ["verify", str(second)],
            ["inspect", str(second)],
            ["install", str(second), *there.options],
            ["status", *root],
            ["services", "status", *root],
            ["nodes", str(tmp_path / "nodes"), *root],
            ["doctor", *root],
        ]
        reached = {command[0]: _reached(tmp_path / "trace", command) for command in commands}
    assert reached["doctor"] == {"127.0.0.1"}  # through the front door
    assert set().union(*reached.values()) <= {"127.0.0.1"}
    assert reached["verify"] == reached["inspect"] == reached["nodes"] == set()


def _reached(log: Path, command: list[str]) -> set[str]:
    """The internet addresses that bundler, or anything it starts, connects or sends to."""
    calls = "connect,sendto,sendmsg,sendmmsg"
    strace = ["strace", "-f", "-qq", "-e", f"trace={calls}", "-o", str(log)]
    HERE.run([*strace, sys.executable, "-m", "bundler", *command])
    return set(_ADDRESS.findall(log.read_text()))
