"""Mirrors, credentials, certificates and limits on the way to an upstream."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from bundler.errors import ConfigError, FetchError, IntegrityError, ProfileError
from bundler.model.config import Config, HostCredentials
from bundler.transfer.store import Store
from bundler.transfer.upstream import Upstream
from tests.fakes import upstream as fake
from tests.fakes.outside import CONFIG
from tests.fakes.upstream import Fault, sha256
from tests.fakes.upstream import Upstream as Server


def opened(tmp_path: Path, **changes: object) -> Upstream:
    return Upstream(CONFIG.model_copy(update=changes), base=tmp_path, store=Store(tmp_path / "store"))


def test_the_longest_mirror_that_fits_is_taken(tmp_path: Path, server: Server) -> None:
    server.put("/k8s/v1/kubeadm", b"short head")
    server.put("/new/kubeadm", b"long head")
    mirrors = {"https://dl.k8s.io/": f"{server.url}/k8s/", "https://dl.k8s.io/v2/": f"{server.url}/new/"}
    with opened(tmp_path, mirrors=mirrors) as outside:
        assert outside.read("https://dl.k8s.io/v1/kubeadm", limit=100) == b"short head"
        assert outside.read("https://dl.k8s.io/v2/kubeadm", limit=100) == b"long head"
        assert outside.mirrored("https://dl.k8s.io.example/") == "https://dl.k8s.io.example/"


def test_a_mirror_stands_for_whole_segments(tmp_path: Path) -> None:
    mirrors = {"https://dl.k8s.io": "http://m/k8s/", "https://other/a/": "http://m/b"}
    with opened(tmp_path, mirrors=mirrors) as outside:
        assert outside.mirrored("https://dl.k8s.io/x?y") == "http://m/k8s/x?y"
        assert outside.mirrored("https://dl.k8s.io.example/x") == "https://dl.k8s.io.example/x"
        assert outside.mirrored("https://other/a/x") == "http://m/b/x"
        assert outside.mirrored("https://other/ab") == "https://other/ab"


def test_a_mirror_carries_no_password(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mirrors\.https://a/"):
        opened(tmp_path, mirrors={"https://a/": "http://me:hunter2@m/"})
    assert list(Path(tmp_path).iterdir()) == []


def test_a_proxy_is_asked_but_for_hosts_that_need_none(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.put("http://far.example/x", b"by proxy")
    server.put("/near", b"straight", Fault(status=302, headers={"Location": "http://far.example/x"}))
    with opened(tmp_path, proxies={"http": server.url}) as outside:
        assert outside.read(f"{server.url}/near", limit=10) == b"by proxy"
        assert outside.read(f"{server.url}/near", limit=10) == b"straight"
    assert [request.path for request in server.seen] == ["/near", "http://far.example/x", "/near"]


def test_a_netrc_is_not_used(
    tmp_path: Path, server: Server, outside: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("default login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    outside.read(server.put("/x", b"x"), limit=10)
    assert "Authorization" not in server.seen[0].headers


def test_an_authority_of_the_config_is_trusted_beside_the_systems(tmp_path: Path) -> None:
    certificate = tmp_path / "server.pem"
    made = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    named = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(certificate), "-out", str(certificate)]
    subprocess.run(["openssl", "req", *made, *named, *files], check=True, capture_output=True)
    authority = tmp_path / "ca.pem"
    authority.write_text("-----BEGIN CERTIFICATE" + certificate.read_text().partition("-----BEGIN CERTIFICATE")[2])
    with fake.upstream(certificate=certificate) as secure:
        secure.put("/x", b"x")
        with opened(tmp_path) as outside, pytest.raises(FetchError) as caught:
            outside.read(f"{secure.url}/x", limit=10)
        assert "not trusted" in caught.value.message
        assert "ca_files" in caught.value.hint
        with opened(tmp_path, ca_files=(str(authority),)) as outside:
            assert outside.read(f"{secure.url}/x", limit=10) == b"x"
            bundle = next(outside.scratch.glob("ca-*.pem")).read_text()
            assert bundle.count("BEGIN CERTIFICATE") > 20


def test_credentials_go_to_their_host_and_to_no_other(tmp_path: Path, server: Server) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    host = server.url.removeprefix("http://")
    server.put("/x", b"data")
    server.put("/away", b"", Fault(status=302, headers={"Location": f"http://localhost:{host.partition(':')[2]}/x"}))
    credentials = {host: HostCredentials(username="me", password_file=str(tmp_path / "secret"))}
    with opened(tmp_path, credentials=credentials) as outside:
        assert outside.read(f"{server.url}/away", limit=10) == b"data"
    asked, followed = server.seen
    assert asked.headers["Authorization"] == "Basic " + base64.b64encode(b"me:hunter2").decode()
    assert "Authorization" not in followed.headers


def test_a_secret_that_is_not_there_is_an_error(tmp_path: Path, server: Server) -> None:
    host = server.url.removeprefix("http://")
    credentials = {host: HostCredentials(username="me", password_file=str(tmp_path / "none"))}
    with opened(tmp_path, credentials=credentials) as outside, pytest.raises(ConfigError, match="none"):
        outside.read(f"{server.url}/x", limit=10)


def test_a_ca_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ca_files"):
        opened(tmp_path, ca_files=(str(tmp_path / "none.pem"),))


def test_bytes_are_asked_for_as_they_are(server: Server, outside: Upstream) -> None:
    outside.read(server.put("/x.gz", b"\x1f\x8b raw"), limit=100)
    assert server.seen[0].headers["Accept-Encoding"] == "identity"
    assert server.seen[0].headers["User-Agent"].startswith("bundler/")


def test_reading_is_bounded(tmp_path: Path, server: Server, outside: Upstream) -> None:
    with pytest.raises(FetchError, match="limit of 10 B for such a file"):
        outside.read(server.put("/x", bytes(1000)), limit=10)
    (tmp_path / "local").write_bytes(bytes(1000))
    with pytest.raises(ProfileError, match="too large: more than 10 B"):
        outside.read("local", limit=10)


def test_a_local_file_that_is_not_there_is_an_error(outside: Upstream) -> None:
    with pytest.raises(ProfileError, match="no such file"):
        outside.read("keys/none", limit=10)


def test_measuring_asks_for_the_size_only_when_the_digest_is_known(server: Server, outside: Upstream) -> None:
    url = server.put("/x", b"12345")
    assert outside.measure(url, sha256="a" * 64) == (5, "a" * 64)
    assert server.sent == 0
    assert outside.measure(url) == (5, sha256(b"12345"))


def test_measuring_reads_where_the_upstream_does_not_tell(server: Server, outside: Upstream) -> None:
    url = server.put("/x", b"12345", Fault(status=405))
    assert outside.measure(url, sha256=sha256(b"12345")) == (5, sha256(b"12345"))
    url = server.put("/y", b"12345", Fault(status=405))
    with pytest.raises(IntegrityError):
        outside.measure(url, sha256="a" * 64)


@pytest.mark.parametrize("status", [403, 404, 501])
def test_a_head_that_is_refused_says_nothing_of_the_file(server: Server, outside: Upstream, status: int) -> None:
    url = server.put("/x", b"12345", Fault(status=status))
    assert outside.measure(url, sha256=sha256(b"12345")) == (5, sha256(b"12345"))


def test_a_page_is_not_measured_for_the_file(server: Server, outside: Upstream) -> None:
    page = Fault(body=b"<html>Log in", content_type="text/html")
    with pytest.raises(FetchError, match="HTML page"):
        outside.measure(server.put("/x", b"12345", page, page), sha256=sha256(b"12345"))


def test_measuring_goes_on_where_it_was_cut(server: Server, outside: Upstream) -> None:
    data = bytes(range(256)) * 4096
    server.etags["/x"] = '"one"'
    assert outside.measure(server.put("/x", data, Fault(cut_at=1000))) == (len(data), sha256(data))
    assert server.ranges() == [None, "bytes=1000-"]


def test_parts_of_two_versions_never_pass_for_one_file(tmp_path: Path, server: Server, outside: Upstream) -> None:
    url = server.put("/x", b"new" * 1000, Fault(body=b"old" * 1000, cut_at=1500))
    outside.download(url, tmp_path / "x")  # nothing tells the versions apart: from the start
    assert (tmp_path / "x").read_bytes() == b"new" * 1000
    server.put("/x", b"new" * 1000, Fault(body=b"old" * 1000, cut_at=1500, headers={"ETag": '"old"'}))
    outside.download(url, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"new" * 1000


def test_a_body_that_broke_off_is_never_taken_for_the_whole(server: Server, outside: Upstream) -> None:
    assert outside.read(server.put("/x", b"12345", Fault(cut_at=3)), limit=10) == b"12345"
    assert outside.read(server.put("/y", b"12345", Fault(cut_at=3, chunked=True)), limit=10) == b"12345"


def test_a_download_goes_on_and_is_held_to_its_promise(tmp_path: Path, server: Server, outside: Upstream) -> None:
    data = bytes(range(256)) * 4096
    url = server.put("/x", data, Fault(cut_at=1000), Fault(status=502))
    outside.download(url, tmp_path / "x", size=len(data), sha256=sha256(data))
    assert (tmp_path / "x").read_bytes() == data
    with pytest.raises(IntegrityError, match="where 10 bytes were promised"):
        outside.download(url, tmp_path / "x", size=10)
    with pytest.raises(IntegrityError, match="sha256"):
        outside.download(url, tmp_path / "x", sha256="a" * 64)


def test_scratch_is_gone_afterwards(tmp_path: Path) -> None:
    with opened(tmp_path) as outside:
        (outside.scratch / "x").write_text("y")
    assert not outside.scratch.exists()


def test_what_is_kept_is_kept_once_by_its_digest(tmp_path: Path, outside: Upstream) -> None:
    first, second = outside.keep("rpms/a", b"same"), outside.keep("rpms/b", b"same")
    assert first.sha256 == second.sha256 == sha256(b"same")
    assert [path.name for path in (tmp_path / "store").iterdir()] == [sha256(b"same")]


def test_config_may_not_hold_a_secret() -> None:
    assert "password" not in HostCredentials.model_fields
    assert Config().credentials == {}


def test_questions_for_the_size_share_a_connection(
    server: Server, outside: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    url = server.put("/package.rpm", b"x" * 10)
    with caplog.at_level("DEBUG", logger="urllib3.connectionpool"):
        assert [outside.measure(url, sha256="0" * 64)[0] for _ in range(3)] == [10, 10, 10]
    assert sum("Starting new HTTP connection" in message for message in caplog.messages) == 1
    assert not any("Resetting dropped connection" in message for message in caplog.messages)
