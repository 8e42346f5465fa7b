#!/usr/bin/env bash
# A tenant's data as a packed SQL file. It is made here, and then fetched from this node, or brought to it, in parts; or it
# goes straight to a place that outlives this node, and comes from there.
#
#   export-tenant.sh rows ID DATABASE               takes a tar with read.sql, whose output is the file
#   export-tenant.sh dump ID DATABASE OPTION...     what pg_dump says is the file
#   export-tenant.sh part ID OFFSET LENGTH          some bytes of it, in base64
#   export-tenant.sh put ID OFFSET                  takes a tar with part, which comes behind the first OFFSET bytes
#   export-tenant.sh get ID                         brings it from its place
#   export-tenant.sh heads ID                       its COPY lines
#   export-tenant.sh restore ID SHA256 DATABASE     takes a tar with before.sql and after.sql, run around the file, made.sql,
#                                                   run as soon as the file has made its database, where it does, and heads,
#                                                   lines that take the place of its COPY lines, where there are any
#   export-tenant.sh load ID DATABASE               runs it in a database that is there for it alone, and prints what was said
#   export-tenant.sh drop ID
#   export-tenant.sh sum                            reads all of what is at a place
#   export-tenant.sh send                           takes a tar with content, which goes to a place
#   export-tenant.sh read                           prints what is at a place
#   export-tenant.sh forget                         removes what is at a place
#
# A place is the file target of the tar: a path in the repository of pgbackrest.conf, or where that is empty in the one of
# this node's backups. rows and dump take a tar with needs as well, the bytes that must be free here, and an empty target
# leaves the file on this node. rows, dump and sum print bytes= and sha256=.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

umask 077
export PGCONNECT_TIMEOUT=20
export PGOPTIONS="-c datestyle=ISO,MDY -c intervalstyle=postgres -c timezone=UTC -c extra_float_digits=1 -c bytea_output=hex \
-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c row_security=off"
exports=$home/exports
id=${2:-}
case $1 in
    sum | send | read | forget) ;;
    *) case $id in *[!0-9a-f]* | '') die 64 "$id is not an id" ;; esac ;;
esac
file=$exports/$id
install -d -m 0700 "$exports"
# what runs that were killed left; what is fetched or brought is not old, however long that takes
if [ -f "$file" ]; then touch "$file"; fi
find "$exports" -type f -mmin +1440 ! -name "${id:-none}" -delete
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

take() { # names of files that must be in the tar
    local name
    tar -xf - -C "$dir" --no-same-owner
    for name in "$@"; do [ -f "$dir/$name" ] || die 6 "the files did not arrive whole; nothing was done"; done
}

# a name on the command line may be taken for a connection string
psql() { # database, arguments
    PGDATABASE=$1 "$pgbin/psql" -h "$socket" -U postgres -XAtq -v ON_ERROR_STOP=1 "${@:2}"
}

# Nobody but a superuser gets into a database before it is whole: not in the moment before made.sql is run either.
closed() {
    if [ -s "$dir/made.sql" ]; then
        LC_ALL=C sed -e "0,/^CREATE DATABASE /{/^CREATE DATABASE /{s/;\$/ CONNECTION LIMIT = 0;/;r $dir/made.sql" -e '}}'
    else
        cat
    fi
}

# Data between a COPY line and its end may look like one.
# shellcheck disable=SC2016
heads='!inside && /^COPY / { print; inside = 1; next } inside && $0 == "\\." { inside = 0 }'
# shellcheck disable=SC2016
instead='!inside && /^COPY / { if ((getline head < heads) < 1) exit 1; print head; inside = 1; next } inside && $0 == "\\." { inside = 0 } { print }'

elsewhere() { if [ -s "$dir/heads" ]; then LC_ALL=C awk -v heads="$dir/heads" "$instead"; else cat; fi; }

target=""
find_place() {
    target=$(cat "$dir/target")
    if [ -s "$dir/pgbackrest.conf" ]; then current=$dir; fi
    [ -z "$target" ] || [ -s "$current/pgbackrest.conf" ] || die 7 "backups are off (citus:backup), so this cluster has no repository that an export could go to"
}

failed() { die 10 "$1: $(one_line < "$dir/said")"; }

tell() { printf 'bytes=%s\nsha256=%s\n' "$1" "$2"; }

