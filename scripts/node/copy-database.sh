#!/usr/bin/env bash
# Copies a database of another node to this one under another name, and proves that the copy is whole. Nobody but superusers
# can write to the source while this runs.
#
#   copy-database.sh copy HOST PORT DATABASE COPY MARK   makes COPY with MARK as its comment. Safe to repeat: what a killed run
#                                                        left is dropped first. Prints tables=, rows=, bytes=, and as source=
#                                                        and copy= what `print` says of both
#   copy-database.sh drop COPY MARK                      does nothing when there is none
#   copy-database.sh print DATABASE [HOST PORT]          a hash of all that is in a database, of this node or another
#
# Exit codes: 4 COPY has another comment and is left as it is; 5 it could not be copied, 6 the copy is not the same: there is
# no copy then.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

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

# Each table, sequence and large objects with count and checksum; then a hash of the schema, which is no part of the
# comparison of a copy: what was restored may be written in other words.
lines() { # there or home_side
    local schema
    "$1" "${psql[@]}" -f "$here/fingerprint.sql" || return 1
    # pg_dump says its version, and a word that is another each time
    schema=$("$1" "$pgbin/pg_dump" --schema-only | grep -v -e '^-- Dumped ' -e '^\\\(un\)\{0,1\}restrict ' | sha256sum) || return 1
    printf 'schema|%s\n' "${schema%% *}"
}

hash_of() { sha256sum < "$1" | cut -d ' ' -f 1; }

# One that a killed run had no time to mark is closed and empty; one whose DROP DATABASE did not end (-2) can only be dropped.
drop_copy() {
    local comment
    case $copy in
        citus_as_code_copy_*) ;;
        *) die 2 "$copy is not a name for a copy" ;;
    esac
    comment=$(query postgres "SELECT coalesce('is ' || shobj_description(oid, 'pg_database'), CASE datconnlimit WHEN 0 THEN 'is ' WHEN -2 THEN 'can only be dropped' ELSE 'is missing' END) FROM pg_database WHERE datname = '$copy'")
    case $comment in
        "" | "is $mark" | "can only be dropped") ;;
        "is ")
            [ "$(query "$copy" "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'")" = 0 ] \
                || die 4 "there is a database $copy that nothing says is a copy of this tenant's: it has tables and no comment. It is left as it is; rename or drop it"
            ;;
        *) die 4 "there is a database $copy that is not a copy of this tenant's: its comment $comment. It is left as it is; rename or drop it" ;;
    esac
    query postgres "DROP DATABASE IF EXISTS \"$copy\" WITH (FORCE)"
}

fail() { # exit code, what
    (drop_copy) || true
    die "$1" "$2"
}

copy_database() {
    local reading
    # a killed run's copy ends when its database goes, and then lets go of the lock
    drop_copy
    exec 6> "$home/$copy.lock"
    flock -w 120 6 || die 5 "another copy of $database has been running for two minutes"
    drop_copy
    query postgres "CREATE DATABASE \"$copy\" TEMPLATE template0 CONNECTION LIMIT 0"
    PGHOST=$socket PGDATABASE=postgres "${psql[@]}" -v mark="$mark" <<< "COMMENT ON DATABASE \"$copy\" IS :'mark'" || fail 5 "it could not be marked"

    # both only read the source, so beside each other
    lines there > "$dir/source" 2> "$dir/source.error" &
    reading=$!
    there "$pgbin/pg_dump" --format=custom --compress=none 2> "$dir/dump.error" \
        | home_side "$pgbin/pg_restore" --single-transaction --exit-on-error --dbname="$copy" 2> "$dir/restore.error" \
        || fail 5 "$(cat "$dir/dump.error" "$dir/restore.error")"
    wait "$reading" || fail 5 "$(cat "$dir/source.error")"
    lines home_side > "$dir/copy" 2> "$dir/copy.error" || fail 5 "$(cat "$dir/copy.error")"
    grep -v '^schema|' "$dir/source" > "$dir/source.data"
    grep -v '^schema|' "$dir/copy" > "$dir/copy.data"
    if ! cmp -s "$dir/source.data" "$dir/copy.data"; then
        fail 6 "$(diff "$dir/source.data" "$dir/copy.data" | grep '^[<>]' | head -n 10)"
    fi
    # the planner knows nothing about new tables, and who comes first would wait for it
    home_side "${psql[@]}" -c 'ANALYZE'
    printf 'tables=%s\n' "$(grep -c '^table|' "$dir/copy" || true)"
    printf 'rows=%s\n' "$(awk -F'|' '$1 == "table" { n += $3 } END { print n + 0 }' "$dir/copy")"
    printf 'bytes=%s\n' "$(query postgres "SELECT pg_database_size('$copy')")"
    printf 'source=%s\ncopy=%s\n' "$(hash_of "$dir/source")" "$(hash_of "$dir/copy")"
}

case ${1:-} in
    copy)
        host=$2 port=$3 database=$4 copy=$5 mark=$6
        copy_database
        ;;
    drop)
        copy=$2 mark=$3
        drop_copy
        ;;
    print)
        database=$2 copy=$2 host=${3:-} port=${4:-}
        lines "$([ -n "$host" ] && echo there || echo home_side)" > "$dir/print"
        hash_of "$dir/print"
        ;;
    *) die 2 "copy-database.sh copy, drop or print" ;;
esac
