#!/usr/bin/env bash
# Copies tables from one database of the cluster to another, all or nothing. Takes a tar with before.sql and after.sql, which
# the target runs, and read.sql, whose output at the source it runs between them.
#
#   copy-schema.sh SOURCE_HOST SOURCE_DATABASE TARGET_HOST TARGET_DATABASE      a host of - is this node
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

umask 077
export PGCONNECT_TIMEOUT=20
# one writes values as text and the other reads them
export PGOPTIONS="-c datestyle=ISO,MDY -c intervalstyle=postgres -c timezone=UTC -c extra_float_digits=1 -c bytea_output=hex \
-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c lock_timeout=0"
export PGSSLROOTCERT=$current/ca.crt PGSSLCERT=$current/node.crt PGSSLKEY=$current/node.key
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
tar -xf - -C "$dir" --no-same-owner
for file in before.sql read.sql after.sql; do [ -f "$dir/$file" ] || die 6 "the files did not arrive whole; nothing was copied"; done

at() { # host, database, psql's arguments
    local host=$1 mode=verify-full
    if [ "$host" = - ]; then host=$socket mode=disable; fi
    # a name on the command line may be taken for a connection string
    PGDATABASE=$2 PGSSLMODE=$mode "$pgbin/psql" -h "$host" -U postgres -XAtq -v ON_ERROR_STOP=1 "${@:3}"
}

# a source that fails or is killed leaves the target without its COMMIT
{ cat "$dir/before.sql" && at "$1" "$2" -f "$dir/read.sql" && cat "$dir/after.sql"; } | at "$3" "$4" -f -