# Standard input, packed, to where the file is to be.
keep() {
    if [ -n "$target" ]; then
        mkfifo "$dir/sums" "$dir/sizes"
        sha256sum < "$dir/sums" > "$dir/sha256" &
        wc -c < "$dir/sizes" > "$dir/bytes" &
        gzip | tee "$dir/sums" "$dir/sizes" | pgb repo-put "$target" 2> "$dir/said" || failed "$target could not be written"
        wait
        tell "$(cat "$dir/bytes")" "$(cut -d ' ' -f 1 "$dir/sha256")"
    else
        gzip > "$file"
        tell "$(stat -c %s "$file")" "$(sha256sum < "$file" | cut -d ' ' -f 1)"
    fi
}

# The file may be as large as the data is, although it is packed.
room() {
    local free needs
    [ -z "$target" ] || return 0
    needs=$(cat "$dir/needs")
    free=$(df -B1 --output=avail "$exports" | tail -n 1 | tr -d ' ')
    [ "$free" -ge "${needs:-0}" ] || die 9 "the export may take $needs bytes, and $exports on this node has $free bytes free. Nothing was exported. Make room, or set exports of the group to a bucket"
}

case $1 in
    rows)
        take read.sql target needs
        find_place
        room
        psql "$3" -f "$dir/read.sql" | keep
        ;;
    dump)
        take target needs
        find_place
        room
        PGDATABASE=$3 "$pgbin/pg_dump" -h "$socket" -U postgres --no-owner --no-privileges --lock-wait-timeout=60s "${@:4}" | keep
        ;;
    part) tail -c "+$(($3 + 1))" "$file" | head -c "$4" | base64 -w 0 || [ $? -eq 141 ] ;;
    put)
        take part
        truncate -s "$3" "$file"
        cat "$dir/part" >> "$file"
        ;;
    get)
        take target
        find_place
        pgb repo-get "$target" > "$file" 2> "$dir/said" || failed "$target could not be read"
        ;;
    heads) gzip -dc "$file" | LC_ALL=C awk "$heads" ;;
    restore)
        take before.sql made.sql after.sql heads
        [ "$(sha256sum < "$file" | cut -d ' ' -f 1)" = "$3" ] || die 6 "the file did not arrive whole; nothing was restored"
        { cat "$dir/before.sql" && gzip -dc "$file" | elsewhere | closed && cat "$dir/after.sql"; } | psql "$4" -f - > /dev/null
        ;;
    load)
        # a file that makes its own database is loaded into this one; commands of psql could lead anywhere
        # shellcheck disable=SC2016
        gzip -dc "$file" | LC_ALL=C awk '
            inside { print; if ($0 == "\\.") inside = 0; next }
            /^(CREATE|ALTER|DROP|COMMENT ON) DATABASE / || /^(GRANT|REVOKE) .* ON DATABASE / || /^\\(connect|restrict|unrestrict) / { next }
            /^\\/ { print "the export has a command of psql: " substr($0, 1, 100) > "/dev/stderr"; exit 3 }
            /^COPY .* FROM stdin;$/ { inside = 1 }
            { print }' | PGOPTIONS="$PGOPTIONS -c client_min_messages=warning" PGDATABASE=$3 "$pgbin/psql" -h "$socket" -U postgres -XAtq -f - 2>&1 > /dev/null | {
            head -c 4000
            cat > /dev/null
        }
        ;;
    drop) rm -f "$file" ;;
    sum)
        take target
        find_place
        mkfifo "$dir/sums"
        sha256sum < "$dir/sums" > "$dir/sha256" &
        pgb repo-get "$target" 2> "$dir/said" | tee "$dir/sums" | wc -c > "$dir/bytes" || failed "$target could not be read"
        wait
        tell "$(cat "$dir/bytes")" "$(cut -d ' ' -f 1 "$dir/sha256")"
        ;;
    send)
        take target content
        find_place
        pgb repo-put "$target" < "$dir/content" 2> "$dir/said" || failed "$target could not be written"
        ;;
    read)
        take target
        find_place
        pgb repo-get "$target" 2> "$dir/said" || failed "$target could not be read"
        ;;
    forget)
        take target
        find_place
        pgb repo-rm "$target" 2> "$dir/said" || failed "$target could not be removed"
        ;;
    *) die 64 "rows, dump, part, put, get, heads, restore, load, drop, sum, send, read or forget" ;;
esac
