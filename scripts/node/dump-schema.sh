#!/usr/bin/env bash
# What a dump of the cluster's shape is made of, by the programs that are as old as this server. Prints lines of a name
# and base64, so that a run that was cut off is seen.
#
#   dump-schema.sh read DATABASE [SNAPSHOT]     the catalogs, the roles, an archive of pg_dump and its contents; as they are
#                                               now, or as an exported snapshot of this server has them
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
        moment=()
        as_of=()
        if [ -n "${3:-}" ]; then
            [[ $3 =~ ^[0-9A-F-]+$ ]] || die 64 "$3 is not the name of a snapshot"
            moment=(--snapshot="$3")
            as_of=(-c "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" -c "SET TRANSACTION SNAPSHOT '$3'")
        fi
        PGDATABASE=$2 "$pgbin/psql" -h "$socket" -U postgres -XAtq -v ON_ERROR_STOP=1 "${as_of[@]}" -f "$here/dump-schema.sql" > "$dir/catalog"
        # never a verifier, which is as good as a password to whoever guesses
        "$pgbin/pg_dumpall" -h "$socket" -U postgres --roles-only --no-role-passwords > "$dir/roles"
        # a subscription's connection string may hold a password
        PGDATABASE=$2 "$pgbin/pg_dump" -h "$socket" -U postgres "${moment[@]}" --format=custom --schema-only --no-tablespaces \
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
