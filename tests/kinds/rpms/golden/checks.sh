# dnf lists the site's repositories
dnf -q repolist | grep -q '^demo-'
# dnf reads their metadata
dnf --disablerepo='*' --enablerepo='demo-*' makecache
# dnf finds socat
dnf --disablerepo='*' --enablerepo='demo-*' -q info socat
# dnf could install socat
dnf --disablerepo='*' --enablerepo='demo-*' -y --setopt=tsflags=test install socat
