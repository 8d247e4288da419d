"""RPM repositories for the demo's internet: of packages that Rocky signed, or built and signed on the spot."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.demo.hosts import HERE

_ARMOUR = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"

# What Rocky 8 has in AppStream, by the head of the file's name; the rest is BaseOS.
_APPSTREAM = ("apr", "container-selinux", "createrepo_c", "drpm", "httpd", "mod_http2", "rocky-logos-httpd", "socat")

_SPEC = """\
Name: bundler-demo
Version: 1.0
Release: 1.{dist}
Summary: Stand-ins made by bundler's demo
License: Apache-2.0
BuildArch: noarch
AutoReqProv: no
%description
Stand-ins.
%install
{install}
"""
_PACKAGE = """\
%package -n {name}
Summary: A stand-in for {name}
{relations}
%description -n {name}
A stand-in for {name}.
%files -n {name}
/usr/share/{name}
"""


@dataclass(frozen=True)
class Package:
    """A stand-in to be built: its name, and what it requires and provides beside."""

    name: str
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


_BUILT = (
    Package("socat"),
    Package("conntrack-tools", requires=("libnetfilter_conntrack",)),
    Package("libnetfilter_conntrack", requires=("libnfnetlink",)),
    Package("libnfnetlink"),
)


def rocky_repositories(rpms: Path, key: Path, work: Path, tree: Path) -> None:
    """Lay out `tree` as Rocky's mirrors do, with the packages of the folder `rpms`, which `key` signed.

    Where `key` is no OpenPGP key, nobody could check the signatures: copies are signed anew, with a key that
    is thrown away afterwards.
    """
    public = key.read_bytes()
    if _ARMOUR in public:
        _lay_out(sorted(rpms.glob("*.rpm")), public, tree)
        return
    copies = work / "copies"
    shutil.copytree(rpms, copies, ignore=shutil.ignore_patterns("repodata"), copy_function=shutil.copyfile)
    _sign_and_lay_out(sorted(copies.glob("*.rpm")), work, tree)


def built_repositories(work: Path, tree: Path, packages: Sequence[Package] = _BUILT, release: str = "8") -> None:
    """The same tree, for `release`, with packages built by rpmbuild; the key that signs them is thrown away."""
    work.mkdir(exist_ok=True)
    install = "".join(f"mkdir -p %{{buildroot}}/usr/share/{package.name}\n" for package in packages)
    spec = work / "stand-ins.spec"
    spec.write_text(_SPEC.format(dist=f"el{release}", install=install) + "".join(map(_section, packages)))
    HERE.run(["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {work}/rpmbuild", str(spec)])
    _sign_and_lay_out(sorted((work / "rpmbuild" / "RPMS").rglob("*.rpm")), work, tree, release)


def _section(package: Package) -> str:
    relations = [f"Requires: {what}" for what in package.requires] + [f"Provides: {what}" for what in package.provides]
    return _PACKAGE.format(name=package.name, relations="\n".join(relations))


def _sign_and_lay_out(rpms: Sequence[Path], work: Path, tree: Path, release: str = "8") -> None:
    with _throw_away_key(work / "gnupg") as (public, options):
        HERE.run(["rpmsign", *options, "--addsign", *map(str, rpms)])
    _lay_out(rpms, public, tree, release)


def _lay_out(rpms: Sequence[Path], public: bytes, tree: Path, release: str = "8") -> None:
    repositories = {name: tree / release / name / "x86_64" / "os" for name in ("BaseOS", "AppStream")}
    for rpm in rpms:
        repository = repositories["AppStream" if rpm.name.startswith(_APPSTREAM) else "BaseOS"]
        packages = repository / "Packages" / rpm.name[0].lower()
        packages.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(rpm, packages / rpm.name)
    for repository in repositories.values():
        repository.mkdir(parents=True, exist_ok=True)
        HERE.run(["createrepo_c", "--quiet", str(repository)])
    (tree / f"RPM-GPG-KEY-Rocky-{release}").write_bytes(public)


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
