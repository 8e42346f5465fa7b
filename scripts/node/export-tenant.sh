#!/usr/bin/env bash
# A tenant's data as a packed SQL file that is fetched from this node, or brought to it, in parts.
#
#   export-tenant.sh rows ID DATABASE               takes a tar with read.sql, whose output is the file
#   export-tenant.sh dump ID DATABASE OPTION...     what pg_dump says is the file
#   export-tenant.sh part ID OFFSET LENGTH          some bytes of it, in base64
#   export-tenant.sh put ID OFFSET                  takes a tar with part, which comes behind the first OFFSET bytes
#   export-tenant.sh heads ID                       its COPY lines
#   export-tenant.sh restore ID SHA256 DATABASE     takes a tar with before.sql and after.sql, run around the file, made.sql,
#                                                   run as soon as the file has made its database, where it does, and heads,
#                                                   lines that take the place of its COPY lines, where there are any
#   export-tenant.sh drop ID
#
# rows and dump print bytes= and sha256=.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

umask 077
export PGCONNECT_TIMEOUT=20
export PGOPTIONS="-c datestyle=ISO,MDY -c intervalstyle=postgres -c timezone=UTC -c extra_float_digits=1 -c bytea_output=hex \
-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c row_security=off"
exports=$home/exports
file=$exports/$2
case $2 in *[!0-9a-f]* | '') die 64 "$2 is not an id" ;; esac
install -d -m 0700 "$exports"
# what runs that were killed left; what is fetched or brought is not old, however long that takes
if [ -f "$file" ]; then touch "$file"; fi
find "$exports" -type f -mmin +1440 ! -name "$2" -delete
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

tell() { printf 'bytes=%s\nsha256=%s\n' "$(stat -c %s "$file")" "$(sha256sum < "$file" | cut -d ' ' -f 1)"; }

case $1 in
    rows)
        take read.sql
        psql "$3" -f "$dir/read.sql" | gzip > "$file"
        tell
        ;;
    dump)
        PGDATABASE=$3 "$pgbin/pg_dump" -h "$socket" -U postgres --no-owner --no-privileges --lock-wait-timeout=60s "${@:4}" | gzip > "$file"
        tell
        ;;
    part) tail -c "+$(($3 + 1))" "$file" | head -c "$4" | base64 -w 0 || [ $? -eq 141 ] ;;
    put)
        take part
        truncate -s "$3" "$file"
        cat "$dir/part" >> "$file"
        ;;
    heads) gzip -dc "$file" | LC_ALL=C awk "$heads" ;;
    restore)
        take before.sql made.sql after.sql heads
        [ "$(sha256sum < "$file" | cut -d ' ' -f 1)" = "$3" ] || die 6 "the file did not arrive whole; nothing was restored"
        { cat "$dir/before.sql" && gzip -dc "$file" | elsewhere | closed && cat "$dir/after.sql"; } | psql "$4" -f - > /dev/null
        ;;
    drop) rm -f "$file" ;;
    *) die 64 "rows, dump, part, put, heads, restore or drop" ;;
esac
