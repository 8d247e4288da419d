"""Builds the wheel of one source distribution, inside the sandbox: `python backend.py JSON`.

JSON has `source` (the archive), `wheels` (a folder), `pip` (where pip's package lies) and `included` (the requirements
that the wheels are of). One line of JSON goes to stdout: `{"requires": […]}` where the build needs more than is
included, else `{"wheel": NAME}`, with the wheel's bytes behind it. All else that is printed goes to stderr.

The archive's pyproject.toml is read before any code of the package runs (PEP 518); the backend is asked what else it
needs by PEP 517. Nothing of bundler is imported.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

SOURCE, ENVIRONMENT, OUT = Path("/build/source"), Path("/build/environment"), Path("/build/out")
# What a source without a word about its build is built with (PEP 517).
DEFAULT_REQUIRES, DEFAULT_BACKEND = ["setuptools>=40.8.0"], "setuptools.build_meta:__legacy__"
_HOOKS = "--hooks"
_SAID = 2  # stderr


def prepare(given: dict[str, Any]) -> None:
    """Unpack the source, make its build environment, and go on in there."""
    tree = unpack(Path(given["source"]))
    system = build_system(tree, given["pip"])
    if more := [each for each in system["requires"] if each not in given["included"]]:
        answer({"requires": more})
        return
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", ENVIRONMENT], check=True, stdout=_SAID)
    python = str(ENVIRONMENT / "bin/python")
    if wheels := sorted(map(str, Path(given["wheels"]).glob("*.whl"))):
        install = [python, os.path.join(given["pip"], "pip"), "install", "--quiet", "--no-index", "--no-deps"]
        subprocess.run([*install, "--no-cache-dir", "--no-compile", *wheels], check=True, stdout=_SAID)
    os.chdir(tree)
    os.environ |= {"PATH": f"{ENVIRONMENT}/bin:{os.environ['PATH']}", "VIRTUAL_ENV": str(ENVIRONMENT)}
    further = {"included": given["included"], "system": system}
    os.execv(python, [python, os.path.abspath(__file__), _HOOKS, json.dumps(further)])  # noqa: S606


def unpack(archive: Path) -> Path:
    """The folder that the archive holds."""
    SOURCE.mkdir()
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as names:
            names.extractall(SOURCE)  # noqa: S202 - in the sandbox
    else:
        with tarfile.open(archive) as members:
            trusted = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            members.extractall(SOURCE, **trusted)  # type: ignore[arg-type]  # noqa: S202 - in the sandbox
    folders = [path for path in SOURCE.iterdir() if path.is_dir()]
    return folders[0] if len(folders) == 1 else SOURCE


def build_system(tree: Path, pip: str) -> dict[str, Any]:
    """The [build-system] table of pyproject.toml, with what it leaves out."""
    try:
        import tomllib
    except ModuleNotFoundError:  # before Python 3.11
        sys.path.append(pip)
        tomllib = importlib.import_module("pip._vendor.tomli")
    file = tree / "pyproject.toml"
    document = tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    default = {"requires": DEFAULT_REQUIRES, "build-backend": DEFAULT_BACKEND, "backend-path": []}
    return {**default, **document.get("build-system", {})}


def build(given: dict[str, Any]) -> None:
    """Ask the backend what else it needs, else for the wheel."""
    system = given["system"]
    tree = Path.cwd()
    sys.path[:0] = [str(tree / folder) for folder in system["backend-path"]]
    module, _, attributes = system["build-backend"].partition(":")
    backend: Any = importlib.import_module(module)
    for attribute in filter(None, attributes.split(".")):
        backend = getattr(backend, attribute)
    ask = getattr(backend, "get_requires_for_build_wheel", None)
    if more := [each for each in (ask() if ask else ()) if each not in given["included"]]:
        answer({"requires": more})
        return
    OUT.mkdir()
    name = backend.build_wheel(str(OUT))
    answer({"wheel": name}, OUT / name)


def answer(said: dict[str, Any], file: Path | None = None) -> None:
    with os.fdopen(int(os.environ["ANSWER"]), "wb") as out:
        out.write(json.dumps(said).encode() + b"\n")
        if file is not None:
            with file.open("rb") as data:
                shutil.copyfileobj(data, out)


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file, which may be called as a package's backend is
    if sys.argv[1] == _HOOKS:
        build(json.loads(sys.argv[2]))
    else:
        # The answer's own stdout; what is printed is said beside it.
        os.environ["ANSWER"] = str(os.dup(1))
        os.set_inheritable(int(os.environ["ANSWER"]), True)
        os.dup2(2, 1)
        prepare(json.loads(sys.argv[1]))
