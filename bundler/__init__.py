"""bundler carries RPMs, container images, Python wheels and files across an air gap in one verified tarball."""

__version__ = "0.1.0"
