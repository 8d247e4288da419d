"""The commands as a user types them, each in a process of its own."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundler import errors
from bundler.cli.show import table
from bundler.sizes import human
from tests.bundle.bundles import write_bundle
from tests.fakes import upstream as fake


@pytest.fixture
def profile(tmp_path: Path, server: fake.Upstream) -> Path:
    """A profile of one file."""
    path = tmp_path / "one.yaml"
    path.write_text(yaml.safe_dump({"name": "one", "version": "1", "files": [server.put("/tool", b"tool")]}))
    return path


def run(*arguments: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bundler", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment})


def answer(*arguments: str | Path) -> Any:
    """The one JSON document of a command that must succeed."""
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_build_prints_the_path_last_and_nothing_else_on_stdout(tmp_path: Path, profile: Path) -> None:
    done = run("build", profile, "-o", tmp_path / "out")
    assert done.stdout == f"{tmp_path}/out/one-1.tar\n"
    assert "resolving files" in done.stderr
    assert "resolving" not in run("build", profile, "-o", tmp_path / "out", "--quiet").stderr


def test_the_same_lock_twice_gives_the_same_bytes(tmp_path: Path, profile: Path, server: fake.Upstream) -> None:
    locked = answer("lock", profile, "-o", tmp_path / "one.lock.json")
    assert locked["totals"] == {"files": {"items": 1, "objects": 1, "size": 4}}
    bundles = []
    for folder in ("a", "b"):
        made = answer("build", profile, "--lock", tmp_path / "one.lock.json", "-o", tmp_path / folder)
        bundles.append(Path(made["bundle"]).read_bytes())
    assert bundles[0] == bundles[1]
    assert server.sent == 3 * len(b"tool")  # measured once, fetched twice


def test_a_lock_of_another_profile_is_refused(tmp_path: Path, profile: Path) -> None:
    answer("lock", profile, "-o", tmp_path / "one.lock.json")
    done = run("build", profile, "--lock", tmp_path / "one.lock.json", "--set", "version=2")
    assert done.returncode == errors.ProfileError.exit_code
    assert "hint: make the lock again" in done.stderr


def test_reuse_fetches_nothing_that_an_earlier_bundle_has(tmp_path: Path, profile: Path, server: fake.Upstream) -> None:
    answer("lock", profile, "-o", tmp_path / "one.lock.json")
    first = answer("build", profile, "--lock", tmp_path / "one.lock.json", "-o", tmp_path / "a")["bundle"]
    before = server.sent
    answer("build", profile, "--lock", tmp_path / "one.lock.json", "-o", tmp_path / "b", "--reuse", first)
    assert server.sent == before


def test_volumes_are_built_split_joined_and_read(tmp_path: Path, server: fake.Upstream) -> None:
    profile = tmp_path / "big.yaml"
    large = server.put("/large", os.urandom(3 << 20))
    profile.write_text(yaml.safe_dump({"name": "big", "version": "1", "files": [large]}))
    built = answer("build", profile, "-o", tmp_path / "out", "--split", "1M")
    volumes = tmp_path / "out" / "big-1.tar.002"
    assert built["volumes"] == f"{tmp_path}/out/big-1.tar.volumes.json"
    assert answer("verify", volumes)["id"] == answer("verify", built["bundle"])["id"]
    Path(built["bundle"]).unlink()
    assert answer("inspect", tmp_path / "out")["name"] == "big"
    joined = Path(answer("join", volumes, "-o", tmp_path / "joined")["bundle"])
    again = answer("split", joined, "--size", "2M", "-o", tmp_path / "two")
    assert again["volumes"] == ["big-1.tar.001", "big-1.tar.002"]
    assert run("split", joined, "--size", "floppy").returncode == 2
    before = server.sent
    answer("build", profile, "-o", tmp_path / "reused", "--reuse", tmp_path / "out")
    assert server.sent == before + (3 << 20)  # read once to lock it, and not fetched


def test_diff_and_report_of_two_bundles(tmp_path: Path, server: fake.Upstream) -> None:
    profile = tmp_path / "tools.yaml"
    built = []
    for version in ("1", "2"):
        tool, other = server.put("/tool", version.encode() * 9), server.put(f"/only-{version}", b"x")
        profile.write_text(yaml.safe_dump({"name": "tools", "version": version, "files": [tool, other]}))
        built.append(answer("build", profile, "-o", tmp_path / "out"))
    old, new = (document["bundle"] for document in built)
    changes = answer("diff", old, new)
    assert [(c["what"], c["name"]) for c in changes["changes"]] == [
        ("removed", "only-1"),
        ("added", "only-2"),
        ("changed", "tool"),
    ]
    assert changes["size"] == 9  # `x` was there under another name
    assert answer("diff", built[0]["lock"], built[1]["lock"]) == changes
    assert run("diff", old, old).stdout == "nothing changed\n"
    written = answer("inspect", new, "--report", tmp_path / "report", "--since", old)["written"]
    assert [Path(path).name for path in written] == ["report.html", "sbom.cdx.json"]
    assert "only-2" in Path(written[0]).read_text()


def test_a_signed_bundle_is_asked_for(tmp_path: Path, profile: Path) -> None:
    answer("key", "new", tmp_path / "k")
    built = answer("build", profile, "-o", tmp_path / "out", "--sign", tmp_path / "k")
    assert Path(built["signature"]).name == "one-1.tar.sig.json"
    assert answer("verify", built["bundle"], "--trust", tmp_path / "k.pub")["intact"]
    Path(built["signature"]).unlink()
    refused = run("verify", built["bundle"], "--trust", tmp_path / "k.pub")
    assert refused.returncode == errors.TrustError.exit_code
    site = tmp_path / "site.yaml"
    site.write_text(
        yaml.safe_dump({"address": "192.0.2.1", "root": str(tmp_path / "s"), "trusted_keys": [str(tmp_path / "k.pub")]})
    )
    refused = run("install", built["bundle"], "--site", site)
    assert refused.returncode == errors.TrustError.exit_code
    assert "takes signed bundles only" in refused.stderr
    assert not (tmp_path / "s").exists()
    answer("sign", built["bundle"], "--key", tmp_path / "k")
    assert run("install", built["bundle"], "--site", site, "--dry-run").returncode == 0


@pytest.mark.parametrize("only_ask", [(), ("--dry-run",)])
def test_another_bundle_than_was_approved_is_not_installed(tmp_path: Path, only_ask: tuple[str, ...]) -> None:
    bundle = write_bundle(tmp_path / "demo-1.0.tar", {"files/a": b"a"})
    approved = answer("inspect", bundle)["id"]
    write_bundle(bundle, {"files/a": b"b"})
    site = ("--address", "127.0.0.1", "--root", tmp_path / "site")
    done = run("install", bundle, "--id", approved, *site, *only_ask)
    assert done.returncode == errors.TrustError.exit_code
    assert f"not {approved}" in done.stderr
    assert not (tmp_path / "site").exists()
    assert run("install", bundle, "--id", answer("inspect", bundle)["id"], *site, "--dry-run").returncode == 0


def test_plan_counts_and_writes_nothing(tmp_path: Path, profile: Path) -> None:
    before = sorted(tmp_path.iterdir())
    document = answer("plan", profile)
    assert document["totals"] == {"files": {"items": 1, "objects": 1, "size": 4}}
    assert document["total"] == {"items": 1, "objects": 1, "size": 4}
    assert document["items"][0] | {"purl": ""} == {
        "kind": "files",
        "name": "tool",
        "version": document["items"][0]["version"],
        "size": 4,
        "purl": "",
        "licence": None,
    }
    assert document["disk"]["install"] == 4
    assert sorted(tmp_path.iterdir()) == before


def test_expand_needs_no_network(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("name: p\nversion: '1'\nfiles: [{url: 'http://127.0.0.1:9/x'}]\n")
    document = answer("plan", path, "--expand")
    assert document["files"][0]["url"] == "http://127.0.0.1:9/x"
    assert document["files"][0]["mode"] == "0644"
    assert yaml.safe_load(run("plan", path, "--expand").stdout) == document
    changed = answer("plan", path, "--expand", "--set", "files.0.mode='0755'")
    assert changed["files"][0]["mode"] == "0755"
    assert answer("plan", path, "--expand", "--set", "version=2.10")["version"] == "2.10"


def test_inspect_has_the_keys_that_the_readme_promises(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "demo-1.0.tar", {"files/a": b"alpha"})
    document = answer("inspect", bundle)
    assert set(document) == {
        *("format", "name", "version", "id", "targets", "architectures", "size", "left_out", "vouched", "verdict"),
        *("signed_by", "documents", "programs", "objects", "items"),
    }
    assert document["targets"][0] == {"distro": "rocky", "release": "9", "arch": "x86_64"}
    assert document["architectures"] == ["aarch64", "x86_64"]
    assert [each["path"] for each in document["documents"]] == ["sbom.cdx.json", "README.txt"]
    assert document["size"] == bundle.stat().st_size
    assert {"path", "size", "sha256"} == set(document["objects"][0])
    assert {"kind", "name", "version", "objects"} <= set(document["items"][0])
    assert document["items"][0]["objects"] == ["files/a"]
    assert "files/a" in run("inspect", bundle, "--objects").stdout
    assert "sample" in run("inspect", bundle, "--items").stdout


def test_verify_says_what_is_damaged(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "demo-1.0.tar", {"files/a": b"alpha"})
    assert answer("verify", bundle)["intact"] is True
    data = bundle.read_bytes()
    bundle.write_bytes(data.replace(b"alpha", b"alphb"))
    done = run("verify", bundle, "--json")
    assert done.returncode == errors.IntegrityError.exit_code
    assert json.loads(done.stdout)["exit_code"] == errors.IntegrityError.exit_code
    assert "files/a" in json.loads(done.stdout)["error"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["build", "no-such-profile"], 3, "there is no profile 'no-such-profile'"),
        (["plan", "{profile}", "--set", "nonsense"], 3, "KEY=VALUE"),
        (["plan", "{profile}", "--config", "/no/such/file"], 4, "cannot read /no/such/file"),
        (["verify", "/no/such/bundle.tar"], 7, "cannot open"),
        (["status", "--root", "/no/such/root"], 4, "--address"),
        (["install", "{profile}", "--address", "127.0.0.1"], 7, "is no bundle"),
        (["install", "{profile}", "--address", "two words"], 4, "address"),
        (["build", "{profile}", "-o", "{profile}"], 4, "one.yaml"),
        (["lock", "{profile}", "-o", "/proc/none/x.lock.json"], 4, "/proc/none"),
        (["build", "/"], 3, "there is no profile '/'"),
        (["build", "{profile}", "--reuse", "{profile}"], 7, "is no bundle"),
        (["build", "{profile}", "--lock", "{profile}"], 7, "one.yaml"),
        (["frobnicate"], 2, "No such command"),
        (["build"], 2, "Missing argument"),
        (["build", "{profile}", "--jobs", "0"], 2, "--jobs"),
    ],
)
def test_wrong_use_ends_in_a_message_and_its_code(
    profile: Path, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    done = run(*(argument.format(profile=profile) for argument in arguments), cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert code == 2 or "\nhint: " in done.stderr


def test_an_unreachable_upstream_is_named_with_its_remedy(tmp_path: Path) -> None:
    path, config = tmp_path / "p.yaml", tmp_path / "c.yaml"
    path.write_text("name: p\nversion: '1'\nfiles: ['http://127.0.0.1:9/x']\n")
    config.write_text("retries: {attempts: 2, backoff: 0}\n")
    done = run("build", path, "-o", tmp_path, BUNDLER_CONFIG=str(config))
    assert done.returncode == errors.FetchError.exit_code
    assert "http://127.0.0.1:9/x" in done.stderr
    assert "hint: run it again" in done.stderr
    assert not list(tmp_path.glob("*.tar"))


def test_every_exit_code_is_its_own_and_in_the_readme(project: Path) -> None:
    classes = errors.BundlerError.__subclasses__()
    codes = [found.exit_code for found in classes]
    assert len(set(codes)) == len(codes)
    readme = (project / "README.md").read_text()
    for code in (0, 1, 2, *codes, 130):
        assert f"\n| {code} |" in readme


def test_shipped_profiles_are_valid(shared: Path) -> None:
    tree = shared / "kubespray" / "v2.31.0"
    local = {"kubespray-2.x": ("--set", f"kubespray.source={tree}")}
    shipped = answer("profiles", "list")["profiles"]
    assert "demo" in shipped
    for name in shipped:
        assert answer("plan", name, "--expand", *local.get(name, ()))["name"]
        assert run("profiles", "show", name).stdout.startswith("#")
    assert "demo" in run("profiles").stdout


def test_the_schema_is_for_editors() -> None:
    schema = answer("profiles", "schema")
    assert schema["additionalProperties"] is False
    assert {"name", "version", "targets"} <= set(schema["properties"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    assert "_BUNDLER_COMPLETE" in run("completion", shell).stdout


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "demo-1.0.tar", {"files/a": bytes(1 << 20)})
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [sys.executable, "-m", "bundler", "verify", str(bundle)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs) as running:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
        except OSError:  # how Linux says that the other end is closed
            pass
        assert running.wait() == 0
    os.close(ours)
    assert b"verifying" in shown
    assert b"\r" in shown
    assert "\r" not in run("verify", bundle).stderr


def test_numbers_and_tables_for_people() -> None:
    assert [human(size) for size in (0, 1023, 1536, 5 << 30, 3 << 40)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5.0 GiB",
        "3.0 TiB",
    ]
    assert table(("a", "long"), [("wide one", "b")]) == ["a         long", "wide one  b"]


def test_an_interrupt_ends_a_resolution_that_waits(tmp_path: Path) -> None:
    """Every upstream has taken the question and says nothing; the index, too, which pip asks."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        profile = tmp_path / "profile.yaml"
        sections = {
            "rpms": {"repos": [{"id": "x", "url": f"{url}/x/", "mode": "mirror", "gpgcheck": False}]},
            "images": [f"{silent.getsockname()[0]}:{silent.getsockname()[1]}/team/app:1"],
            "wheels": {"python": ["3.12"], "requirements": ["thing"], "index_url": f"{url}/simple"},
            "files": [f"{url}/file"],
        }
        targets = [{"distro": "rocky", "release": "9"}]
        profile.write_text(yaml.safe_dump({"name": "x", "version": "1", "targets": targets, **sections}))
        command = [sys.executable, "-m", "bundler", "lock", str(profile), "-o", str(tmp_path / "x.lock.json")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if "resolving wheels for Python" in line:
                    break
            time.sleep(2)
            os.killpg(process.pid, signal.SIGINT)
            start = time.monotonic()
            assert process.wait(20) == 130
            assert time.monotonic() - start < 5
            assert "interrupted: run it again" in process.stderr.read()


def test_an_external_signer_signs_what_is_built(profile: Path, tmp_path: Path) -> None:
    key = tmp_path / "release.key"
    assert run("key", "new", str(key)).returncode == 0
    script = tmp_path / "signer"
    script.write_text(f'#!/bin/sh\ncat > "$0.in"; openssl pkeyutl -sign -inkey {key} -rawin -in "$0.in" | base64 -w0\n')
    script.chmod(0o755)
    done = run("build", str(profile), "-o", str(tmp_path), "--sign", f"{key}.pub", "--signer", str(script))
    assert done.returncode == 0, done.stderr
    assert run("verify", done.stdout.strip(), "--trust", f"{key}.pub").returncode == 0
    assert run("build", str(profile), "--signer", str(script)).returncode == 2


def test_what_is_not_installed_is_named(profile: Path, tmp_path: Path) -> None:
    """An admin host has bundler without what resolving takes."""
    script = f"import sys; sys.modules['oras'] = None; sys.argv = ['bundler', 'lock', {str(profile)!r}]\n"
    command = [sys.executable, "-c", script + "from bundler.cli import main; main()"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == errors.ConfigError.exit_code
    assert "error: oras is not installed here" in done.stderr
    assert "pip install '.[build]'" in done.stderr
