"""The kinds of content bundler knows: one line each. The contract is in `bundler.kinds.base`."""

from bundler.kinds.base import Kind

KINDS: tuple[Kind, ...] = (
    Kind("rpms", folders=("rpms", "keys")),
    Kind("images", folders=("images",)),
    Kind("wheels", folders=("wheels",)),
    Kind("files", folders=("files",)),
    Kind("bootstrap", folders=("bootstrap",)),
)
