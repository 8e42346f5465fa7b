#!/usr/bin/env bash
# What a dump of the cluster's shape is made of, by the programs that are as old as this server. Prints lines of a name
# and base64, so that a run that was cut off is seen.
#
#   dump-schema.sh read DATABASE     the catalogs, the roles, an archive of pg_dump and its contents
#   dump-schema.sh render LIST...    takes a tar with the archive and lists of its contents; each list as SQL
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

umask 077
export PGCONNECT_TIMEOUT=20
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

part() { # name, file
    printf '%s %s\n' "$1" "$(base64 -w 0 "$2")"
}

case $1 in
    read)
        PGDATABASE=$2 "$pgbin/psql" -h "$socket" -U postgres -XAtq -v ON_ERROR_STOP=1 -f "$here/dump-schema.sql" > "$dir/catalog"
        # never a verifier, which is as good as a password to whoever guesses
        "$pgbin/pg_dumpall" -h "$socket" -U postgres --roles-only --no-role-passwords > "$dir/roles"
        # a subscription's connection string may hold a password
        PGDATABASE=$2 "$pgbin/pg_dump" -h "$socket" -U postgres --format=custom --schema-only --no-tablespaces \
            --no-subscriptions --lock-wait-timeout=60s --exclude-schema=citus_as_code --exclude-schema='citus_as_code_kept_*' \
            --exclude-extension=citus > "$dir/archive"
        "$pgbin/pg_restore" --list --verbose "$dir/archive" > "$dir/contents"
        for name in catalog roles archive contents; do part "$name" "$dir/$name"; done
        ;;
    render)
        shift
        tar -xf - -C "$dir" --no-same-owner
        for list in archive "$@"; do [ -f "$dir/$list" ] || die 6 "the files did not arrive whole; nothing was made"; done
        for list in "$@"; do
            "$pgbin/pg_restore" --use-list="$dir/$list" --file="$dir/sql" "$dir/archive"
            part "$list" "$dir/sql"
        done
        ;;
    *) die 64 "read or render" ;;
esac
printf 'end -\n'
