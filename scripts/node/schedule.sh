#!/usr/bin/env bash
# Runs beside the server for as long as the node runs: checks the archive once, starts the backups that are due by what
# the repository holds, and on the coordinator takes restore points. It keeps nothing in memory, so a restart loses nothing.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

umask 077
mkdir -p "$backup_home"

# Remembers why a job failed, for status; a job that succeeds forgets it. A restore point that fails once is no news: it
# gives way to whoever holds a lock, and the next one comes within a minute.
note_failure() { # job, what it said
    local said
    said=$(printf '%s\n' "$2" | one_line)
    if [ "$1" = restore-point ] && [ ! -e "$backup_home/$1.failed" ]; then
        touch "$backup_home/$1.failed"
        say "$1: $said; trying again"
        return
    fi
    [ "$said" = "$(cat "$backup_home/$1.error" 2> /dev/null || true)" ] || say "$1: $said"
    printf '%s\n' "$said" > "$backup_home/$1.error.new"
    mv "$backup_home/$1.error.new" "$backup_home/$1.error"
}

job() { # name, command: one of a name at a time
    local name=$1 said code=0
    shift
    (
        exec 6> "$backup_home/job.$name.lock"
        flock -n 6 || exit 0
        touch "$backup_home/$name.tried"
        said=$("$@" 2>&1 > /dev/null) || code=$?
        # 75: somebody runs it by hand at this moment
        case $code in
            0) rm -f "$backup_home/$name.error" "$backup_home/$name.failed" ;;
            75) ;;
            *) note_failure "$name" "$said" ;;
        esac
    ) &
}

archive_fails() {
    [ "$(query postgres "SELECT coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) FROM pg_stat_archiver")" = t ]
}

# A mark from the future was made by a clock that has been set back since. It says nothing about when a job ran.
forget_the_future() {
    local mark age
    for mark in "$backup_home"/*.tried; do
        [ -e "$mark" ] || continue
        age=$(($(date +%s) - $(stat -c %Y "$mark")))
        [ "$age" -lt -5 ] || continue
        say "the clock was set back by $((-age)) s or more: $(basename "$mark" .tried) is tried again now"
        rm -f "$mark"
    done
}

tick() {
    archiving && running || return 0
    read_backup_conf
    forget_the_future
    if ! "$here/archive.sh" checked; then
        "$here/archive.sh" check 2> /dev/null || sleep 2
        return 0
    fi
    # a repository that was lost is made again; what it held is not
    if archive_fails && older_than "$backup_home/stanza.tried" 60; then job stanza "$here/archive.sh" stanza; fi
    # after a failure it is tried again in a minute
    if older_than "$backup_home/backup.tried" 60; then job backup "$here/backup.sh" due; fi
    if older_than "$backup_home/chain.tried" 300; then job chain "$here/chain.sh"; fi
    if [ -e "$backup_home/expire.waits" ] && older_than "$backup_home/expire.tried" 600; then job expire "$here/backup.sh" expire; fi
    # one that failed is tried again in a minute, however long the interval is
    if [ "$role" = coordinator ] && [ "$restore_point" -gt 0 ] && older_than "$backup_home/last-point" "$restore_point" \
        && older_than "$backup_home/restore-point.tried" "$((restore_point < 60 ? restore_point : 60))"; then
        job restore-point "$here/restore-point.sh" scheduled
    fi
}

while true; do
    # the loop outlives whatever a tick meets
    ( tick ) || true
    if [ -f "$backup_home/checked" ]; then sleep 5; else sleep 0.3; fi
done
