#!/usr/bin/env bash
# Backs this node up into its stanza, then expires what retention lets go.
#
#   backup.sh full|diff|incr   now; waits for a backup that is running
#   backup.sh due              what the schedule asks for, by what the repository holds; nothing when nothing is due
#   backup.sh expire           only lets go of what had to stay until the next restore point
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

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

# The last restore point must stay restorable: nothing expires while it rests on a backup that retention would drop.
expire() {
    local last
    read_info
    : > "$work/point.json"
    last=$(pgb repo-ls "restore-points/$cluster" 2> /dev/null | sort | tail -n 1)
    if [ -n "$last" ]; then pgb repo-get "restore-points/$cluster/$last" | tail -n 1 > "$work/point.json"; fi
    if [ "$(ask may-expire.sql -v point_file="$work/point.json" -v stanza="$stanza" -v retention="$retention")" = t ]; then
        pgb --stanza="$stanza" expire
        rm -f "$backup_home/expire.waits"
    else
        say "nothing is expired before the next restore point: the newest one needs a backup that would go"
        touch "$backup_home/expire.waits"
    fi
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
pgb --stanza="$stanza" --type="$type" --no-expire-auto backup
expire
