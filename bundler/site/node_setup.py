"""What puts a release's node files in place on a machine, takes them away again, and proves that they work.

    setup.sh, revert.sh, check.sh   POSIX sh, self-contained: `curl -fsS URL/nodes/setup.sh | sh`
    node-setup.yml                  the same scripts as an Ansible playbook, for many machines
    checks.json                     what check.sh does, for `bundler check-node`

setup.sh keeps what it changes before it changes it, so that revert.sh can put back every byte. There is one
implementation of that: the playbook carries the scripts themselves.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import yaml

from bundler.model.contents import check_path
from bundler.model.node_files import PASSWORD, NodeCheck, NodeFile, NodeFiles
from bundler.model.site import Served, netrc_on_nodes
from bundler.templates import render

CHECKS = "checks.json"
# Where distributions take CAs from for all of the machine, the file's ending, and what tells them of a new one:
# update-ca-trust(8) of Fedora and Enterprise Linux, update-ca-certificates(8) of Debian.
_ANCHORS = (
    ("/etc/pki/ca-trust/source/anchors", "pem", "update-ca-trust"),
    ("/usr/local/share/ca-certificates", "crt", "update-ca-certificates"),
)


def compose(served: Served, parts: Sequence[NodeFiles]) -> NodeFiles:
    """All of the release's `nodes/` folder: what `parts` have, in their order, and the scripts that put it in place.

    Pure: the same arguments give the same files. Raises ValueError when two kinds want the same place, or a file has no
    place of the form that the scripts can handle; both are errors of a kind, not of a user.
    """
    files = (*_trust(served), *_login(served), *(file for part in parts for file in part.files))
    _check(files)
    checks = (_answers(served), *(check for part in parts for check in part.checks))
    placed = tuple(file for file in files if file.destination is not None)
    setup, revert, check = _setup(served, placed), _revert(served), _check_script(served, checks)
    scripts = (
        NodeFile("setup.sh", setup, mode=0o755),
        NodeFile("revert.sh", revert, mode=0o755),
        NodeFile("check.sh", check, mode=0o755),
        NodeFile(CHECKS, json.dumps([asdict(check) for check in checks], indent=1) + "\n"),
        NodeFile("node-setup.yml", _playbook(served, setup, revert, check)),
        NodeFile("README.txt", _readme(served, files)),
    )
    return NodeFiles((*files, *scripts), checks, tuple(tree for part in parts for tree in part.trees))


def _trust(served: Served) -> Iterator[NodeFile]:
    """The site's CA: where our own config files name it, and among those that all programs of the machine trust."""
    if served.ca is None:
        return
    yield NodeFile("ca.pem", served.ca, destination=served.ca_file(None))
    for folder, ending, command in _ANCHORS:
        place = f"{folder}/bundler-{served.name}.{ending}"
        found = f"command -v {command} >/dev/null 2>&1"
        yield NodeFile(
            f"trust/{command}/ca.{ending}", served.ca, place, only_where=folder, only_if=found, after=command
        )


def _login(served: Served) -> Iterator[NodeFile]:
    """What curl and our checks log in with, and the same where pip, Ansible and others look by themselves."""
    if served.site.login is None:
        return
    line = f"{_machine(served)} login {served.site.login.username} password {PASSWORD}\n"
    yield NodeFile("login/netrc", line, netrc_on_nodes(served.name), mode=0o600, secret=True)
    yield NodeFile("login/home.netrc", line, "~/.netrc", mode=0o600, secret=True, joins="netrc")


def _machine(served: Served) -> str:
    """How a line of netrc(5) for the site begins."""
    return f"machine {served.site.machine}"


def _answers(served: Served) -> NodeCheck:
    url = shlex.quote(f"{served.url}/nodes/README.txt")
    curl = served.curl(served.site.web)
    return NodeCheck("the admin host answers", "curl", f"{curl} --max-time 20 -o /dev/null {url}")


def _setup(served: Served, files: Sequence[NodeFile]) -> str:
    about = (
        f"Makes this machine use {_title(served)}.",
        "Running it again is harmless; revert.sh puts everything back as it was.",
    )
    return _render(
        "setup.sh.j2",
        served,
        about=about,
        files=files,
        destinations=sorted({file.destination for file in files if file.destination}),
        login=_login_values(served),
        identity=hashlib.sha256(repr((served.name, files)).encode()).hexdigest(),
    )


def _login_values(served: Served) -> dict[str, str] | None:
    """For setup.sh, which is given the site's netrc."""
    if served.site.login is None:
        return None
    return {
        "user": served.site.login.username,
        "machine": _machine(served),
        "place": netrc_on_nodes(served.name),
        "file": str(served.site.netrc_path),
        "registry": served.site.registry_host,
    }


def _revert(served: Served) -> str:
    return _render("revert.sh.j2", served, about=(f"Puts back all that setup.sh of {served.name} has changed.",))


