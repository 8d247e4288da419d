"""What a site lets readers in with. That nginx holds them to it is tried in tests/e2e/test_login.py."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from bundler.errors import ConfigError
from bundler.inputs import keep_site, read_site
from bundler.model.site import ExternalRegistry, Login, Served, SiteConfig
from bundler.site.login import ensure


def asking(root: Path, **login: str) -> SiteConfig:
    return SiteConfig(
        address="192.168.10.10", root=str(root), tls="self-signed", login=Login(username="nodes", **login)
    )


def files(root: Path) -> dict[str, tuple[str, int]]:
    return {path.name: (path.read_text(), stat.S_IMODE(path.stat().st_mode)) for path in (root / "login").iterdir()}


def test_a_site_without(tmp_path: Path) -> None:
    config = SiteConfig(address="192.168.10.10", root=str(tmp_path))
    assert ensure(config) is None
    assert config.reader is None
    assert list(tmp_path.iterdir()) == []


def test_it_is_made_once(tmp_path: Path) -> None:
    assert ensure(asking(tmp_path)) == tmp_path / "login/htpasswd"
    made = files(tmp_path)
    password = made["password"][0].strip()
    assert len(password) > 40
    assert made["netrc"] == (f"machine 192.168.10.10 login nodes password {password}\n", 0o600)
    assert made["htpasswd"][0].startswith("nodes:{SSHA}")
    assert password not in made["htpasswd"][0]
    ensure(asking(tmp_path))
    assert files(tmp_path) == made


def test_a_new_password_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    ensure(asking(tmp_path))
    before = files(tmp_path)
    (tmp_path / "login/password").unlink()
    ensure(asking(tmp_path))
    after = files(tmp_path)
    assert all(after[name][0] != before[name][0] for name in ("password", "netrc", "htpasswd"))


def test_another_user(tmp_path: Path) -> None:
    ensure(asking(tmp_path))
    config = asking(tmp_path).model_copy(update={"login": Login(username="racks")})
    ensure(config)
    assert files(tmp_path)["htpasswd"][0].startswith("racks:")
    assert " login racks " in files(tmp_path)["netrc"][0]


@pytest.mark.parametrize("damage", ["", "nodes", "nodes:{SSHA}", "nodes:{SSHA}not base64!", "nodes:{PLAIN}x\n"])
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: str) -> None:
    known = ensure(asking(tmp_path))
    assert known is not None
    known.write_text(damage)
    ensure(asking(tmp_path))
    assert len(known.read_text()) > 60


def test_a_given_password(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_text("0123456789abcdef0123456789abcdef\n")
    ensure(asking(tmp_path, password_file=str(given)))
    assert sorted(files(tmp_path)) == ["htpasswd", "netrc"]
    assert files(tmp_path)["netrc"][0].endswith(" password 0123456789abcdef0123456789abcdef\n")


@pytest.mark.parametrize(
    "password", ["short", "with blank 0123456789abcdef", "it's 0123456789abcdef0123", "$(id)" * 5, ""]
)
def test_a_password_that_will_not_do(tmp_path: Path, password: str) -> None:
    given = tmp_path / "given"
    given.write_text(f"{password}\n")
    with pytest.raises(ConfigError) as caught:
        ensure(asking(tmp_path, password_file=str(given)))
    assert caught.value.hint
    assert not password or password not in str(caught.value)
    assert not (tmp_path / "login/htpasswd").exists()


def test_no_password_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the password of nodes"):
        ensure(asking(tmp_path, password_file=str(tmp_path / "none")))


@pytest.mark.parametrize("user", ["", "a b", "a:b", "-a", "a\nb", "é", "x" * 65])
def test_users_that_no_client_could_send(user: str) -> None:
    with pytest.raises(ValueError, match="username"):
        Login(username=user)


def test_not_over_plain_http(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="everybody on the way could read the password"):
        read_site(None, address="192.168.10.10", root=tmp_path, login="nodes")


def test_later_commands_know_of_it(tmp_path: Path) -> None:
    keep_site(read_site(None, address="192.168.10.10", root=tmp_path, tls="self-signed", login="nodes"))
    kept = read_site(None, address=None, root=tmp_path)
    assert kept.login == Login(username="nodes")
    assert kept.set_up("https://192.168.10.10/demo") == (
        "curl -fsS --cacert ca.pem --netrc-file netrc https://192.168.10.10/demo/nodes/setup.sh | "
        "BUNDLER_NETRC=netrc sh"
    )


def test_what_is_not_the_sites_own_asks_for_itself(tmp_path: Path) -> None:
    registry = ExternalRegistry(url="https://harbor.corp.example")
    served = Served(asking(tmp_path).model_copy(update={"registry": registry}), "demo", "1")
    assert served.login(served.site.registry) is None
    assert "netrc" not in served.curl(served.site.registry)
    assert served.curl(served.site.web).endswith(" --netrc-file /etc/bundler/demo.netrc")
