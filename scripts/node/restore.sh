#!/usr/bin/env bash
# Restores one node of a cluster, in steps that its caller takes on all nodes together: no node takes the next step before
# every node has taken the last. Runs while no server uses the volume. Until the caller says `open` no server starts on it.
#
#   restore.sh begin PLAN   takes pgbackrest.conf, restore.conf, nodes.json, verifier and, for an encrypted repository, passphrase
#                         as a tar stream on standard input
#   restore.sh files        the backup's files
#   restore.sh recover      replays the WAL to the point; Citus is not loaded and nothing listens, so nothing is dialled
#   restore.sh size         bytes that are there so far, while `files` works
#   restore.sh readdress    the new cluster's names and password in place of the old ones
#   restore.sh hold         from here on no server starts before `open`
#   restore.sh finish       the database takes its place
#   restore.sh open PLAN    servers may start
#   restore.sh abort PLAN   before any node took `hold`: nothing of it stays
#
# Exit codes: 20 there is a database, 21 a server uses the volume, 22 no room, 23 the point was not reached.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

umask 077
work=$home/restore
making=$home/pgdata.restoring
boot=$work/run
log=$work/server.log

free_of_servers() { # seconds
    exec 9> "$home/lock"
    flock -w "$1" 9 || die 21 "a server still uses the volume"
}

read_plan() {
    point="" label="" timeline="" stanza="" mode=point overwrite=off processes=2 bytes=0 newest_timeline=0
    # shellcheck source=/dev/null
    . "$work/restore.conf"
}

begin() { # plan
    local state=empty
    if [ -d "$pgdata" ]; then
        state=database
        # put in place by this very plan before it was interrupted
        if [ "$(cat "$home/restored-plan" 2> /dev/null || true)" = "$1" ]; then
            printf 'state=restored\n'
            return
        fi
        # put in place by another restore that was interrupted: no server ever ran on it
        if [ -e "$home/restored" ]; then state=unfinished; fi
    fi
    # nothing of it runs any more: the volume is this process's own
    rm -rf "$work" "$making" "$home/pgdata.making"
    mkdir -p "$work"
    tar -xf - -C "$work" --no-same-owner
    for file in pgbackrest.conf restore.conf nodes.json verifier; do
        [ -s "$work/$file" ] || die 6 "the plan did not arrive whole ($file is missing)"
    done
    chmod -R go= "$work"
    add_passphrase "$work"
    read_plan
    if [ "$state" = database ] && [ "$overwrite" != on ]; then
        rm -rf "$work"
        die 20 "it holds a database, which a restore would replace"
    fi
    local free
    free=$(df -B1 --output=avail "$home" | tail -n 1)
    if [ "$free" -lt "$bytes" ]; then
        rm -rf "$work"
        die 22 "the restore needs $((bytes / 1048576)) MB and its volume has $((free / 1048576)) MB free"
    fi
    printf 'state=%s\n' "$state"
}

backrest() { pgbackrest --config="$work/pgbackrest.conf" --stanza="$stanza" "$@"; }

files() {
    rm -rf "$making"
    mkdir -m 0700 "$making"
    local target=(--type=default)
    # without the set pgBackRest takes the newest backup, which may be younger than the point; without the timeline the
    # backup's own, which after a restore in place is not the point's
    if [ "$mode" = point ]; then
        target=(--set="$label" --type=name --target="$point" --target-action=promote --target-timeline="$timeline")
    fi
    backrest --process-max="$processes" "${target[@]}" restore 2> "$work/said" \
        || die 23 "its files can't be restored: $(one_line < "$work/said")"
}

# Everything that dials another node is left out: Citus with its daemon, logical replication, archiving.
write_boot_configuration() {
    printf '%s\n' "local all postgres peer" > "$work/pg_hba.conf"
    : > "$work/pg_ident.conf"
    install -d -m 0700 "$boot"
    cat > "$work/postgresql.conf" << CONF
data_directory = '$making'
hba_file = '$work/pg_hba.conf'
ident_file = '$work/pg_ident.conf'
unix_socket_directories = '$boot'
listen_addresses = ''
shared_preload_libraries = ''
wal_level = logical
hot_standby = off
archive_mode = off
autovacuum = off
max_logical_replication_workers = 0
max_connections = 20
max_prepared_transactions = 4000
max_wal_size = 2GB
shared_buffers = 128MB
log_timezone = UTC
lc_messages = C
CONF
}

boot_query() { "$pgbin/psql" -h "$boot" -U postgres -XAtq -v ON_ERROR_STOP=1 "$@"; }

stop_boot() {
    [ ! -f "$making/postmaster.pid" ] || "$pgbin/pg_ctl" stop -D "$making" -m "$1" -w -s -t 3600 || true
}

