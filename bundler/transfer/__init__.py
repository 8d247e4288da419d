"""Bytes from upstreams to a place: HTTP, registries, retries, the engine that fills a bundle, the lock's store."""
