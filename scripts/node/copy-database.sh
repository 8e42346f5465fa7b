#!/usr/bin/env bash
# Copies a database of another node to this one under another name, and proves that the copy is whole. Nobody but superusers
# can write to the source while this runs. Safe to repeat: what a killed run left is dropped first.
# Prints tables=, rows= and bytes=.
#
#   copy-database.sh HOST PORT DATABASE COPY
#
# Exit codes: 5 it could not be copied, 6 the copy is not the same; there is no copy then.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

host=$1
port=$2
database=$3
copy=$4
umask 077
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# What a database sets for itself would change what is read, or stop it half-way.
export PGOPTIONS="-c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0 -c idle_in_transaction_session_timeout=0 -c transaction_timeout=0 \
-c default_transaction_read_only=off -c search_path=pg_catalog -c row_security=off -c datestyle=ISO,YMD -c intervalstyle=postgres -c timezone=UTC \
-c bytea_output=hex -c extra_float_digits=1 -c client_min_messages=warning"
export PGUSER=postgres PGCONNECT_TIMEOUT=10

there() {
    PGHOST=$host PGPORT=$port PGDATABASE=$database PGSSLMODE=verify-full PGSSLROOTCERT=$current/ca.crt PGSSLCERT=$current/node.crt \
        PGSSLKEY=$current/node.key "$@"
}
home_side() { PGHOST=$socket PGDATABASE=$copy "$@"; }

psql=("$pgbin/psql" -XAtq -v ON_ERROR_STOP=1)

drop_copy() { query postgres "DROP DATABASE IF EXISTS \"$copy\" WITH (FORCE)"; }

fail() { # exit code, what
    drop_copy || true
    die "$1" "$2"
}

case $copy in
    citus_as_code_*) ;;
    *) die 2 "$copy is not a name for a copy" ;;
esac

# a killed run's copy ends when its database goes, and then lets go of the lock
drop_copy
exec 6> "$home/$copy.lock"
flock -w 120 6 || die 5 "another copy of $database has been running for two minutes"
drop_copy
query postgres "CREATE DATABASE \"$copy\" TEMPLATE template0 CONNECTION LIMIT 0"

# both only read the source, so beside each other
there "${psql[@]}" -f "$here/fingerprint.sql" > "$dir/source" 2> "$dir/source.error" &
reading=$!
there "$pgbin/pg_dump" --format=custom --compress=none 2> "$dir/dump.error" \
    | home_side "$pgbin/pg_restore" --single-transaction --exit-on-error --dbname="$copy" 2> "$dir/restore.error" \
    || fail 5 "$(cat "$dir/dump.error" "$dir/restore.error")"
wait "$reading" || fail 5 "$(cat "$dir/source.error")"
home_side "${psql[@]}" -f "$here/fingerprint.sql" > "$dir/copy" 2> "$dir/copy.error" || fail 5 "$(cat "$dir/copy.error")"
if ! cmp -s "$dir/source" "$dir/copy"; then
    fail 6 "$(diff "$dir/source" "$dir/copy" | grep '^[<>]' | head -n 10)"
fi
# the planner knows nothing about new tables, and who comes first would wait for it
home_side "${psql[@]}" -c 'ANALYZE'
printf 'tables=%s\n' "$(grep -c '^table|' "$dir/copy" || true)"
printf 'rows=%s\n' "$(awk -F'|' '$1 == "table" { n += $3 } END { print n + 0 }' "$dir/copy")"
printf 'bytes=%s\n' "$(query postgres "SELECT pg_database_size('$copy')")"
