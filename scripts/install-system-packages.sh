#!/bin/sh
# Installs the Debian packages that the demo and the tests drive: real servers for the "internet", real clients for the node.
# Does nothing where they are all there; without root it only says which ones are missing.
set -eu

packages="ca-certificates containerd createrepo-c curl debootstrap dnf dnf-plugins-core docker-registry faketime gnupg
          iproute2 make nginx podman python3-venv rpm runc shellcheck skopeo strace util-linux"

missing=""
for package in $packages; do
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) || state=absent
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "these Debian packages are missing, and installing them takes root:$missing" >&2
    echo "what needs them will be left out; to have it all: sudo apt-get install$missing" >&2
    exit 0
fi

# Debian starts a server when it is installed; here the demo and the tests start their own, on ports of their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2
# shellcheck disable=SC2086  # a list of words
apt-get install --quiet=2 --yes --no-install-recommends $missing
