"""OFFLINE.md: what to type, from a machine with nothing to a cluster."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from urllib.parse import urlsplit

from bundler.model import by_hand
from bundler.model.items import Item
from bundler.recipes.kubespray.addresses import FOLDER, NETRC, Site
from bundler.recipes.kubespray.attributes import KubesprayAttributes


def offline_md(item: Item, attributes: KubesprayAttributes, files: Sequence[str], site: Site) -> str:
    """The guide, filled in; `files` are the paths below nodes/ that are not in the tree's archive."""
    served = site.served
    web_root = served.site.web.directory if served.site.web else f"{served.site.root}/repos"
    inventory = f"inventory/{served.name}/inventory.ini"
    python = f"python{attributes.python[-1]}"
    curl = served.site.curl("~/ca.pem", NETRC)
    fetches = "\n".join(
        f"{curl} --create-dirs -o {shlex.quote(path)} {shlex.quote(f'{site.nodes}/{path}')}" for path in files
    )
    options = ["--index-url", served.site.simple_url]
    host = urlsplit(served.site.simple_url)
    if host.scheme == "http":
        options += ["--trusted-host", host.netloc]
    cert = " --cert ~/ca.pem" if served.ca_file(served.site.index) else ""
    trust = (
        f"\nThe site is trusted by {served.site.ca_path} of the admin host: copy it, with ssh, to `~/ca.pem` here.\n"
        if served.ca
        else ""
    )
    netrc = ""
    if served.site.login:
        trust += (
            f"\nIt asks for a log-in: copy {served.site.netrc_path} of the admin host, with ssh, to `{NETRC}` here, "
            "or add its line to\nyours. pip, Ansible and the variables of the cluster find it there.\n"
        )
        netrc = f" -e netrc={NETRC}"
    login = (
        f"\nThe registry wants a log-in to pull: put the password of {site.pull.username} into "
        f"{site.pull.password_file}\non the machine that Ansible runs on, readable by its user alone.\n"
        if site.pull
        else ""
    )
    chart = ""
    if served.login(served.site.web) and attributes.charts:
        path = attributes.charts[0].path
        chart = f"""
cilium-cli cannot log in to fetch Cilium's chart. Before that, on the first machine of kube_control_plane:

```sh
sudo mkdir -p /opt/cilium && sudo curl -fsS --netrc {shlex.quote(site.url_of(path))} | sudo tar xz -C /opt/cilium
```

and in `offline.yml` set `cilium_install_extra_flags: --chart-directory /opt/cilium/cilium`.
"""
    archive = shlex.quote(site.url_of(attributes.tree))
    folder = f"{served.name}-{served.version}"
    setup_url = f"{site.nodes}/node-setup.yml"
    return f"""\
# Kubespray {item.version} from {served.name} {served.version}

Everything below comes from {served.url}; no machine needs another.
{trust}
## The machine that Ansible runs on

Needs {python} (on Rocky Linux 9 `dnf install {python}`, on 10 it is there) and ssh to the nodes. Take a copy, so that
your inventory outlives the next bundle; on the admin host:

```sh
cp -a {shlex.quote(f"{web_root}/{served.name}/nodes/{FOLDER}")} ~/{FOLDER} && cd ~/{FOLDER}
```

and on another machine:

```sh
mkdir -p ~/{FOLDER} && cd ~
{curl} {archive} | tar x{_compression(attributes.tree)} --strip-components=1 -C {FOLDER}
{fetches}
cd ~/{FOLDER}
```
{login}
## The cluster, in three commands

Write your machines into `{inventory}` first. `group_vars/all/` beside it leads all to the site.

```sh
{python} -m venv venv
venv/bin/pip install {shlex.join(options)}{cert} -r requirements.txt
venv/bin/ansible-playbook -i {inventory} -b cluster.yml
```
{chart}
## The nodes, before that

Each node takes its packages from the site, and has its other repositories put aside (`-e revert=true` puts them back):

```sh
{curl} -O {shlex.quote(setup_url)}
venv/bin/ansible-playbook -i {inventory} node-setup.yml{netrc}
```

On Enterprise Linux 10 the module br_netfilter is in kernel-modules-extra, which must be of the running kernel's
version: `dnf install kernel-core kernel-modules-extra && reboot` on each node.

## An admin host, before all that

This site was set up from {folder}.tar. Before anything of that bundle runs on another machine without bundler, see that
somebody vouches for it; for the next bundle, put its name into these lines:

{_code(by_hand.check(folder))}
Where the bundle has bootstrap/install.sh, hold that to the manifest too; it does so itself with all else. As root:

{_code(by_hand.set_up(folder))}"""


def _code(text: str) -> str:
    """`text` with the lines that are indented by two as Markdown has code."""
    return textwrap.indent(text, "  ", lambda line: line.startswith("  "))


def _compression(path: str) -> str:
    """tar's letter for the archive: from a pipe it does not find out by itself."""
    endings = {".tar": "", ".xz": "J", ".bz2": "j"}
    return next((letter for ending, letter in endings.items() if path.endswith(ending)), "z")
