"""The policy module, compiled into a whole reference policy (Debian's selinux-policy-default) and read back."""

from __future__ import annotations

import bz2
import shutil
import subprocess
from pathlib import Path

import pytest

from bundler.site.host import selinux

_MODULES = Path("/usr/share/selinux/default")
_TO_CIL = Path("/usr/libexec/selinux/hll/pp")
# What Enterprise Linux has, and Debian's policy has not.
_OF_ENTERPRISE_LINUX = """\
(type unconfined_service_t) (roletype object_r unconfined_service_t) (typeattributeset domain (unconfined_service_t))
(type container_t) (roletype object_r container_t) (typeattributeset domain (container_t))
(type container_file_t) (roletype object_r container_file_t) (typeattributeset file_type (container_file_t))
"""


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The reference policy, as files."""
    if not (_MODULES.is_dir() and _TO_CIL.exists() and shutil.which("secilc") and shutil.which("sesearch")):
        pytest.skip("needs secilc, setools, policycoreutils and selinux-policy-default")
    folder = tmp_path_factory.mktemp("policy")
    for module in _MODULES.glob("*.pp.bz2"):
        package = folder / module.stem
        package.write_bytes(bz2.decompress(module.read_bytes()))
        subprocess.run([str(_TO_CIL), str(package), str(package.with_suffix(".cil"))], check=True, capture_output=True)
    return [str(path) for path in folder.glob("*.cil")]


@pytest.mark.parametrize("more", ["", _OF_ENTERPRISE_LINUX], ids=["debian", "with the types of enterprise linux"])
def test_nginx_may_connect_to_the_services_and_gets_no_other_right(
    tmp_path: Path, reference: list[str], more: str
) -> None:
    (tmp_path / "bundler.cil").write_text(selinux.POLICY)
    (tmp_path / "types.cil").write_text(more)
    rules = []
    for name, modules in (("without", []), ("with", [str(tmp_path / "bundler.cil")])):
        binary = str(tmp_path / name)
        argv = ["secilc", "-f", "/dev/null", "-o", binary, *reference, str(tmp_path / "types.cil"), *modules]
        subprocess.run(argv, check=True, capture_output=True)
        found = subprocess.run(
            ["sesearch", "-A", "-s", "httpd_t", "-ds", binary], capture_output=True, text=True, check=True
        ).stdout
        rules.append(set(found.splitlines()))
    expected = {
        "allow httpd_t initrc_t:unix_stream_socket connectto;",
        "allow httpd_t default_t:dir { getattr search };",
    }
    if more:
        expected |= {
            "allow httpd_t unconfined_service_t:unix_stream_socket connectto;",
            "allow httpd_t container_t:unix_stream_socket connectto;",
            "allow httpd_t container_file_t:dir { getattr search };",
            "allow httpd_t container_file_t:sock_file { getattr write };",
        }
    assert rules[1] - rules[0] == expected
