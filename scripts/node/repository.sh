#!/usr/bin/env bash
# Lists what a repository holds, for whoever plans a restore: a line INFO with pgBackRest's own list, a line POINT for each
# restore point, a line VERSIONS with the PostgreSQL and Citus of this image, a line SEGMENTS for each stanza's database with the names of its WAL segments and timeline histories. Changes nothing.
# Takes pgbackrest.conf and, for an encrypted repository, passphrase as a tar stream on standard input.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

umask 077
current=$(mktemp -d)
trap 'rm -rf "$current"' EXIT
tar -xf - -C "$current" --no-same-owner
[ -s "$current/pgbackrest.conf" ] || die 6 "pgBackRest's configuration did not arrive whole"
add_passphrase "$current"

list() { pgb repo-ls "$1" 2> "$current/said" || die 10 "the repository can't be read: $(one_line < "$current/said")"; }

stanzas=$(list archive)
for stanza in $stanzas; do
    # 95: an encrypted file under another passphrase; without one it does not read as a list
    pgb --stanza="$stanza" repo-get "archive/$stanza/archive.info" 2> /dev/null | grep -q '^\[backrest\]$' \
        || die 11 "$stanza can't be read with this passphrase"
done
printf 'VERSIONS %s %s\n' "$("$pgbin/postgres" --version | sed 's/^[^0-9]*\([0-9.]*\).*/\1/')" \
    "$(sed -n "s/^default_version = '\([^']*\)'.*/\1/p" "$("$pgbin/pg_config" --sharedir)/extension/citus.control")"
printf 'INFO %s\n' "$(pgb --output=json info | tr -d '\n')"
for cluster in $(list restore-points); do
    for day in $(list "restore-points/$cluster" | sort); do
        pgb repo-get "restore-points/$cluster/$day" 2> "$current/said" > "$current/day" \
            || die 11 "the restore points of $cluster can't be read: $(one_line < "$current/said")"
        sed 's/^/POINT /' "$current/day"
    done
done
for stanza in $stanzas; do
    for id in $(list "archive/$stanza" | sed -n 's/^\([0-9]*-[0-9]*\)$/\1/p'); do
        printf 'SEGMENTS %s/%s %s\n' "$stanza" "$id" \
            "$(pgb repo-ls --recurse "archive/$stanza/$id" | sed -n -e 's|^.*/\([0-9A-F]\{24\}\)-.*$|\1|p' -e 's|^\([0-9A-F]\{8\}[.]history\)$|\1|p' | sort -u | tr '\n' ' ')"
    done
done
