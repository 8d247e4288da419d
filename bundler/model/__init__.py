"""Frozen values: what a profile, a lock, a manifest, a site and a node file are. No module here does I/O."""
