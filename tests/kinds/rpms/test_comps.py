from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.errors import ResolveError
from bundler.kinds.rpms.comps import Comps, GroupPackage
from bundler.kinds.rpms.metadata import RepoMetadata
from tests.kinds.rpms.rpmmd import cs9, write_repo

WEB = """<group><id>web</id><name>Web Server</name><name xml:lang="de">Webdienst</name><packagelist>
    <packagereq type="mandatory">httpd</packagereq>
    <packagereq type="default" basearchonly="true">nginx</packagereq>
    <packagereq type="optional">lighttpd</packagereq>
    <packagereq type="conditional" requires="httpd">httpd-lang</packagereq></packagelist></group>"""
TOOLS = """<group><id>tools</id><name>Tools</name><packagelist>
    <packagereq type="mandatory">make</packagereq></packagelist></group>"""
HOST = """<environment><id>web-host</id><name>Web Host</name>
    <grouplist><groupid>tools</groupid></grouplist><optionlist><groupid>web</groupid></optionlist></environment>"""


@pytest.fixture
def comps(tmp_path: Path) -> Callable[..., RepoMetadata]:
    def write(repo_id: str, *parts: str) -> RepoMetadata:
        text = f'<?xml version="1.0" encoding="UTF-8"?><comps>{"".join(parts)}</comps>'
        return write_repo(tmp_path, repo_id, [], comps=text)

    return write


Write = Callable[..., RepoMetadata]


@pytest.mark.parametrize("spec", ["web", "Web Server", "we?", "WEB SERV*"])
def test_a_group_is_its_mandatory_default_and_conditional_packages(comps: Write, spec: str) -> None:
    assert Comps([comps("base", WEB, TOOLS)]).packages(spec) == (
        GroupPackage("httpd", "", False),
        GroupPackage("httpd-lang", "httpd", False),
        GroupPackage("nginx", "", True),
    )


@pytest.mark.parametrize("spec", ["^web-host", "web-host", "^Web Host"])
def test_an_environment_is_its_mandatory_groups(comps: Write, spec: str) -> None:
    found = Comps([comps("base", WEB, TOOLS, HOST)]).packages(spec)
    assert [package.name for package in found] == ["make"]


def test_a_groups_packages_come_from_all_repositories(comps: Write) -> None:
    packages = '<packagelist><packagereq type="default">more</packagereq></packagelist>'
    more = f"<group><id>web</id><name>Web Server</name>{packages}</group>"
    found = Comps([comps("base", WEB), comps("extra", more)]).packages("web")
    assert [package.name for package in found] == ["httpd", "httpd-lang", "more", "nginx"]


@pytest.mark.parametrize("spec", ["wob", "^web"])
def test_an_unknown_group_is_named_with_those_there_are(comps: Write, spec: str) -> None:
    with pytest.raises(ResolveError, match="no repository has a group or environment") as caught:
        Comps([comps("base", WEB, HOST)]).packages(spec)
    assert caught.value.hint == "there are: @^web-host, @web"


def test_without_comps_the_hint_says_so(tmp_path: Path) -> None:
    with pytest.raises(ResolveError) as caught:
        Comps([write_repo(tmp_path, "base", [])]).packages("web")
    assert caught.value.hint == "no repository of the profile has comps metadata"


@pytest.mark.parametrize("content", [b"", b"<comps><group>", b"\xff\xfe"])
def test_damaged_comps_name_their_repository(comps: Write, content: bytes) -> None:
    repo = comps("broken", WEB)
    assert repo.comps is not None
    repo.comps.write_bytes(content)
    with pytest.raises(ResolveError, match=r"repository broken: comps.xml is no comps.xml"):
        Comps([repo])


def test_the_groups_of_centos_stream(shared: Path) -> None:
    comps = Comps(cs9(shared))
    assert {"gcc", "make", "gdb"} <= {package.name for package in comps.packages("development")}
    assert comps.packages("development") == comps.packages("Development Tools")
