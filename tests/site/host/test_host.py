"""What a site changes on its machine, and the way back; programs that this machine has not are recorded."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from bundler.errors import SiteError
from bundler.site.host import firewall, selinux
from bundler.site.host.changes import Changes
from tests.site.host.recorded import Recorder


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return Recorder(folder)


@pytest.fixture
def changes(tmp_path: Path) -> Changes:
    return Changes(tmp_path / "services" / "host")


def test_files_come_back_as_they_were(tmp_path: Path, changes: Changes) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    there, link, fresh = etc / "there.conf", etc / "link.conf", etc / "new" / "deep" / "fresh.conf"
    there.write_bytes(b"as it \xff was")
    there.chmod(0o640)
    os.utime(there, ns=(10**18, 10**18))
    link.symlink_to("there.conf")
    for path in (there, link, fresh):
        assert changes.write(path, "ours")
        assert not changes.write(path, "ours")
        assert changes.write(path, "ours, newer", mode=0o600)
    assert fresh.stat().st_mode & 0o777 == 0o600
    Changes(tmp_path / "services" / "host").undo()  # another process, later
    assert (there.read_bytes(), there.stat().st_mode & 0o777, there.stat().st_mtime_ns) == (
        b"as it \xff was",
        0o640,
        10**18,
    )
    assert link.readlink() == Path("there.conf")
    assert sorted(path.name for path in etc.iterdir()) == ["link.conf", "there.conf"]
    assert not (tmp_path / "services" / "host").exists()


def test_a_folder_that_others_use_by_now_stays(tmp_path: Path, changes: Changes) -> None:
    changes.write(tmp_path / "conf.d" / "ours.conf", "ours")
    (tmp_path / "conf.d" / "theirs.conf").write_text("theirs")
    changes.undo()
    assert [path.name for path in (tmp_path / "conf.d").iterdir()] == ["theirs.conf"]


def test_a_change_that_failed_is_not_noted(changes: Changes) -> None:
    def fail() -> None:
        raise SiteError("no", hint="none")

    with pytest.raises(SiteError):
        changes.make("user", "someone", fail)
    assert not changes.has("user", "someone")


def test_what_cannot_be_undone_is_told_and_the_rest_goes_on(
    tmp_path: Path, changes: Changes, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    recorder.program("userdel", someone="echo 'user someone is logged in' >&2; exit 8")
    changes.write(tmp_path / "first.conf", "ours")
    changes.make("user", "someone", lambda: None)
    changes.undo()
    assert "could not undo user someone" in caplog.text
    assert "is logged in" in caplog.text
    assert not (tmp_path / "first.conf").exists()


def test_ports_are_opened_where_firewalld_runs_and_closed_again(recorder: Recorder, changes: Changes) -> None:
    recorder.program("firewall-cmd", query_port_80="exit 0", query_port="exit 1")
    firewall.open_ports([80, 5000], changes)
    assert recorder.changing("add-port") == [
        "firewall-cmd --quiet --permanent --add-port=5000/tcp",
        "firewall-cmd --quiet --add-port=5000/tcp",
    ]
    changes.undo()
    assert recorder.changing("remove-port") == [  # 80 was open before, and stays
        "firewall-cmd --quiet --remove-port=5000/tcp",
        "firewall-cmd --quiet --permanent --remove-port=5000/tcp",
    ]


def test_a_firewall_that_does_not_run_is_left_alone(recorder: Recorder, changes: Changes) -> None:
    recorder.program("firewall-cmd", state="exit 252")
    firewall.open_ports([80], changes)
    assert recorder.calls == ["firewall-cmd --quiet --state"]


def test_selinux_is_told_what_nginx_may(tmp_path: Path, recorder: Recorder, changes: Changes) -> None:
    recorder.program("selinuxenabled")
    recorder.program("semodule", _i='cat "$2" >>LOG')
    recorder.program("restorecon")
    recorder.program("semanage", port__a__t_http_port_t__p_tcp_5000="exit 1")
    content, programs, readers, sockets = (tmp_path / name for name in ("repos", "services", "login", "run/devpi"))
    for _ in range(2):
        selinux.allow(
            content=content,
            certificates=None,
            readers=readers,
            programs=programs,
            sockets=[sockets],
            ports=[80, 3141, 5000],
            changes=changes,
        )
    assert recorder.changing("setsebool") == []
    assert "    (allow httpd_t unconfined_service_t (unix_stream_socket (connectto))))" in recorder.calls
    changed = recorder.changing("semanage", "semodule")
    module = changed.pop()
    assert re.fullmatch(r"semodule -i /\S+/bundler\.cil", module)
    assert changed == [
        f"semanage fcontext -a -t httpd_sys_content_t {re.escape(str(content))}(/.*)?",
        f"semanage fcontext -a -t httpd_config_t {re.escape(str(readers))}(/.*)?",
        f"semanage fcontext -a -t bin_t {re.escape(str(programs))}(/.*)?",
        "semanage port -a -t http_port_t -p tcp 3141",
        "semanage port -a -t http_port_t -p tcp 5000",
        "semanage port -m -t http_port_t -p tcp 5000",  # the policy had it for something else
        f"semanage fcontext -a -t httpd_var_run_t {re.escape(str(sockets))}(/.*)?",
    ]
    assert f"restorecon -RF {content}" in recorder.calls
    changes.undo()
    assert recorder.changing("semanage", "semodule")[len(changed) + 1 :] == [
        "semodule -r bundler",
        f"semanage fcontext -d {re.escape(str(sockets))}(/.*)?",
        "semanage port -d -p tcp 5000",
        "semanage port -d -p tcp 3141",
        f"semanage fcontext -d {re.escape(str(programs))}(/.*)?",
        f"semanage fcontext -d {re.escape(str(readers))}(/.*)?",
        f"semanage fcontext -d {re.escape(str(content))}(/.*)?",
    ]


def test_without_selinux_nothing_is_asked(tmp_path: Path, recorder: Recorder, changes: Changes) -> None:
    recorder.program("selinuxenabled", **{"": "exit 1"})
    recorder.program("semanage")
    selinux.allow(
        certificates=None,
        readers=None,
        content=tmp_path,
        programs=tmp_path,
        sockets=[],
        ports=[5000],
        changes=changes,
    )
    assert recorder.changing("semanage") == []


def test_a_machine_without_semanage_is_told_what_to_install(
    tmp_path: Path, recorder: Recorder, changes: Changes
) -> None:
    recorder.program("selinuxenabled")
    with pytest.raises(SiteError) as caught:
        selinux.allow(
            certificates=None,
            readers=None,
            content=tmp_path,
            programs=tmp_path,
            sockets=None,
            ports=[5000],
            changes=changes,
        )
    assert "policycoreutils-python-utils" in caught.value.hint


def test_the_notes_are_plain_json_for_people(tmp_path: Path, changes: Changes) -> None:
    changes.write(tmp_path / "x.conf", "ours")
    notes = json.loads((tmp_path / "services/host/changes.json").read_text())
    assert notes == [{"what": "file", "name": str(tmp_path / "x.conf"), "earlier": None}]
