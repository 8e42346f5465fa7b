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
#   restore.sh aside PLAN   instead of files to finish, for a node that the point does not have: its database makes room for
#                         an empty one
#   restore.sh abort PLAN   before any node took `hold`: nothing of it stays
#
# Exit codes: 20 there is a database, 21 a server uses the volume, 22 no room, 23 the point was not reached, 25 the repository
# does not give what the point needs.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

umask 077
work=$home/restore
making=$home/pgdata.restoring
boot=$work/run
log=$work/server.log
# How long a server may do nothing before its restore has failed, in seconds.
silence=${CITUS_RESTORE_SILENCE:-600}

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
    # put in place by this very plan before it was interrupted; a node that was put aside has no database until it starts
    if [ "$(cat "$home/restored-plan" 2> /dev/null || true)" = "$1" ] && { [ -d "$pgdata" ] || [ ! -s "$home/system-identifier" ]; }; then
        printf 'state=restored\n'
        return
    fi
    if [ -d "$pgdata" ]; then
        state=database
        # put in place by another restore that was interrupted: no server ever ran on it
        if [ -e "$home/restored" ]; then state=unfinished; fi
    fi
    # nothing of it runs any more: the volume is this process's own
    rm -rf "$work" "$making" "$home/pgdata.making"
    mkdir -p "$work"
    tar -xf - -C "$work" --no-same-owner
    local file files=(restore.conf pgbackrest.conf nodes.json verifier)
    if grep -qx mode=aside "$work/restore.conf" 2> /dev/null; then files=(restore.conf); fi
    for file in "${files[@]}"; do
        [ -s "$work/$file" ] || die 6 "the plan did not arrive whole ($file is missing)"
    done
    chmod -R go= "$work"
    if [ -s "$work/pgbackrest.conf" ]; then add_passphrase "$work"; fi
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
        || die 25 "its files can't be restored: $(one_line < "$work/said")"
    keep_recovery_settings
}

# What ALTER SYSTEM left in the backup would win over the boot configuration: only what pgBackRest wrote for the recovery stays.
keep_recovery_settings() {
    grep -E '^(restore_command|recovery_target[a-z_]*) *=' "$making/postgresql.auto.conf" > "$work/auto.conf" || true
    grep -q '^restore_command' "$work/auto.conf" || die 25 "pgBackRest left no restore_command in its postgresql.auto.conf"
    mv "$work/auto.conf" "$making/postgresql.auto.conf"
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

# a name on the command line may be taken for a connection string
boot_query() { # database, psql's arguments
    PGDATABASE=$1 PGCONNECT_TIMEOUT=10 "$pgbin/psql" -h "$boot" -U postgres -XAtq -v ON_ERROR_STOP=1 "${@:2}"
}

# Runs a command with the name of each database that can be connected to. One whose DROP DATABASE was interrupted (-2) can only
# be dropped.
each_database() { # command
    local database
    boot_query postgres -0 -c "SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2 AND datname <> 'template0' ORDER BY 1" > "$work/databases"
    while IFS= read -r -d '' database <&3; do "$@" "$database"; done 3< "$work/databases"
}
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
    # the lock is each step's own
    setsid "$pgbin/postgres" -D "$making" -c config_file="$work/postgresql.conf" < /dev/null >> "$log" 2>&1 9>&- &
    wait_for_recovery $!
    if [ "$mode" = point ]; then
        grep -q "recovery stopping at restore point \"$point\"" "$log" || die 23 "it did not stop at $point"
        printf 'stopped_at=%s\n' "$(sed -n "s/^.*recovery stopping at restore point \"$point\", time \(.*\)$/\1/p" "$log" | tail -n 1)"
    fi
}

# Ends when the server of this process has replayed everything and takes connections.
wait_for_recovery() { # process
    local answer now before="" began=$SECONDS since=$SECONDS
    while true; do
        answer=$(timeout 30 env PGDATABASE=postgres PGCONNECT_TIMEOUT=10 "$pgbin/psql" -h "$boot" -U postgres -XAtqc 'SELECT pg_is_in_recovery()' 2>&1) || true
        [ "$answer" != f ] || return 0
        kill -0 "$1" 2> /dev/null || not_reached "its server ended"
        now="$answer $(signs_of_life "$1")"
        if [ "$now" != "$before" ]; then
            before=$now
            since=$SECONDS
        elif [ $((SECONDS - since)) -ge "$silence" ]; then
            not_reached "its server runs and does nothing for $silence s (psql: $(one_line <<< "$answer"))"
        fi
        # each question leaves a line in the log of a server that is not ready
        if [ $((SECONDS - began)) -lt 60 ]; then sleep 0.2; else sleep 1; fi
    done
}

# What the server wrote by itself, and not to whoever asked whether it is ready.
own_words() { grep -v -e 'database system is starting up' -e 'accepting connections' -e 'Hot standby mode is disabled' -e 'Consistent recovery state' || true; }

