#!/bin/sh
# Proves that this machine can use demo 1.0 of http://192.168.10.10/demo.
# It exits 1 when a check fails.
#
# shellcheck disable=SC2016 # what stands in single quotes is for sh -c
set -u
LC_ALL=C
export LC_ALL

# check TITLE PROGRAM COMMAND: one line of the table, and what COMMAND said when it failed
check() {
    if ! command -v "$2" >/dev/null 2>&1; then
        printf '%-8s %s (no %s here)\n' skipped "$1" "$2"
    elif said=$(sh -c "$3" 2>&1 </dev/null); then
        printf '%-8s %s\n' ok "$1"
    else
        failed=$((failed + 1))
        printf '%-8s %s\n' FAIL "$1"
        printf '%s\n' "$said" | sed 's/^/         | /'
    fi
}

main() {
    failed=0
    check 'the admin host answers' curl 'curl -fsS --max-time 20 -o /dev/null http://192.168.10.10/demo/nodes/README.txt'
    check 'the repository lists' sh 'echo '"'"'it'"'"''"'"'s fine'"'"'; true'
    check dnf no-such-dnf false
    [ "$failed" -eq 0 ]
}

main "$@" </dev/null
