"""The closed side: the web root, the registry, the index, the services that serve them, and what nodes need."""
