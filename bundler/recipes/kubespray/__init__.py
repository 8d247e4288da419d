"""Kubespray: everything that a cluster made by it needs, read from its own variables. See README.md."""
