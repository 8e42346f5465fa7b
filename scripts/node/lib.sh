#!/usr/bin/env bash
# What the node scripts share: where things are, and how to say what happens.
# shellcheck disable=SC2034  # used by the scripts that read this file
set -euo pipefail

# Overridden in the scripts' own tests only.
home=${CITUS_HOME:-/var/lib/citus}
pgdata=$home/pgdata
current=$home/conf/current
# The running server listens here. While a node is being made the server listens in $home/boot instead,
# so that nothing mistakes a node in the making for one that is ready.
socket=$home/run
# restart.sh asks for another start of the server with it.
again=$home/again
# What archiving and backups leave on the node: locks, marks and the last errors.
backup_home=$home/backup

# Citus' own repairs, which wait while a cluster is being restored; lines of postgresql.auto.conf.
repairs_off="citus.recover_2pc_interval = '-1'
citus.defer_shard_delete_interval = '-1'
citus.background_task_queue_interval = '-1'
citus.distributed_deadlock_detection_factor = '-1'"

say() { printf '%s %s: %s\n' "$(date -u +%FT%TZ)" "${0##*/}" "$*" >&2; }
die() {
    local code=$1
    shift
    printf '%s\n' "$*" >&2
    exit "$code"
}

find_postgres() {
    local dir
    for dir in /usr/lib/postgresql/17/bin /usr/pgsql-17/bin /usr/local/bin /usr/bin; do
        if [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ]; then
            printf '%s\n' "$dir"
            return
        fi
    done
    die 70 "PostgreSQL 17's server programs are not on this machine"
}

pgbin=$(find_postgres)

# a database's name on the command line may be taken for a connection string
query() { # database, sql
    PGDATABASE=$1 "$pgbin/psql" -h "$socket" -U postgres -XAtq -v ON_ERROR_STOP=1 -c "$2"
}

# Whether a server of this node runs here, whoever may connect to it.
server_pid() {
    local pid
    pid=$(head -n 1 "$pgdata/postmaster.pid" 2> /dev/null) || return 1
    # the number may be another process's by now
    [ "$(cat "/proc/$pid/comm" 2> /dev/null)" = postgres ] && printf '%s\n' "$pid"
}

# The configuration that the node was seen to run with last.
accepted() { readlink "$home/conf/accepted" 2> /dev/null; }

accept() { # name
    ln -sfn "$1" "$home/conf/.accepted"
    mv -T "$home/conf/.accepted" "$home/conf/accepted"
}

point_current_at() { # name
    ln -sfn "$1" "$home/conf/.next"
    mv -T "$home/conf/.next" "$current"
}

# Fails when there is no other one.
go_back() {
    local name
    name=$(accepted) || return 1
    [ -d "$home/conf/$name" ] && [ "$(readlink "$current")" != "$name" ] || return 1
    point_current_at "$name"
    sync "$home/conf"
}

remove_others() { # name: all configurations but this one and the accepted one go
    local kept
    kept=$(accepted || true)
    find "$home/conf" -mindepth 1 -maxdepth 1 -type d ! -name "$1" ! -name "${kept:-$1}" ! -name '.incoming.*' -exec rm -rf {} +
}

# Libraries that sessions load can't lock out who connects so.
unlocked() { export PGOPTIONS="-c session_preload_libraries= -c local_preload_libraries="; }

running() { [ -f "$pgdata/postmaster.pid" ] && query postgres 'SELECT 1' > /dev/null 2>&1; }

# Archiving is on when the node was given a repository; then backup.conf names cluster, role, stanza and schedule.
archiving() { [ -s "$current/pgbackrest.conf" ]; }

read_backup_conf() {
    cluster="" role="" stanza="" full=0 diff=0 incr=0 restore_point=0 retention=1 window=""
    # shellcheck source=/dev/null
    . "$current/backup.conf"
}

# The passphrase of an encrypted repository reaches pgBackRest in a file or an environment, never as an argument.
pgb() {
    local pass
    pass=$(sed -n 's/^repo1-cipher-pass=//p' "$current/pgbackrest.conf")
    if [ -n "$pass" ]; then
        PGBACKREST_CIPHER_PASS=$pass pgbackrest --config="$current/pgbackrest.conf" "$@"
    else
        pgbackrest --config="$current/pgbackrest.conf" "$@"
    fi
}

