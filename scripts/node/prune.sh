#!/usr/bin/env bash
# Removes from the repository the lists of restore points that can't be restored any more, and the backups of workers that
# left and that no point needs. Everything is read first; then it is decided; then removed. An answer that was not had, an
# empty file or one that can't be read ends it before anything is removed. Runs on the coordinator.
#
#   prune.sh INFO MANIFEST DAY   what pgBackRest says of its backups, the newest point (both files), and the day of that
#
# Exit code: 77 the repository could not be read whole, and nothing was removed.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

info=$1
manifest=$2
newest=$3
read_backup_conf
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/days"
points=restore-points/$cluster
database=$(cat "$current/database")

unread() { die 77 "$1 can't be read, so nothing is removed: $(one_line < "$work/said")"; }

useful() { # a day's file
    PGOPTIONS="-c log_min_messages=fatal" "$pgbin/psql" -h "$socket" -U postgres -d "$database" -XAtq -v ON_ERROR_STOP=1 \
        -v info_file="$info" -v day_file="$1" -f "$here/point-useful.sql"
}

# read
pgb repo-ls "$points" > "$work/list" 2> "$work/said" || unread "the list of days with restore points"
days=$(sed -n 's/^\([0-9-]*\)\.jsonl$/\1/p' "$work/list")
# the newest point was published a moment ago: a listing without it is not whole
printf '%s\n' "$days" | grep -qx "$newest" \
    || die 77 "the list of days with restore points lacks the newest one, so nothing is removed"
for day in $days; do
    pgb repo-get "$points/$day.jsonl" > "$work/days/$day" 2> "$work/said" || unread "the restore points of $day"
    [ -s "$work/days/$day" ] || die 77 "the restore points of $day are empty, so nothing is removed"
done
pgb repo-ls backup > "$work/stanzas" 2> "$work/said" || unread "the list of backups"

# decide
old=()
for day in $days; do
    answer=$(useful "$work/days/$day" 2> "$work/said") || unread "the restore points of $day"
    case $answer in
        t) ;;
        f) [ "$day" = "$newest" ] || old+=("$day") ;;
        *) die 77 "whether the points of $day can be restored is not known, so nothing is removed" ;;
    esac
done
left=()
for stanza in $(grep "^$cluster-worker-[0-9]*$" "$work/stanzas" || true); do
    grep -q "\"stanza\": \"$stanza\"" "$manifest" "$work"/days/* || left+=("$stanza")
done

# do
for day in "${old[@]}"; do pgb repo-rm "$points/$day.jsonl"; done
for stanza in "${left[@]}"; do
    say "no restore point needs the backups of $stanza any more, which has left the cluster; they are removed"
    pgb repo-rm --recurse "backup/$stanza"
    pgb repo-rm --recurse "archive/$stanza"
done
