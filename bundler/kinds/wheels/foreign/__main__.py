"""Runs pip-tools as if by another Python: `python foreign ENVIRONMENT.json ARGUMENT…`, this folder by its path.

pip reads markers, wheel tags and Requires-Python off the interpreter it runs under; its `--python-version` leaves
markers out (https://github.com/pypa/pip/issues/11198), and pip-tools hands none of it to its finder. Here these three
answers come from a file, for this process alone. Nothing of bundler is imported but the modules of
this folder, and transfer/addresses.py by its path.

More is done to pip here. Two things do not change what it decides: questions to the index are asked ahead, and what it
chose, and from which pages, is written down (`answers.py`). The others keep it from running or believing what a
stranger says: it builds nothing (`sources.py`), whatever it is sent has bounds (`bounds.py`), and no upstream
leads it inside (`web.py`). An end for such a reason stands in refused.json: the kind of error, the
message and the hint.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pip._internal.models.target_python import TargetPython
from pip._internal.resolution.resolvelib.candidates import RequiresPythonCandidate
from pip._vendor.packaging import markers
from pip._vendor.packaging.tags import Tag

if TYPE_CHECKING:
    from bundler.kinds.wheels.foreign import answers, bounds, sources, web
else:  # this folder is run by its path
    import answers
    import bounds
    import sources
    import web


def pose_as(environment: dict[str, Any]) -> None:
    """Make pip see `environment`: {"version": [3, 12, 0], "markers": {name: value}, "tags": ["cp312-cp312-…", …]}."""
    version = tuple(environment["version"])
    tags = [Tag(*tag.split("-")) for tag in environment["tags"]]

    target_of: Callable[..., None] = TargetPython.__init__
    require_python: Callable[..., None] = RequiresPythonCandidate.__init__

    def be_target(self: TargetPython, *_: object, **__: object) -> None:
        target_of(self, py_version_info=version)
        self._valid_tags = tags

    def be_required(self: RequiresPythonCandidate, *_: object) -> None:
        require_python(self, version)

    bounds.replace(TargetPython, "__init__", be_target)
    bounds.replace(RequiresPythonCandidate, "__init__", be_required)
    bounds.replace(markers, "default_environment", lambda: dict(environment["markers"]))


def run(arguments: list[str]) -> int:
    """pip-tools with these arguments; gives its exit code. What is refused is told in refused.json."""
    sys.argv = ["piptools", *arguments]
    try:
        runpy.run_module("piptools", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        traceback.print_exc()
        if (refused := bounds.refusal_behind(error)) is not None:
            said = {"kind": refused.kind, "message": refused.message, "hint": refused.hint}
            Path("refused.json").write_text(json.dumps(said), encoding="utf-8")
        return 1
    return 0


if __name__ == "__main__":
    environment = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    pose_as(environment)
    bounds.keep_within(environment["patience"])
    index = web.Home(environment["index"]["url"], inward=environment["index"]["inward"])
    named = {url: web.Home(home["url"], inward=home["inward"]) for url, home in environment["named"].items()}
    web.stay_on_the_web(index, named)
    web.show_login(index.url, environment["login"])
    sources.allow(environment["sources"])
    sources.read_only(environment["sources"], environment["built"])
    sources.need_by_name()
    heard = answers.Heard()
    answers.trust_index_for_hashes(heard)
    answers.fetch_ahead(heard)
    answers.tell_choices(Path("choices.json").absolute())
    code = run(sys.argv[2:])
    heard.tell(Path("heard.json").absolute())
    # Whatever was asked ahead and is no longer needed is not waited for.
    os._exit(code)