# Changes while the server works: it writes to its log every ten seconds of a replay, and one long record takes time of the
# processor, its own or that of the program that fetches WAL.
signs_of_life() { # process
    local child times
    tail -n 200 "$log" | own_words | tail -n 1
    # process, ..., state, parent: after the name in parentheses; the 12th to the 15th from there are the times
    cat /proc/[0-9]*/stat 2> /dev/null | sed 's/ (.*) / /' | awk -v parent="$1" '$3 == parent { print $1, $13 "+" $14 "+" $15 "+" $16 }' \
        | while read -r child times; do
            if { tr '\0' ' ' < "/proc/$child/cmdline"; } 2> /dev/null | grep -q startup; then printf '%s ' "$times"; fi
        done || true
}

not_reached() { # what happened
    local what=$point code=23 said
    if [ "$mode" = end ]; then what="the end of its archive"; fi
    said=$(grep -E 'FATAL|PANIC|ERROR|LOG: *(incorrect|invalid|unexpected|could not) ' "$log" | own_words | tail -n 3 | sed 's/^.*\(FATAL\|PANIC\|ERROR\|LOG\): */\1: /' | paste -sd ' ' -) || true
    [ -n "$said" ] || said=$(own_words < "$log" | tail -n 3 | paste -sd ' ' -)
    # a segment that is damaged or gone is so each time
    if grep -qE 'ERROR: *\[[0-9]+\]: .*(unable to get|unable to find|checksum|raised from)|recovery ended before configured recovery target' "$log"; then code=25; fi
    die "$code" "it did not reach $what: $1. Its log: $said"
}

readdress() {
    each_database remove_subscriptions
    # nobody can connect to the databases of the others, and nobody has to
    boot_query postgres -c "UPDATE pg_subscription SET subenabled = false WHERE subenabled"
    # a worker that comes back into its own cluster keeps the names that it has
    [ "$mode" = end ] || each_database rename_nodes
    boot_query postgres -v verifier_file="$work/verifier" -f "$here/password.sql"
}

remove_subscriptions() { boot_query "$1" -f "$here/subscriptions.sql"; }

rename_nodes() {
    [ "$(boot_query "$1" -c "SELECT to_regclass('pg_catalog.pg_dist_node') IS NOT NULL")" = t ] || return 0
    boot_query "$1" -v nodes_file="$work/nodes.json" -f "$here/readdress.sql"
}

# Citus' own repairs wait until every node runs (the caller switches them on again).
finish() { # plan
    stop_boot fast
    local name
    for name in "$making"/pg_wal/*.history; do
        if [ -f "$work/placeholders" ] && grep -qx "${name##*/}" "$work/placeholders"; then rm -f "$name"; fi
    done
    printf '%s\n' "$repairs_off" > "$making/postgresql.auto.conf"
    printf "include '%s/postgresql.conf'\n" "$current" > "$making/postgresql.conf"
    # archiving was off while the new timeline began: without its history nobody could restore to a point on it
    for name in "$making"/pg_wal/*.history; do
        [ ! -e "$name" ] || touch "$making/pg_wal/archive_status/${name##*/}.ready"
    done
    rm -f "$making"/pg_hba.conf "$making"/pg_ident.conf "$making"/recovery.done "$making"/server.crt "$making"/server.key
    "$pgbin/pg_controldata" -D "$making" | sed -n 's/^Database system identifier: *//p' > "$home/system-identifier.new"
    "$pgbin/initdb" --sync-only -D "$making" > /dev/null
    put_aside
    # the one mark goes when a server starts on it, the other when Pulumi has written the restore down
    printf '%s\n' "$1" > "$home/restored-plan"
    touch "$home/restored"
    mv "$home/system-identifier.new" "$home/system-identifier"
    mv -T "$making" "$pgdata"
    rm -rf "$work"
    sync "$home" "$home/system-identifier"
}

# It may be the only copy of what was written after the point: nobody but a person removes it.
put_aside() {
    if [ -e "$home/restored" ]; then
        rm -rf "$pgdata"
    elif [ -d "$pgdata" ]; then
        mv -T "$pgdata" "$home/pgdata.before-restore.$(date -u +%Y%m%dT%H%M%SZ)"
    fi
}

# A node that the point does not have: of no use to the restored cluster until it joins it, empty.
aside() { # plan
    put_aside
    # without it the node's next start makes an empty database
    rm -f "$home/system-identifier" "$home/restored"
    printf '%s\n' "$1" > "$home/restored-plan"
    rm -rf "$work"
    sync "$home"
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
    files | recover | readdress | finish | aside)
        read_plan
        "$1" "$2"
        ;;
    open) rm -f "$home/restoring" ;;
    abort)
        stop_boot immediate
        rm -rf "$making" "$work" "$home/restoring"
        ;;
    *) die 2 "restore.sh begin|files|size|recover|readdress|hold|finish|aside|open|abort PLAN" ;;
esac
