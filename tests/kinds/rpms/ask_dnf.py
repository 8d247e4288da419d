"""Asks the real dnf what it would install; run by the system's Python, which has dnf's modules.

stdin: {"root", "arch", "repos": [[id, url]], "requests": [{"packages", "modules", "weak_deps"}]}
stdout: for each request the list of [repository, NEVRA] that dnf would install into an empty system, or its error.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

dnf: Any = importlib.import_module("dnf")
module_base: Any = importlib.import_module("dnf.module.module_base")


def answer(asked: dict[str, Any], request: dict[str, Any]) -> list[list[str]] | str:
    base = dnf.Base()
    conf = base.conf
    conf.installroot = conf.cachedir = conf.persistdir = conf.logdir = asked["root"]
    conf.reposdir, conf.plugins = [], False
    conf.best, conf.install_weak_deps = False, request["weak_deps"]
    conf.substitutions.update({"arch": asked["arch"], "basearch": asked["arch"], "releasever": "9"})
    for repo_id, url in asked["repos"]:
        base.repos.add_new_repo(repo_id, conf, baseurl=[url], metadata_expire=-1)
    try:
        base.fill_sack(load_system_repo=False)
        base.read_comps(arch_filter=True)
        if request["modules"]:
            module_base.ModuleBase(base).enable(request["modules"])
        base.install_specs(request["packages"])
        base.resolve()
        return sorted([package.reponame, str(package)] for package in base.transaction.install_set)
    except dnf.exceptions.Error as error:
        return str(error) or "dnf gave no reason"
    finally:
        base.close()


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    answers = [answer(asked, request) for request in asked["requests"]]
    json.dump(answers, sys.stdout)
