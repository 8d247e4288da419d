"""The site's addresses in the forms that Kubespray wants them in."""

from __future__ import annotations

from bundler.kinds.files.place import served_name
from bundler.model.site import Credentials, Served
from bundler.recipes.kubespray.attributes import FILES, REGISTRY

# Of everything that is emitted, below the release's nodes/.
FOLDER = "kubespray"
# Where Ansible runs, the log-in to a site that asks for one: pip and Ansible look there by themselves.
NETRC = "~/.netrc"


class Site:
    """A site as a cluster reaches it; `pull` is what it shows an external registry, where that wants a log-in."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.files = f"{served.url}/files"
        self.nodes = f"{served.url}/nodes"
        self.registry = served.site.registry_host  # host:port[/prefix]
        self.registry_url = served.site.registry_url
        self.registry_address, _, self.prefix = self.registry.partition("/")
        self.plain = self.registry_url.startswith("http://")
        self.ca = served.ca_file(served.site.registry)
        external = served.site.registry
        self.pull: Credentials | None = external.pull_credentials if external else None

    def fill_in(self, text: str) -> str:
        """`text` with the site's addresses in it."""
        return text.replace(FILES, self.files).replace(REGISTRY, self.registry)

    def url_of(self, path: str) -> str:
        """Where the site serves the object `path`."""
        return f"{self.served.url}/{served_name(path)}"
