#!/usr/bin/env bash
# Backs this node up into its stanza, then expires what retention lets go.
#
#   backup.sh full|diff|incr [keep]   now; waits for a backup that is running; with keep nothing is expired
#   backup.sh due              what the schedule asks for, by what the repository holds; nothing when nothing is due
#   backup.sh expire           only lets go of what had to stay until the next restore point
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"
# shellcheck source-path=SCRIPTDIR source=points.sh
. "$here/points.sh"

type=$1
archiving || die 78 "backups are off on this node"
read_backup_conf
umask 077
mkdir -p "$backup_home"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

read_info() { pgb --stanza="$stanza" --output=json info > "$work/info.json"; }

ask() { # sql file, psql options: an answer about the repository, from what pgBackRest says of it
    local file=$1
    shift
    "$pgbin/psql" -h "$socket" -U postgres -d postgres -XAtq -v ON_ERROR_STOP=1 -v info_file="$work/info.json" "$@" -f "$here/$file"
}

# What keep.sql lets go. Where the newest restore point keeps a backup that has served its time it is asked again later.
expire() {
    local newest keep fulls
    read_info
    : > "$work/nodes"
    newest_point "$cluster" > "$work/newest"
    if [ -s "$work/newest" ]; then
        newest=$(cut -d ' ' -f 2 "$work/newest")
        get_packed "$work" <<< "restore-points/$cluster/lists/$newest"
        sed 1q "$work/$newest" > "$work/nodes"
        [ -s "$work/nodes" ] || die 77 "the newest restore point can't be read, so no backup is let go"
    fi
    keep=$(ask keep.sql -v nodes_file="$work/nodes" -v stanza="$stanza" -v retention="$retention" -v full="$full")
    fulls=$(ask fulls.sql)
    if [ "$keep" -lt "$fulls" ]; then pgb --stanza="$stanza" --repo1-retention-full="$keep" expire; fi
    if [ "$keep" -gt "$retention" ]; then touch "$backup_home/expire.waits"; else rm -f "$backup_home/expire.waits"; fi
}

exec 8> "$backup_home/backup.lock"
if [ "$type" = expire ]; then
    [ -e "$backup_home/expire.waits" ] || exit 0
    flock -n 8 || exit 75
    expire
    exit
fi
if [ "$type" = due ]; then
    flock -n 8 || exit 75
    read_info
    type=$(ask due.sql -v full="$full" -v diff="$diff" -v incr="$incr" -v window="$window")
    [ "$type" != nothing ] || exit 0
    say "a $type backup is due"
elif ! flock -n 8; then
    say "another backup is running; waiting for it"
    flock -w 86400 8
fi
# pgBackRest takes a backup with such a name and can't read it again
odd=$(query postgres "SELECT string_agg(quote_literal(datname), ', ') FROM pg_database WHERE datname ~ '[\r\n]'")
[ -z "$odd" ] || die 79 "no backup was made, because pgBackRest could not restore it: a database has a line break in its name ($odd). Rename it: ALTER DATABASE ... RENAME TO ..."
# pgBackRest would copy everything, then wait for WAL that does not come, and say why only after that
failing=$(query postgres "SELECT coalesce(last_failed_time > last_archived_time, last_failed_time IS NOT NULL) FROM pg_stat_archiver")
if [ "$failing" = t ]; then
    said=$(pgb --stanza="$stanza" check 2>&1) || die 80 "no backup was made, because WAL does not reach the repository: $(printf '%s\n' "$said" | one_line)"
fi
# a backup that took hours is worth waiting for the archive; the check of the archive has its own, shorter time
pgb --stanza="$stanza" --type="$type" --no-expire-auto --archive-timeout=3600 backup
[ "${2:-}" = keep ] || expire
