#!/bin/sh
# Makes this machine use demo 1.0 of http://192.168.10.10/demo.
# Running it again is harmless; revert.sh puts everything back as it was.
#
# With BUNDLER_NODE_ROOT=DIR all of it happens below DIR: a way to try it.
#
# shellcheck disable=SC2016 # what stands in single quotes is data
set -eu
umask 022
LC_ALL=C
export LC_ALL

root=${BUNDLER_NODE_ROOT:-}
state=$root/var/lib/bundler/demo

require_root() {
    if [ -z "$root" ] && [ "$(id -u)" -ne 0 ]; then
        echo 'this must run as root' >&2
        exit 1
    fi
}

# What setup.sh keeps under $state:
#   identity   which set-up this is
#   made       every file (f) and folder (d) it made, in that order
#   backup/    every file it changed or moved away, as it was before the first run
#   later/     files it moved away in a later run, because something had brought them back

# put_back: leave this machine as it was before the first set-up
put_back() {
    [ -d "$state" ] || return 0
    if [ -f "$state/made" ]; then
        grep '^f ' "$state/made" | while IFS= read -r line; do
            rm -f "$root${line#f }"
        done || :
    fi
    if [ -d "$state/backup" ]; then
        (cd "$state/backup" && find . ! -type d) | while IFS= read -r path; do
            path=${path#.}
            cp -pP "$state/backup$path" "$root$path.bundler-new"
            mv -f "$root$path.bundler-new" "$root$path"
            label "$root$path"
        done
    fi
    folders=
    [ ! -f "$state/made" ] || folders=$(grep '^d ' "$state/made" | sort -r || :)
    rm -rf "$state"
    printf '%s\n' "$folders" | while IFS= read -r line; do
        [ -z "$line" ] || rmdir "$root${line#d }" 2>/dev/null || :
    done
    rmdir "$root/var/lib/bundler" 2>/dev/null || :
}

# label FILE: give it the SELinux context of its place
label() {
    if [ -z "$root" ] && command -v restorecon >/dev/null 2>&1; then
        restorecon -F "$1" 2>/dev/null || :
    fi
}

# note f|d PATH: revert.sh has to remove it
note() {
    if [ -d "$state" ]; then
        is_noted "$1" "$2" || printf '%s %s\n' "$1" "$2" >>"$state/made"
    else
        early="$early$1 $2
"
    fi
}

is_noted() {
    [ -f "$state/made" ] && grep -qxF -e "$1 $2" "$state/made"
}

# is_bundlers f|d PATH: the set-up of a release, this one or another, has made it
is_bundlers() {
    grep -qsxF -e "$1 $2" "$root"/var/lib/bundler/*/made
}

# folder PATH: make it, with its parents. The last set-up to be reverted removes what several use.
folder() {
    [ -n "$1" ] || return 0
    folder "${1%/*}"
    if [ ! -d "$root$1" ]; then
        note d "$1"
        mkdir "$root$1"
    elif is_bundlers d "$1"; then
        note d "$1"
    fi
}

# keep PATH: copy what is there into the backup, unless an earlier run did, or made it
keep() {
    if is_noted f "$1" || [ -e "$state/backup$1" ] || [ -L "$state/backup$1" ]; then
        return 0
    fi
    mkdir -p "$state/backup${1%/*}"
    cp -pP "$root$1" "$state/copying"
    mv -f "$state/copying" "$state/backup$1"
}

# place PATH MODE: $state/new becomes that file
place() {
    if [ -d "$root$1" ] && [ ! -L "$root$1" ]; then
        echo "$root$1 is a folder: it cannot become a file" >&2
        exit 1
    fi
    folder "${1%/*}"
    if [ -e "$root$1" ] || [ -L "$root$1" ]; then
        keep "$1"
    else
        note f "$1"
    fi
    chmod "$2" "$state/new"
    if is_as_it_should "$1" "$2"; then
        return 0
    fi
    cp -p "$state/new" "$root$1.bundler-new"
    mv -f "$root$1.bundler-new" "$root$1"
    label "$root$1"
    changed "wrote $1"
}

is_as_it_should() {
    [ ! -L "$root$1" ] && cmp -s "$state/new" "$root$1" && [ -n "$(find "$root$1" -prune -perm "$2")" ]
}

# move_away FILE: it stands in the way of this release
move_away() {
    path=${1#"$root"}
    [ -e "$1" ] || [ -L "$1" ] || return 0
    case $path in
    /etc/containerd/certs.d/_/hosts.toml) return 0 ;;
    '/etc/new/deep/it'"'"'s here') return 0 ;;
    /etc/pip.conf) return 0 ;;
    /etc/yum.repos.d/demo.repo) return 0 ;;
    esac
    ! is_bundlers f "$path" || return 0
    if [ -e "$state/backup$path" ] || [ -L "$state/backup$path" ]; then
        mkdir -p "$state/later${path%/*}"
        cp -pP "$1" "$state/later$path"
    else
        keep "$path"
    fi
    rm -f "$1"
    changed "moved $path away"
}

changed() {
    changes=$((changes + 1))
    echo "changed: $1"
}

begin() {
    early=
    changes=0
    if [ -f "$state/identity" ] && [ "$(cat "$state/identity")" != a593745281508b134677a70ccb3be61bc580ed83368ff12b149df1c6ca82a200 ]; then
        put_back
        changed 'undid an earlier set-up'
    fi
    folder "${state#"$root"}"
    [ -z "$early" ] || printf '%s' "$early" >>"$state/made"
    [ -f "$state/identity" ] || echo a593745281508b134677a70ccb3be61bc580ed83368ff12b149df1c6ca82a200 >"$state/identity"
}

# The machine as conditions see it: what /etc/os-release says
read_os_release() {
    # shellcheck disable=SC2034 # not every release has a condition that asks for them
    ID='' VERSION_ID=''
    if [ -f "$root/etc/os-release" ]; then
        # shellcheck source=/dev/null
        . "$root/etc/os-release"
    fi
}

main() {
    require_root
    read_os_release
    begin
    if [ -e "$root"/etc/yum.repos.d ] && { [ "$VERSION_ID" = 9 ]; }; then
        file_1
    else
        echo 'skipped: yum.repos.d/demo-9.repo is not for this machine'
    fi
    if [ -e "$root"/etc/yum.repos.d ] && { [ "$VERSION_ID" = 10 ]; }; then
        file_2
    else
        echo 'skipped: yum.repos.d/demo-10.repo is not for this machine'
    fi
    file_3
    file_4
    if [ -e "$root"/etc/containerd ]; then
        file_5
    else
        echo 'skipped: hosts.toml is not for this machine'
    fi
    rm -f "$state/new"
    if [ "$changes" -eq 0 ]; then
        echo 'nothing to change: this machine is set up for demo 1.0 of http://192.168.10.10/demo'
    else
        echo 'this machine is set up for demo 1.0 of http://192.168.10.10/demo; revert.sh undoes it'
    fi
}

file_1() {
    for found in "$root"/etc/yum.repos.d/*.repo; do
        move_away "$found"
    done
    cat >"$state/new" <<'END'
[demo]
baseurl=http://192.168.10.10/demo/9/$basearch
END
    place /etc/yum.repos.d/demo.repo 0644
}

file_2() {
    for found in "$root"/etc/yum.repos.d/*.repo; do
        move_away "$found"
    done
    cat >"$state/new" <<'END'
[demo]
baseurl=http://192.168.10.10/demo/10/$basearch
END
    place /etc/yum.repos.d/demo.repo 0644
}

file_3() {
    cat >"$state/new" <<'END'
[global]
timeout = 60
END
    place /etc/pip.conf 0644
}

file_4() {
    printf '%s' 'END
`id` $HOME \ '"'"'x'"'"' {{ y }}
END_' >"$state/new"
    place '/etc/new/deep/it'"'"'s here' 0600
}

file_5() {
    cat >"$state/new" <<'END'
x
END
    place /etc/containerd/certs.d/_/hosts.toml 0644
}

main "$@" </dev/null