def _check_script(served: Served, checks: Sequence[NodeCheck]) -> str:
    about = (f"Proves that this machine can use {_title(served)}.", "It exits 1 when a check fails.")
    return _render("check.sh.j2", served, about=about, checks=checks)


def _readme(served: Served, files: Sequence[NodeFile]) -> str:
    trust = None
    if served.ca is not None:
        sha256 = hashlib.sha256(served.ca.encode()).hexdigest()
        trust = {"file": served.site.ca_path, "sha256": sha256}
    return _render(
        "README.txt.j2",
        served,
        files=files,
        trust=trust,
        login=served.site.netrc_path,
        curl=served.site.curl(),
        set_up=served.site.set_up(served.url),
    )


def _render(template: str, served: Served, **values: object) -> str:
    return render(
        "bundler.site",
        template,
        name=served.name,
        version=served.version,
        url=served.url,
        title=_title(served),
        **values,
    )


def _title(served: Served) -> str:
    return f"{served.name} {served.version} of {served.url}"


def _check(files: Sequence[NodeFile]) -> None:
    """Raise ValueError for files that the scripts cannot put in place."""
    paths = [file.path for file in files]
    places = [file.destination for file in files if file.destination and not file.only_if]
    for names in (paths, places):  # files with a condition may share a place: each is for other machines
        if len(set(names)) != len(names):
            raise ValueError(f"two node files for {next(name for name in names if names.count(name) > 1)}")
    for file in files:
        check_path(file.path)
        in_home = file.destination is not None and file.destination.startswith("~/")
        destination = file.destination[1:] if file.destination and in_home else file.destination
        if file.secret and file.mode != 0o600:
            raise ValueError(f"{file.path}: a secret that others may read")
        for place in (destination, file.only_where, *file.displaces):
            if place is not None and (not place.startswith("/") or place != f"/{check_path(place[1:])}"):
                raise ValueError(f"{file.path}: {place!r} is no absolute path")
        if "\0" in file.content:
            raise ValueError(f"{file.path}: a shell script cannot hold a NUL")


class _Unsafe(str):
    """Text that Ansible must not take for a template."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(_Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text), style="|"))


def _playbook(served: Served, setup: str, revert: str, check: str) -> str:
    """The scripts as tasks: each is handed to sh on a node's standard input."""

    def run(name: str, script: str, **more: Any) -> dict[str, Any]:
        return {
            "name": name,
            "ansible.builtin.command": {
                "argv": ["/bin/sh", "-s"],
                "stdin": "{{ " + script + " }}",
                "stdin_add_newline": False,
            },
            **more,
        }

    # Of the machine that Ansible runs on.
    netrc = {"netrc": served.site.netrc_path} if served.site.login else {}
    set_up = run(
        "Put the node files in place",
        "setup_sh",
        tags=["setup"],
        register="setup_run",
        changed_when="'changed: ' in setup_run.stdout",
        when="not revert | bool",
    )
    play = {
        "name": f"Use {_title(served)}",
        "hosts": "all",
        "become": True,
        "gather_facts": False,
        "vars": {
            "revert": False,
            **netrc,
            "setup_sh": _Unsafe(setup),
            "revert_sh": _Unsafe(revert),
            "check_sh": _Unsafe(check),
        },
        "tasks": [
            _with_login(served, set_up) if served.site.login else set_up,
            run("Prove that they work", "check_sh", tags=["check"], changed_when=False, when="not revert | bool"),
            run(
                "Put everything back",
                "revert_sh",
                tags=["revert"],
                register="revert_run",
                changed_when="'changed: ' in revert_run.stdout",
                when="revert | bool",
            ),
        ],
    }
    head = f"# ansible-playbook -i INVENTORY node-setup.yml [-e revert=true]: {_title(served)}, on many machines\n"
    return head + yaml.dump([play], Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def _with_login(served: Served, set_up: dict[str, Any]) -> dict[str, Any]:
    """`set_up` with the netrc, handed over in a file: Ansible shows and logs what it does, but for `no_log`."""
    place = f"/run/bundler-{served.name}.netrc"
    set_up["environment"] = {"BUNDLER_NETRC": place}
    hand_over = {
        "name": "Hand over the log-in",
        "ansible.builtin.copy": {
            "content": "{{ lookup('ansible.builtin.file', netrc) }}\n",
            "dest": place,
            "mode": "0600",
        },
        "no_log": True,
        "changed_when": False,
    }
    take_away = {
        "name": "Take that file away",
        "ansible.builtin.file": {"path": place, "state": "absent"},
        "changed_when": False,
    }
    return {
        "name": "Set the machine up",
        "tags": set_up.pop("tags"),
        "when": set_up.pop("when"),
        "block": [hand_over, set_up],
        "always": [take_away],
    }