recover() {
    write_boot_configuration
    : > "$log"
    # a timeline that the cluster's own repository has from an earlier restore must not be used twice: PostgreSQL takes the
    # number after the last history that it finds
    local number
    : > "$work/placeholders"
    for ((number = timeline + 1; number <= newest_timeline; number++)); do
        printf -v number_hex '%08X' "$number"
        if [ ! -e "$making/pg_wal/$number_hex.history" ]; then
            printf '1\t0/0\tplaceholder\n' > "$making/pg_wal/$number_hex.history"
            printf '%s.history\n' "$number_hex" >> "$work/placeholders"
        fi
    done
    # options of the command line win over what ALTER SYSTEM left in the backup; the lock is each step's own
    "$pgbin/pg_ctl" start -D "$making" -W -s -l "$log" \
        -o "-c config_file='$work/postgresql.conf' -c shared_preload_libraries= -c listen_addresses= -c archive_mode=off -c ssl=off -c hot_standby=off" 9>&-
    local pid
    until pid=$(head -n 1 "$making/postmaster.pid" 2> /dev/null); do
        sleep 0.1
        [ ! -s "$log" ] || ! grep -q 'FATAL' "$log" || break
    done
    until [ "$(boot_query -d postgres -c 'SELECT pg_is_in_recovery()' 2> /dev/null || true)" = f ]; do
        kill -0 "$pid" 2> /dev/null || die 23 "it did not reach $([ "$mode" = end ] && echo "the end of its archive" || echo "$point"): $(grep -E 'FATAL|PANIC|ERROR' "$log" | grep -v 'is starting up' | tail -n 3 | sed 's/^.*\(FATAL\|PANIC\|ERROR\): */\1: /' | paste -sd ' ' -)"
        sleep 0.2
    done
    if [ "$mode" = point ]; then
        grep -q "recovery stopping at restore point \"$point\"" "$log" || die 23 "it did not stop at $point"
        printf 'stopped_at=%s\n' "$(sed -n "s/^.*recovery stopping at restore point \"$point\", time \(.*\)$/\1/p" "$log" | tail -n 1)"
    fi
}

readdress() {
    local database
    for database in $(boot_query -d postgres -c "SELECT datname FROM pg_database WHERE datallowconn AND datname <> 'template0' ORDER BY 1"); do
        boot_query -d "$database" -f "$here/subscriptions.sql"
    done
    [ "$(boot_query -d postgres -c "SELECT count(*) FROM pg_subscription WHERE subenabled")" = 0 ] \
        || die 24 "a database that takes no connections has subscriptions, which would dial their publishers"
    # a worker that comes back into its own cluster keeps the names that it has
    for database in $([ "$mode" = end ] || boot_query -d postgres -c "SELECT datname FROM pg_database WHERE datallowconn AND datname <> 'template0' ORDER BY 1"); do
        [ "$(boot_query -d "$database" -c "SELECT to_regclass('pg_catalog.pg_dist_node') IS NOT NULL")" = t ] || continue
        boot_query -d "$database" -v nodes_file="$work/nodes.json" -f "$here/readdress.sql"
    done
    boot_query -d postgres -v verifier_file="$work/verifier" -f "$here/password.sql"
}

# Citus' own repairs wait until every node runs (the caller switches them on again).
finish() { # plan
    stop_boot fast
    local name
    for name in "$making"/pg_wal/*.history; do
        if [ -f "$work/placeholders" ] && grep -qx "${name##*/}" "$work/placeholders"; then rm -f "$name"; fi
    done
    cat > "$making/postgresql.auto.conf" << CONF
citus.recover_2pc_interval = '-1'
citus.defer_shard_delete_interval = '-1'
citus.background_task_queue_interval = '-1'
citus.distributed_deadlock_detection_factor = '-1'
CONF
    printf "include '%s/postgresql.conf'\n" "$current" > "$making/postgresql.conf"
    # archiving was off while the new timeline began: without its history nobody could restore to a point on it
    for name in "$making"/pg_wal/*.history; do
        [ ! -e "$name" ] || touch "$making/pg_wal/archive_status/${name##*/}.ready"
    done
    rm -f "$making"/pg_hba.conf "$making"/pg_ident.conf "$making"/recovery.done "$making"/server.crt "$making"/server.key
    "$pgbin/pg_controldata" -D "$making" | sed -n 's/^Database system identifier: *//p' > "$home/system-identifier.new"
    "$pgbin/initdb" --sync-only -D "$making" > /dev/null
    if [ -e "$home/restored" ]; then
        rm -rf "$pgdata"
    elif [ -d "$pgdata" ]; then
        # it may be the only copy of what was written after the point: nobody but a person removes it
        mv -T "$pgdata" "$home/pgdata.before-restore.$(date -u +%Y%m%dT%H%M%SZ)"
    fi
    # the one mark goes when a server starts on it, the other when Pulumi has written the restore down
    printf '%s\n' "$1" > "$home/restored-plan"
    touch "$home/restored"
    mv "$home/system-identifier.new" "$home/system-identifier"
    mv -T "$making" "$pgdata"
    rm -rf "$work"
    sync "$home" "$home/system-identifier"
}

mkdir -p "$home"
if [ "$1" = size ]; then
    du -sb "$making" 2> /dev/null | cut -f 1
    exit
fi
# on a machine a run that was killed leaves its recovery running, and the script that waits for it
if [ "$1" = begin ]; then
    stop_boot immediate
    free_of_servers 30
else
    free_of_servers 0
fi
case $1 in
    begin) begin "$2" ;;
    hold) printf '%s\n' "$2" > "$home/restoring" ;;
    files | recover | readdress | finish)
        read_plan
        "$1" "$2"
        ;;
    open) rm -f "$home/restoring" ;;
    abort)
        stop_boot immediate
        rm -rf "$making" "$work" "$home/restoring"
        ;;
    *) die 2 "restore.sh begin|files|size|recover|readdress|hold|finish|open|abort PLAN" ;;
esac
