#!/usr/bin/env bash
# What the node scripts share: where things are, and how to say what happens.
# shellcheck disable=SC2034  # used by the scripts that read this file
set -euo pipefail

# Overridden in the scripts' own tests only.
home=${CITUS_HOME:-/var/lib/citus}
pgdata=$home/pgdata
current=$home/conf/current
# The running server listens here. While a node is being made the server listens in $home/boot instead,
# so that nothing mistakes a node in the making for one that is ready.
socket=$home/run

say() { printf '%s %s: %s\n' "$(date -u +%FT%TZ)" "${0##*/}" "$*" >&2; }
die() {
    local code=$1
    shift
    printf '%s\n' "$*" >&2
    exit "$code"
}

find_postgres() {
    local dir
    for dir in /usr/lib/postgresql/17/bin /usr/pgsql-17/bin /usr/local/bin /usr/bin; do
        if [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ]; then
            printf '%s\n' "$dir"
            return
        fi
    done
    die 70 "PostgreSQL 17's server programs are not on this machine"
}

pgbin=$(find_postgres)
