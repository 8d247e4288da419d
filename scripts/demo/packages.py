"""RPM repositories for the demo's internet: of packages that Rocky signed, or built and signed on the spot."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.demo.hosts import HERE

# What Rocky 8 has in AppStream, by the head of the file's name; the rest is BaseOS.
_APPSTREAM = ("apr", "container-selinux", "createrepo_c", "drpm", "httpd", "mod_http2", "rocky-logos-httpd", "socat")

_SPEC = """\
Name: {name}
Version: 1.0
Release: 1.el8
Summary: A stand-in for {name}, made by bundler's demo
License: Apache-2.0
BuildArch: noarch
AutoReqProv: no
{requires}
%description
A stand-in for {name}.
%install
mkdir -p %{{buildroot}}/usr/share/{name}
echo {name} >%{{buildroot}}/usr/share/{name}/name
%files
/usr/share/{name}
"""
# name: what it requires
_BUILT = {
    "socat": (),
    "conntrack-tools": ("libnetfilter_conntrack",),
    "libnetfilter_conntrack": ("libnfnetlink",),
    "libnfnetlink": (),
}


def rocky_repositories(rpms: Path, key: Path, tree: Path) -> None:
    """Lay out `tree` as Rocky's mirrors do, with the packages of the folder `rpms`, signed by `key`."""
    for rpm in sorted(rpms.glob("*.rpm")):
        repository = "AppStream" if rpm.name.startswith(_APPSTREAM) else "BaseOS"
        _take(rpm, _repository(tree, repository))
    _finish(tree, key.read_bytes())


def built_repositories(work: Path, tree: Path) -> None:
    """The same tree with packages built by rpmbuild and signed with a key that is thrown away afterwards."""
    work.mkdir(parents=True)
    with _throw_away_key(work / "gnupg") as (key, sign):
        for name, requires in _BUILT.items():
            spec = work / f"{name}.spec"
            spec.write_text(_SPEC.format(name=name, requires="".join(f"Requires: {what}\n" for what in requires)))
            HERE.run(["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {work}/rpmbuild", str(spec)])
        for rpm in sorted((work / "rpmbuild" / "RPMS").rglob("*.rpm")):
            HERE.run(["rpmsign", *sign, "--addsign", str(rpm)])
            _take(rpm, _repository(tree, "AppStream" if rpm.name.startswith(_APPSTREAM) else "BaseOS"))
        _finish(tree, key)


@contextmanager
def _throw_away_key(home: Path) -> Iterator[tuple[bytes, list[str]]]:
    """A new OpenPGP key: its public half, armoured, and the options that make rpmsign use it."""
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--batch", "--homedir", str(home)]
    user = "Demo <demo@bundler.invalid>"
    try:
        HERE.run([*gpg, "--passphrase", "", "--quick-generate-key", user, "rsa3072", "sign", "never"])
        # Debian names gpg2 in rpm's macros, and has none.
        macros = {"__gpg": shutil.which("gpg"), "_gpg_path": home, "_gpg_name": user}
        options = [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]
        public = HERE.run([*gpg, "--armor", "--export", user]).stdout.encode()
        yield public, options
    finally:
        HERE.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)
        shutil.rmtree(home, ignore_errors=True)


def _repository(tree: Path, name: str) -> Path:
    return tree / "8" / name / "x86_64" / "os"


def _take(rpm: Path, repository: Path) -> None:
    packages = repository / "Packages" / rpm.name[0].lower()
    packages.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(rpm, packages / rpm.name)


def _finish(tree: Path, key: bytes) -> None:
    for name in ("BaseOS", "AppStream"):
        HERE.run(["createrepo_c", "--quiet", str(_repository(tree, name))])
    (tree / "RPM-GPG-KEY-Rocky-8").write_bytes(key)
