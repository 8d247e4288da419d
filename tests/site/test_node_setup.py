"""Node set-up: the scripts run by real shells on a folder that stands for a machine, and golden copies of them.

`UPDATE_GOLDEN=1` writes the golden copies anew.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundler.model.node_files import BASIC, PASSWORD, NodeCheck, NodeFile, NodeFiles
from bundler.model.site import Login, Served, SiteConfig
from bundler.site.node_setup import compose

SERVED = Served(SiteConfig(address="192.168.10.10"), "demo", "1.0")
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
STOCK = "/etc/yum.repos.d/*.repo"

RPMS = NodeFiles(
    (
        NodeFile(
            "yum.repos.d/demo-9.repo",
            "[demo]\nbaseurl=http://192.168.10.10/demo/9/$basearch\n",
            destination="/etc/yum.repos.d/demo.repo",
            only_where="/etc/yum.repos.d",
            only_if='[ "$VERSION_ID" = 9 ]',
            displaces=(STOCK,),
        ),
        NodeFile(
            "yum.repos.d/demo-10.repo",
            "[demo]\nbaseurl=http://192.168.10.10/demo/10/$basearch\n",
            destination="/etc/yum.repos.d/demo.repo",
            only_where="/etc/yum.repos.d",
            only_if='[ "$VERSION_ID" = 10 ]',
            displaces=(STOCK,),
        ),
    ),
    (NodeCheck("the repository lists", "sh", "echo 'it''s fine'; true"), NodeCheck("dnf", "no-such-dnf", "false")),
)
OTHERS = NodeFiles(
    (
        NodeFile("pip.conf", "[global]\ntimeout = 60\n", destination="/etc/pip.conf"),
        NodeFile(
            "tricky name", "END\n`id` $HOME \\ 'x' {{ y }}\nEND_", destination="/etc/new/deep/it's here", mode=0o600
        ),
        NodeFile("hosts.toml", "x\n", destination="/etc/containerd/certs.d/_/hosts.toml", only_where="/etc/containerd"),
        NodeFile("example.yml", "a: 1\n"),
    )
)
PARTS = (RPMS, OTHERS)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with two stock .repo files, a pip.conf that is a link, and an os-release."""
    root = tmp_path / "machine"
    repos = root / "etc/yum.repos.d"
    repos.mkdir(parents=True)
    (root / "etc/os-release").write_text('ID="rocky"\nVERSION_ID="9"\n')
    (repos / "rocky.repo").write_text("[baseos]\n")
    (repos / "rocky.repo").chmod(0o640)
    os.utime(repos / "rocky.repo", (1_000_000_000, 1_000_000_000))
    (repos / "with space.repo").write_bytes(b"\xff\x00 no text")
    (repos / "README").write_text("stays")
    (root / "etc/pip.global").write_text("[global]\nindex-url = https://pypi.org/simple\n")
    (root / "etc/pip.conf").symlink_to("pip.global")
    return root


def scripts(folder: Path, parts: tuple[NodeFiles, ...] = PARTS, served: Served = SERVED) -> Path:
    for file in compose(served, parts).files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content)
    return folder


