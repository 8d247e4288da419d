"""The tarball: its layout, writing it, reading it. Nothing outside this package knows it; FORMAT.md defines it."""