# The passphrase of a repository comes in a file of its own beside pgbackrest.conf, or not at all.
add_passphrase() { # folder of both
    local line passphrase=""
    [ -s "$1/passphrase" ] || return 0
    IFS= read -r passphrase < "$1/passphrase" || true
    while IFS= read -r line; do
        printf '%s\n' "$line"
        if [ "$line" = "[global]" ]; then printf 'repo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=%s\n' "$passphrase"; fi
    done < "$1/pgbackrest.conf" > "$1/pgbackrest.conf.new"
    mv "$1/pgbackrest.conf.new" "$1/pgbackrest.conf"
    rm -f "$1/passphrase"
}

# Whether something was marked so long ago, or never. A mark from the future is of a clock that was wrong, so it says nothing.
older_than() { # file, seconds
    local age
    age=$(($(date +%s) - $(stat -c %Y "$1" 2> /dev/null || echo 0)))
    [ "$age" -ge "$2" ] || [ "$age" -lt -5 ]
}

# What a program said, as one line without times, process numbers and places in scripts.
one_line() {
    sed -e 's/^[0-9: .-]*\(P[0-9]* *\)\{0,1\}\(ERROR\|WARN\|INFO\): *//' -e 's/raised from [^ ]* protocol: //g' -e 's/^psql:[^ ]*: *\(ERROR\|FATAL\): *//' -e 's/^ *HINT:/HINT:/' \
        -e '/^CONTEXT:.*PL.pgSQL/d' -e '/^[0-9-]*T[0-9:]*Z [a-z-]*[.]sh: /d' -e '/^ *$/d' | paste -sd ' ' - | tr -s ' ' | cut -c1-600
}

# What a server's log says against its configuration, a line for each.
read_complaints() {
    awk '
        function flush() { if (said != "" && said !~ /contains errors$/) print said; said = "" }
        /(FATAL|PANIC|ERROR): / { flush(); sub(/^.*(FATAL|PANIC|ERROR): */, ""); sub(/ in file .*/, ""); said = $0; next }
        # what it says before it has a log
        /^postgres: / && !/could not write external PID file/ { flush(); sub(/^postgres: /, ""); said = $0; next }
        /LOG: .* in file .* line [0-9]+/ { flush(); sub(/^.*LOG: */, ""); sub(/ in file .*/, ""); said = $0; next }
        # what an extension brings is refused with a warning, and the server starts without it
        /WARNING: *(invalid value for parameter|invalid configuration parameter name|[^ ]+ is outside the valid range)/ {
            flush(); sub(/^.*WARNING: */, ""); sub(/, removing it$/, ""); said = $0; next }
        /LOG: .*(group ".*" does not exist|could not set (group|permissions) of file)/ { flush(); sub(/^.*LOG: */, ""); said = $0; next }
        /(DETAIL|HINT): / { sub(/^.*(DETAIL|HINT): */, ""); if (said != "") said = said "; " $0; next }
        END { flush() }' | tr '\t' ' ' | awk '!seen[$0]++'
}

# Loads the libraries and checks the settings together, as a start does, and ends before it takes memory or opens a socket.
# Prints the shared memory that a server would take, in MB; the complaints go to the file. Exit code 3 when there are only
# warnings, which keep no server from starting.
probe() { # data directory, its configuration file, file for complaints, options of postgres
    local data=$1 file=$2 said=$3 code=0
    shift 3
    "$pgbin/postgres" -D "$data" -c "config_file=$file" -c lc_messages=C -c log_destination=stderr -c log_min_messages=warning \
        "$@" -C shared_memory_size 2> "$said.log" || code=$?
    read_complaints < "$said.log" > "$said"
    # whatever it ends with is why
    if [ "$code" != 0 ] && [ ! -s "$said" ]; then tail -n 1 "$said.log" > "$said"; fi
    rm -f "$said.log"
    if [ "$code" = 0 ] && [ -s "$said" ]; then return 3; fi
    return "$code"
}
