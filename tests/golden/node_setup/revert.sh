#!/bin/sh
# Puts back all that setup.sh of demo has changed.
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
#   after      commands to run once its files are in place, or are away again
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
    commands=
    [ ! -f "$state/after" ] || commands=$(cat "$state/after")
    folders=
    [ ! -f "$state/made" ] || folders=$(grep '^d ' "$state/made" | sort -r || :)
    rm -rf "$state"
    printf '%s\n' "$folders" | while IFS= read -r line; do
        [ -z "$line" ] || rmdir "$root${line#d }" 2>/dev/null || :
    done
    rmdir "$root/var/lib/bundler" 2>/dev/null || :
    run_each "$commands"
}

# run_each COMMANDS: one a line; they are for the machine as it runs
run_each() {
    [ -z "$root" ] || return 0
    printf '%s\n' "$1" | while IFS= read -r line; do
        [ -z "$line" ] || sh -c "$line" >/dev/null 2>&1 </dev/null || echo "failed: $line" >&2
    done
}

# label FILE: give it the SELinux context of its place
label() {
    if [ -z "$root" ] && command -v restorecon >/dev/null 2>&1; then
        restorecon -F "$1" 2>/dev/null || :
    fi
}

main() {
    require_root
    if [ ! -d "$state" ]; then
        echo 'nothing to revert: demo was not set up here'
        return 0
    fi
    put_back
    echo 'changed: this machine is as it was before demo was set up'
}

main "$@" </dev/null
