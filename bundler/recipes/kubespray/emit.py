"""Kubespray ready to run from the site: its tree, an inventory, and the variables that lead everything to the site."""

from __future__ import annotations

from collections.abc import Mapping

from bundler.model.items import Item, Object
from bundler.model.node_files import NodeFile, NodeFiles, NodeTree
from bundler.model.site import Served
from bundler.recipes.kubespray.addresses import FOLDER, Site
from bundler.recipes.kubespray.attributes import KubesprayAttributes
from bundler.recipes.kubespray.group_vars import bundle_yml, offline_yml, to_yaml
from bundler.recipes.kubespray.guide import offline_md

_INVENTORY = """\
# The cluster's machines. Name them, delete the marks of comment, and see docs/ansible/inventory.md for more.
[kube_control_plane]
# node1 ansible_host=192.168.10.21

[etcd:children]
kube_control_plane

[kube_node]
# node2 ansible_host=192.168.10.22
# node3 ansible_host=192.168.10.23
"""


def emit(item: Item, items: tuple[Item, ...], served: Served) -> NodeFiles:
    """The tree below `kubespray/`, and beside its own files an inventory with group_vars, and OFFLINE.md."""
    attributes = KubesprayAttributes.of(item)
    site = Site(served)
    inventory = f"{FOLDER}/inventory/{served.name}"
    files = [
        NodeFile(f"{inventory}/inventory.ini", _INVENTORY),
        NodeFile(f"{inventory}/group_vars/all/bundle.yml", bundle_yml(item, attributes, served)),
        NodeFile(f"{inventory}/group_vars/all/offline.yml", offline_yml(item, attributes, site)),
    ]
    guide = NodeFile(f"{FOLDER}/OFFLINE.md", offline_md(item, attributes, [file.path for file in files], site))
    files.append(guide)
    if attributes.charts:
        objects = {obj.path: obj for each in items for obj in each.objects}
        files.append(NodeFile(f"{FOLDER}/charts/index.yaml", _chart_index(attributes, objects, site)))
    return NodeFiles(tuple(files), trees=(NodeTree(FOLDER, attributes.tree),))


def _chart_index(attributes: KubesprayAttributes, objects: Mapping[str, Object], site: Site) -> str:
    """A chart repository's index, https://helm.sh/docs/topics/chart_repository/#the-index-file."""
    entries = {
        chart.name: [
            {
                "apiVersion": "v2",
                "name": chart.name,
                "version": chart.version,
                "urls": [site.url_of(chart.path)],
                **({"digest": objects[chart.path].sha256} if chart.path in objects else {}),
            }
        ]
        for chart in attributes.charts
    }
    return to_yaml({"apiVersion": "v1", "entries": entries})