def run(shell: str, script: Path, machine: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run it as `curl … | sh` does: from standard input."""
    command = ["busybox", "sh"] if shell == "busybox" else [shell]
    environment = {"PATH": os.environ["PATH"], "BUNDLER_NODE_ROOT": str(machine), **more}
    with script.open() as text:
        return subprocess.run(command, stdin=text, env=environment, capture_output=True, text=True, timeout=60)


def setup(shell: str, nodes: Path, machine: Path) -> str:
    done = run(shell, nodes / "setup.sh", machine)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def revert(shell: str, nodes: Path, machine: Path) -> str:
    done = run(shell, nodes / "revert.sh", machine)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def tree(root: Path) -> dict[str, tuple[int, float, bytes | str]]:
    """All that is below `root`: mode, modification time (of files), and bytes or a link's target."""
    found: dict[str, tuple[int, float, bytes | str]] = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        if path.is_symlink():
            found[str(path.relative_to(root))] = (mode, 0, str(path.readlink()))
        elif stat.S_ISDIR(mode):
            found[str(path.relative_to(root))] = (mode, 0, "")
        else:
            found[str(path.relative_to(root))] = (mode, path.stat().st_mtime, path.read_bytes())
    return found


@pytest.mark.parametrize("shell", SHELLS)
def test_set_up_and_revert(shell: str, machine: Path, tmp_path: Path) -> None:
    nodes = scripts(tmp_path / "nodes")
    before = tree(machine)
    said = setup(shell, nodes, machine)
    assert "changed: wrote /etc/yum.repos.d/demo.repo\n" in said
    assert "changed: moved /etc/yum.repos.d/with space.repo away\n" in said
    assert "skipped: yum.repos.d/demo-10.repo is not for this machine\n" in said
    assert sorted(path.name for path in (machine / "etc/yum.repos.d").iterdir()) == ["README", "demo.repo"]
    assert "/demo/9/$basearch" in (machine / "etc/yum.repos.d/demo.repo").read_text()
    for file in OTHERS.files[:2]:
        placed = machine / str(file.destination)[1:]
        assert placed.read_text() == file.content
        assert stat.S_IMODE(placed.lstat().st_mode) == file.mode
    assert not (machine / "etc/containerd").exists()

    after = tree(machine)
    assert setup(shell, nodes, machine).splitlines()[-1].startswith("nothing to change")
    assert tree(machine) == after

    assert "as it was before demo" in revert(shell, nodes, machine)
    assert tree(machine) == before
    assert "nothing to revert" in revert(shell, nodes, machine)
    assert tree(machine) == before


@pytest.mark.parametrize("shell", SHELLS)
def test_what_comes_back_is_moved_away_again(shell: str, machine: Path, tmp_path: Path) -> None:
    nodes = scripts(tmp_path / "nodes")
    before = tree(machine)
    setup(shell, nodes, machine)
    (machine / "etc/yum.repos.d/rocky.repo").write_text("[baseos] # from an update\n")
    (machine / "etc/yum.repos.d/new.repo").write_text("[new]\n")
    (machine / "etc/yum.repos.d/demo.repo").write_text("edited")
    (machine / "etc/containerd").mkdir()
    said = setup(shell, nodes, machine)
    assert {line for line in said.splitlines() if line.startswith("changed")} == {
        "changed: moved /etc/yum.repos.d/rocky.repo away",
        "changed: moved /etc/yum.repos.d/new.repo away",
        "changed: wrote /etc/yum.repos.d/demo.repo",
        "changed: wrote /etc/containerd/certs.d/_/hosts.toml",
    }
    assert (machine / "var/lib/bundler/demo/later/etc/yum.repos.d/rocky.repo").read_text().endswith("update\n")
    revert(shell, nodes, machine)
    after = tree(machine)
    assert after.pop("etc/containerd")
    assert after.pop("etc/yum.repos.d/new.repo")[2] == b"[new]\n"
    assert after == before


@pytest.mark.parametrize("shell", SHELLS)
def test_another_version_replaces_the_earlier_one(shell: str, machine: Path, tmp_path: Path) -> None:
    before = tree(machine)
    setup(shell, scripts(tmp_path / "one"), machine)
    two = scripts(tmp_path / "two", (OTHERS,), Served(SERVED.site, "demo", "2.0"))
    assert "changed: undid an earlier set-up" in setup(shell, two, machine)
    assert (machine / "etc/yum.repos.d/rocky.repo").exists()
    assert not (machine / "etc/yum.repos.d/demo.repo").exists()
    revert(shell, two, machine)
    assert tree(machine) == before


def test_two_releases_leave_each_other_alone(machine: Path, tmp_path: Path) -> None:
    before = tree(machine)
    other = Served(SERVED.site, "other", "1")
    repo = NodeFile("other.repo", "[other]\n", destination="/etc/yum.repos.d/other.repo", displaces=(STOCK,))
    deep = NodeFile("x", "x\n", destination="/etc/new/deep/other")
    one, two = scripts(tmp_path / "one"), scripts(tmp_path / "two", (NodeFiles((repo, deep)),), other)
    setup("sh", one, machine)
    setup("sh", two, machine)
    setup("sh", one, machine)
    names = {path.name for path in (machine / "etc/yum.repos.d").iterdir()}
    assert names == {"README", "demo.repo", "other.repo"}
    revert("sh", one, machine)
    assert (machine / "etc/yum.repos.d/other.repo").exists()
    revert("sh", two, machine)
    assert tree(machine) == before


def test_a_set_up_that_stopped_half_way_is_reverted(machine: Path, tmp_path: Path) -> None:
    nodes = scripts(tmp_path / "nodes")
    (machine / "etc/new/deep/it's here").mkdir(parents=True)  # a folder where a file has to go
    before = tree(machine)
    done = run("sh", nodes / "setup.sh", machine)
    assert done.returncode == 1
    assert "is a folder" in done.stderr
    assert tree(machine) != before
    revert("sh", nodes, machine)
    assert tree(machine) == before


@pytest.mark.parametrize("length", [0.2, 0.5, 0.9, 0.99])
def test_a_script_that_arrives_in_part_does_nothing(machine: Path, tmp_path: Path, length: float) -> None:
    nodes = scripts(tmp_path / "nodes")
    text = (nodes / "setup.sh").read_text()
    (nodes / "setup.sh").write_text(text[: int(len(text) * length)])
    before = tree(machine)
    run("sh", nodes / "setup.sh", machine)
    assert tree(machine) == before


@pytest.mark.parametrize("shell", SHELLS)
def test_check_prints_a_table(shell: str, machine: Path, tmp_path: Path) -> None:
    broken = NodeFiles(checks=(NodeCheck("it's broken", "sh", "echo one; echo two >&2; exit 3"),))
    good = run(shell, scripts(tmp_path / "good") / "check.sh", machine, PATH="/nowhere:/usr/bin:/bin")
    assert "ok       the repository lists\nskipped  dnf (no no-such-dnf here)\n" in good.stdout
    bad = run(shell, scripts(tmp_path / "bad", (broken,)) / "check.sh", machine)
    assert bad.returncode == 1
    assert "FAIL     it's broken\n         | one\n         | two\n" in bad.stdout


@pytest.mark.parametrize("parts", [PARTS, (OTHERS,), (NodeFiles(),)], ids=["all", "others", "none"])
def test_scripts_are_clean(tmp_path: Path, parts: tuple[NodeFiles, ...]) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("needs shellcheck")
    nodes = scripts(tmp_path, parts)
    for name in ("setup.sh", "revert.sh", "check.sh"):
        done = subprocess.run(["shellcheck", "--shell=sh", str(nodes / name)], capture_output=True, text=True)
        assert done.stdout == ""


def test_golden(project: Path) -> None:
    golden = project / "tests/golden/node_setup"
    for file in compose(SERVED, PARTS).files[-5:]:
        path = golden / file.path
        if os.environ.get("UPDATE_GOLDEN"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.content)
        assert file.content == path.read_text(), file.path
    assert compose(SERVED, PARTS) == compose(SERVED, PARTS)


def test_the_playbook_carries_the_scripts(tmp_path: Path) -> None:
    nodes = scripts(tmp_path)

    class Loader(yaml.SafeLoader):
        pass

    def text(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
        assert isinstance(node, yaml.ScalarNode)
        return loader.construct_scalar(node)

    Loader.add_constructor("!unsafe", text)
    (play,) = yaml.load((nodes / "node-setup.yml").read_text(), Loader)
    for name in ("setup", "revert", "check"):
        assert play["vars"][f"{name}_sh"] == (nodes / f"{name}.sh").read_text()
    modules = {key for task in play["tasks"] for key in task if "." in key}
    assert modules == {"ansible.builtin.command"}


def test_the_playbook_runs(machine: Path, tmp_path: Path) -> None:
    playbook = Path(sys.executable).with_name("ansible-playbook")
    book = scripts(tmp_path / "nodes") / "node-setup.yml"
    before = tree(machine)
    environment = {**os.environ, "BUNDLER_NODE_ROOT": str(machine), "ANSIBLE_NOCOLOR": "1", "HOME": str(tmp_path)}
    command = [str(playbook), "-i", "localhost,", "-c", "local", "-e", "ansible_become=false", str(book)]
    command += ["-e", f"ansible_python_interpreter={sys.executable}"]

    def play(*more: str) -> str:
        return subprocess.run([*command, *more], env=environment, capture_output=True, text=True).stdout

    assert "changed: [localhost]" in play("--tags", "setup")
    assert (machine / "etc/yum.repos.d/demo.repo").exists()
    assert "changed=0" in play("--tags", "setup")
    assert "changed=1" in play("-e", "revert=true")
    assert tree(machine) == before


@pytest.mark.parametrize(
    "file",
    [
        NodeFile("../x", "x\n"),
        NodeFile("x", "x\n", destination="etc/x"),
        NodeFile("x", "x\n", destination="/etc/../x"),
        NodeFile("x", "x\n", destination="/etc/a\nb"),
        NodeFile("x", "x\n", displaces=("*.repo",)),
        NodeFile("x", "\0"),
        NodeFile("pip.conf", "other\n"),
        NodeFile("other", "x\n", destination="/etc/pip.conf"),
    ],
)
def test_files_that_have_no_place(file: NodeFile) -> None:
    with pytest.raises(ValueError, match=r"path|NUL|two node files"):
        compose(SERVED, (*PARTS, NodeFiles((file,))))


# A site that asks for a log-in

_SECRET = "s3cret-0123456789_abc.~+/=def"
_BASIC = base64.b64encode(f"nodes:{_SECRET}".encode()).decode()
ASKING = Served(
    SiteConfig(address="192.168.10.10", tls="self-signed", login=Login(username="nodes")), "demo", "1.0", ca="CA\n"
)
SECRETS = NodeFiles(
    (
        NodeFile("var", f"{PASSWORD}\n", destination="/etc/dnf/vars/demo", mode=0o600, secret=True),
        NodeFile("header", f'a = "Basic {BASIC}"\nb\\c\n', destination="/etc/header", mode=0o600, secret=True),
        NodeFile(
            "auth",
            json.dumps({"auths": {"192.168.10.10:5000": {"auth": BASIC}}}) + "\n",
            destination="~/.config/auth.json",
            mode=0o600,
            secret=True,
            joins="auths",
        ),
        NodeFile("open", f"{PASSWORD} {BASIC}\n", destination="/etc/open"),
    )
)


def asking(tmp_path: Path) -> tuple[Path, Path]:
    netrc = tmp_path / "netrc"
    netrc.write_text(
        f"machine 192x168.10.10 login nodes password no\nmachine 192.168.10.10 login nodes password {_SECRET}\n"
    )
    return scripts(tmp_path / "nodes", (SECRETS,), ASKING), netrc


@pytest.mark.parametrize("shell", SHELLS)
def test_a_log_in_is_filled_in(shell: str, machine: Path, tmp_path: Path) -> None:
    nodes, netrc = asking(tmp_path)
    before = tree(machine)
    done = run(shell, nodes / "setup.sh", machine, BUNDLER_NETRC=str(netrc))
    assert (done.returncode, done.stderr) == (0, "")
    line = f"machine 192.168.10.10 login nodes password {_SECRET}\n"
    expected = {
        "etc/dnf/vars/demo": f"{_SECRET}\n",
        "etc/header": f'a = "Basic {_BASIC}"\nb\\c\n',
        "etc/bundler/demo.netrc": line,
        "root/.netrc": line,
        "root/.config/auth.json": json.dumps({"auths": {"192.168.10.10:5000": {"auth": _BASIC}}}) + "\n",
    }
    for path, text in expected.items():
        assert (machine / path).read_text() == text
        assert stat.S_IMODE((machine / path).stat().st_mode) == 0o600
    # Whoever made the bundle may have written such marks anywhere: they stay what they are.
    assert (machine / "etc/open").read_text() == f"{PASSWORD} {BASIC}\n"
    assert all(_SECRET not in file.content and _BASIC not in file.content for file in compose(ASKING, (SECRETS,)).files)
    # Again without it: what the first run put there is enough.
    after = tree(machine)
    assert setup(shell, nodes, machine).splitlines()[-1].startswith("nothing to change")
    assert tree(machine) == after
    revert(shell, nodes, machine)
    assert tree(machine) == before


@pytest.mark.parametrize("shell", SHELLS)
def test_others_log_ins_stay(shell: str, machine: Path, tmp_path: Path) -> None:
    nodes, netrc = asking(tmp_path)
    theirs = "machine 192.168.10.10 login old password old\nmachine other login me\n  password mine\n"
    (machine / "root/.config").mkdir(parents=True)
    (machine / "root/.netrc").write_text(theirs)
    (machine / "root/.config/auth.json").write_text('{"auths": {"quay.io": {"auth": "eDp5"}}}\n')
    before = tree(machine)
    tools = tmp_path / "bin"
    tools.mkdir()
    # Stands for podman, which asks the registry before it writes: tests/e2e has the real one.
    (tools / "podman").write_text(
        "#!/bin/sh\n"
        f'[ "$(cat)" = {_SECRET} ] && [ "$1 $2 $4 $5 $6 $7" = "login --authfile --username nodes --password-stdin '
        '192.168.10.10:5000" ] && echo joined >>"$3"\n'
    )
    (tools / "podman").chmod(0o755)
    done = run(shell, nodes / "setup.sh", machine, BUNDLER_NETRC=str(netrc), PATH=f"{tools}:{os.environ['PATH']}")
    assert (done.returncode, done.stderr) == (0, "")
    assert (machine / "root/.netrc").read_text() == (
        f"machine 192.168.10.10 login nodes password {_SECRET}\nmachine other login me\n  password mine\n"
    )
    assert (machine / "root/.config/auth.json").read_text().endswith("}\njoined\n")
    revert(shell, nodes, machine)
    assert tree(machine) == before


def test_without_a_log_in_nothing_is_changed(machine: Path, tmp_path: Path) -> None:
    nodes, netrc = asking(tmp_path)
    before = tree(machine)
    for given in ({}, {"BUNDLER_NETRC": "/nowhere"}, {"BUNDLER_NETRC": str(nodes / "README.txt")}):
        done = run("sh", nodes / "setup.sh", machine, **given)
        assert done.returncode == 1
        assert "copy /data/login/netrc of the admin host to this machine" in done.stderr
    netrc.write_text("machine 192.168.10.10 login nodes password $(id)\n")
    assert run("sh", nodes / "setup.sh", machine, BUNDLER_NETRC=str(netrc)).returncode == 1
    assert tree(machine) == before


def test_scripts_with_a_log_in_are_clean(tmp_path: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("needs shellcheck")
    nodes, _ = asking(tmp_path)
    done = subprocess.run(["shellcheck", "--shell=sh", str(nodes / "setup.sh")], capture_output=True, text=True)
    assert done.stdout == ""


def test_the_playbook_hands_the_log_in_over(machine: Path, tmp_path: Path) -> None:
    """And shows it to nobody, however much Ansible is asked to say."""
    nodes, netrc = asking(tmp_path)
    playbook = Path(sys.executable).with_name("ansible-playbook")
    environment = {**os.environ, "BUNDLER_NODE_ROOT": str(machine), "ANSIBLE_NOCOLOR": "1", "HOME": str(tmp_path)}
    command = [str(playbook), "-vvvv", "-i", "localhost,", "-c", "local", str(nodes / "node-setup.yml")]
    command += ["-e", f"ansible_become=false ansible_python_interpreter={sys.executable} netrc={netrc}"]
    done = subprocess.run([*command, "--tags", "setup"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert (machine / "etc/dnf/vars/demo").read_text() == f"{_SECRET}\n"
    assert _SECRET not in done.stdout + done.stderr
    assert not Path("/run/bundler-demo.netrc").exists()


def test_a_secret_is_for_its_owner_alone() -> None:
    with pytest.raises(ValueError, match="a secret that others may read"):
        compose(ASKING, (NodeFiles((NodeFile("x", PASSWORD, destination="/x", secret=True),)),))
