"""Programs on this machine."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from bundler.errors import SiteError

# Where distributions put servers; a user's PATH often lacks these.
_SBIN = ("/usr/sbin", "/sbin", "/usr/local/sbin")


def find_program(*names: str, hint: str, beside_python: bool = False) -> str:
    """The path of the first of `names` that is installed: beside this Python if asked, on the PATH, in an sbin folder.

    Raises SiteError with `hint` when there is none.
    """
    folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), *_SBIN]
    if beside_python:
        folders.insert(0, str(Path(sys.executable).parent))
    for name in names:
        if found := shutil.which(name, path=os.pathsep.join(folders)):
            return str(Path(found).absolute())
    raise SiteError(f"no {' or '.join(names)} on this machine", hint=hint)
