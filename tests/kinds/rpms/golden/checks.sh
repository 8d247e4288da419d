# dnf lists the site's repositories
dnf -q repolist | grep -q '^demo-'
# dnf reads their metadata
dnf --disablerepo='*' --enablerepo='demo-*' makecache
# dnf finds socat at the site
dnf -q --showduplicates list socat | grep -q '[ @]demo-'
# dnf could install socat
dnf --disablerepo='*' --enablerepo='demo-*' -y --setopt=tsflags=test install socat
