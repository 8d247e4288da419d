"""What the code of a package can see and do while its wheel is built: real builds, and a look from inside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from bundler.errors import ResolveError
from bundler.kinds.wheels.sandbox import Interpreter, Sandbox
from bundler.model.config import Config
from bundler.transfer.retry import Stopped
from bundler.transfer.store import Store
from bundler.transfer.upstream import Upstream
from tests.kinds.wheels.conftest import Resolver
from tests.kinds.wheels.indexes import LocalIndex

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
SYSTEM_PYTHON = "/usr/bin/python3"

# Code of a backend: tries things, and writes into its wheel what came of them.
LOOK = """
import glob, json, os, socket, subprocess, sys, urllib.request

def attempt(what):
    try:
        return repr(what())
    except BaseException as error:
        return f"no: {{type(error).__name__}}"

def connect():
    return urllib.request.urlopen({url!r}, timeout=3).read(10)

def run(*command):
    return subprocess.run(command, capture_output=True).returncode

FOUND = {{
    "secret": attempt(lambda: open({secret!r}).read()),
    "home": attempt(lambda: os.listdir("/root")),
    "shadow": attempt(lambda: open("/etc/shadow").read()),
    "network": attempt(connect),
    "abstract": attempt(lambda: socket.socket(socket.AF_UNIX).connect("\\0bundler-test")),
    "interfaces": sorted(name for _, name in socket.if_nameindex()),
    "environ": dict(os.environ),
    "tmp": os.listdir("/tmp"),
    "processes": len(glob.glob("/proc/[0-9]*")),
    "usr": attempt(lambda: open("/usr/bundler-was-here", "w")),
    "prefix": attempt(lambda: open(os.path.join(sys.base_prefix, "bundler-was-here"), "w")),
    "remount": run("mount", "-o", "remount,rw,bind", "/usr"),
    "deeper": run("unshare", "--user", "--map-root-user", "--mount", "mount", "-o", "remount,rw,bind", "/usr"),
    "power": [line for line in open("/proc/self/status") if line.startswith(("CapEff", "CapBnd", "NoNewPrivs"))],
    "large": attempt(lambda: open("/tmp/large", "wb").truncate(3 << 30)),
    "host": socket.gethostname(),
    "marker": attempt(lambda: open({marker!r}, "w")),
    "sysctl": attempt(lambda: open("/proc/sys/kernel/core_pattern", "w")),
    "deeper_proc": run(*"unshare --user --map-root-user --mount --pid --fork mount -t proc proc /tmp".split()),
    "user": os.getuid(),
}}
"""
TELL = 'FILES["looker/found.json"] = json.dumps(FOUND)\n'


@pytest.mark.parametrize("privileged", [True, False])
def test_a_build_sees_nothing_that_it_does_not_need(
    index: LocalIndex, resolved: Resolver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, privileged: bool
) -> None:
    """Whether root has become nobody, or a user root of a namespace."""
    if privileged and os.getuid() != 0:
        pytest.skip("root only")
    monkeypatch.setattr("bundler.kinds.wheels.sandbox._is_privileged", lambda: privileged)
    secret, marker = tmp_path / "secret", tmp_path / "marker"
    secret.write_text("s3cret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    code = LOOK.format(url=f"{index.url}/looker/", secret=str(secret), marker=str(marker))
    index.add_sdist("looker", "1.0", backend=code, after=TELL)
    items = resolved(python=[HERE], requirements=["looker"], sdist=["looker"], index_url=index.url)
    assert not marker.exists()
    with (
        Upstream(Config(), base=tmp_path, store=Store(tmp_path / "store")) as upstream,
        upstream.open(items[0].objects[0], offset=0) as answer,
    ):
        wheel = tmp_path / "looker.whl"
        wheel.write_bytes(b"".join(answer.chunks))
    found: dict[str, Any] = json.loads(zipfile.ZipFile(wheel).read("looker/found.json"))
    assert found["secret"] == found["shadow"] == "no: FileNotFoundError"
    assert "ssh" not in str(found["home"])
    assert found["network"] == "no: URLError"
    assert str(found["abstract"]).startswith("no: ")
    assert found["interfaces"] == ["lo"]
    assert "s3cret" not in json.dumps(found)
    assert set(found["environ"]) <= {
        *("PATH", "HOME", "TMPDIR", "LC_ALL", "SOURCE_DATE_EPOCH", "PYTHONHASHSEED", "PYTHONUTF8"),
        *("PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "ANSWER"),
    }
    assert found["tmp"] == []
    assert 0 < int(str(found["processes"])) < 5
    for place in ("usr", "prefix"):
        assert str(found[place]).startswith("no: "), place
    assert str(found["marker"]).startswith("no: ")
    assert found["remount"] != 0
    assert found["deeper"] != 0
    assert found["deeper_proc"] != 0
    assert str(found["sysctl"]).startswith("no: ")
    assert found["user"] == (65534 if privileged else 0)
    assert "".join(found["power"]).split() == ["CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"]
    assert "no: OSError" in str(found["large"])
    assert found["host"] == "build"
    assert not Path("/usr/bundler-was-here").exists()


def test_a_build_gets_what_it_requires(index: LocalIndex, resolved: Resolver) -> None:
    """What pyproject.toml names, what that needs, and what the backend asks for besides: each as a wheel."""
    index.add_wheel("static", "1.0", requires=["deep"])
    index.add_wheel("deep", "1.0")
    index.add_wheel("dynamic", "1.0")
    after = (
        "def get_requires_for_build_wheel(config_settings=None):\n"
        "    import static, deep\n"
        "    return ['dynamic>=1']\n"
        "_build = build_wheel\n"
        "def build_wheel(*given):\n"
        "    import dynamic\n"
        "    return _build(*given)\n"
    )
    index.add_sdist("source", "1.0", build_requires=["static"], after=after)
    items = resolved(python=[HERE], requirements=["source"], sdist="build", index_url=index.url)
    assert [item.name for item in items] == ["source", f"requirements-{HERE}.txt"]


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("text", ["evil @ {url}", "evil @ file:///tmp/evil", "only-source", "nonsense =="])
def test_a_build_that_requires_more_than_wheels_by_name(
    index: LocalIndex, resolved: Resolver, tmp_path: Path, text: str, dynamic: bool
) -> None:
    ran = tmp_path / "ran"
    index.add_sdist("only-source", "1.0", backend=f"open({str(ran)!r}, 'w')\n")
    wanted = text.format(url=f"{index.url.removesuffix('/simple')}/files/only-source-1.0.tar.gz")
    after = f"def get_requires_for_build_wheel(config_settings=None):\n    return [{wanted!r}]\n" if dynamic else ""
    index.add_sdist("source", "1.0", build_requires=[] if dynamic else [wanted], after=after)
    with pytest.raises(ResolveError, match=r"what the build of source 1\.0 needs cannot be had as wheels"):
        resolved(python=[HERE], requirements=["source"], sdist="build", index_url=index.url)
    assert not ran.exists()


def test_what_a_build_adds_to_the_metadata_is_followed(index: LocalIndex, resolved: Resolver) -> None:
    """Old sources leave their requirements out of PKG-INFO; the wheel has them."""
    static = {"PKG-INFO": "Metadata-Version: 1.0\nName: source\nVersion: 1.0\n"}
    index.add_sdist("source", "1.0", requires=["even-more"], static=static)
    index.add_sdist("even_more", "1.0", requires=["most"], static={"PKG-INFO": ""})
    index.add_wheel("most", "1.0")
    items = resolved(python=[HERE], requirements=["source"], sdist="build", index_url=index.url)
    assert [item.name for item in items][:-1] == ["even-more", "most", "source"]


@pytest.mark.parametrize(
    ("backend", "after", "message"),
    [
        ("raise SystemExit('no compiler here')\n", "", "no compiler here"),
        ("", "def build_wheel(*_):\n    return '../../etc/passwd'\n", "ended without a wheel"),
        ("", "def build_wheel(folder, *_):\n    return 'missing-1.0-py3-none-any.whl'\n", "build source"),
        ("", "FILES['source-1.0.dist-info/METADATA'] = 'Name: other\\nVersion: 1.0\\n'\n", "its metadata is that of"),
        ("", "FILES['other-1.0.dist-info/METADATA'] = ''\n", "is not a wheel that can be used"),
        ("", "FILES['source-1.0.dist-info/METADATA'] = ' ' * (9 << 20)\n", "METADATA is larger than"),
        ("", "WHEEL = 'other-1.0-py3-none-any.whl'\n", "not a wheel that can be used"),
        ("import os\nos._exit(3)\n", "", "it ended with exit code 3"),
    ],
)
def test_a_build_that_gives_something_else(
    index: LocalIndex, resolved: Resolver, backend: str, after: str, message: str
) -> None:
    index.add_sdist("source", "1.0", backend=backend, after=after)
    with pytest.raises(ResolveError) as caught:
        resolved(python=[HERE], requirements=["source"], sdist="build", index_url=index.url)
    assert message in caught.value.message
    assert "source" in caught.value.message


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    tmp_path.chmod(0o755)
    return Sandbox(tmp_path, threading.Event())


def here() -> Interpreter:
    found = Interpreter.of(sys.executable)
    assert found is not None
    return found


def test_what_is_stopped_ends_with_all_that_it_started(tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(2, stop.set).start()
    name = f"sleep-{os.getpid()}"
    code = f"import subprocess, sys; subprocess.run(['sh', '-c', 'exec -a {name} sleep 600 & sleep 600'])"
    begun = time.monotonic()
    with tempfile.TemporaryFile() as answer, pytest.raises(Stopped):
        Sandbox(tmp_path, stop).run(here(), ["-c", code], {}, answer, "sleep")
    assert time.monotonic() - begun < 20
    time.sleep(0.5)
    assert name not in subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout


def as_nobody() -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


@pytest.mark.skipif(
    os.getuid() != 0 or not Path(SYSTEM_PYTHON).exists(),
    reason="only root becomes nobody, who can run no Python but /usr's",
)
def test_a_plain_user_has_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bundler.kinds.wheels.sandbox._is_privileged", lambda: False)
    python = Interpreter.of(SYSTEM_PYTHON)
    assert python is not None
    with tempfile.TemporaryDirectory(prefix="bundler-nobody-") as folder:
        os.chown(folder, 65534, 65534)
        enclose = Path(folder, "enclose.py")
        sandbox = Sandbox(Path(folder), threading.Event())
        command = sandbox.command(python, ["-c", "import os; print(os.getuid(), os.listdir('/'))"], {})
        enclose.write_bytes(Path(command[-2]).read_bytes())  # nobody may not read the one in root's home
        for path in (*Path(folder).rglob("*"), enclose):
            os.chown(path, 65534, 65534)
        done = subprocess.run(
            [*command[:-2], str(enclose), command[-1]], capture_output=True, text=True, preexec_fn=as_nobody, cwd="/"
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 ")
    assert "root" not in done.stdout


# Where a kernel lets nobody have namespaces: said of one user namespace, it holds for all that are made in it.
WITHOUT = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'


def test_without_namespaces_nothing_is_built(index: LocalIndex, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    index.add_sdist("source", "1.0", backend=f"open({str(ran)!r}, 'w')\n")
    (tmp_path / "profile.yaml").write_text(
        "name: demo\nversion: '1'\ntargets: [{distro: rocky, release: '9'}]\n"
        f"wheels: {{python: ['{HERE}'], requirements: [source], sdist: build, index_url: {index.url}}}\n"
    )
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", WITHOUT, "sh"]
    command += [sys.executable, "-P", "-m", "bundler", "plan", "profile.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == ResolveError.exit_code, done.stderr
    assert "cannot build source 1.0: this machine allows no sandbox for it to run in: unshare: " in done.stderr
    assert "user.max_user_namespaces" in done.stderr
    assert not ran.exists()


def test_a_machine_without_unshare(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bundler.kinds.wheels.sandbox.shutil.which", lambda *_, **__: None)
    with tempfile.TemporaryFile() as answer, pytest.raises(ResolveError, match="unshare is missing"):
        sandbox.run(here(), [], {}, answer, "build")


@pytest.mark.parametrize("text", ["#!/bin/sh\necho no such version\n", "#!/bin/sh\nexit 1\n", "#!/bin/sh\necho '[]'\n"])
def test_a_stand_in_is_no_python(tmp_path: Path, text: str) -> None:
    stand_in = tmp_path / "python3.99"
    stand_in.write_text(text)
    stand_in.chmod(0o755)
    assert Interpreter.of(str(stand_in)) is None
