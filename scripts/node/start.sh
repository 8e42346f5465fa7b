#!/usr/bin/env bash
# The node's main process: makes an empty PostgreSQL with Citus the first time, then runs the server, and what is beside it.
# Safe to run again at any moment: a node is made aside and put in place by one rename.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

making=$home/pgdata.making
boot=$home/boot
trap 'stop_boot; exit 0' INT TERM

stop_boot() {
    if [ -f "$making/postmaster.pid" ]; then
        "$pgbin/pg_ctl" stop -D "$making" -m immediate -s || true
    fi
}

# Two servers on one volume destroy it, and PostgreSQL's own lock file does not see another container.
# The descriptor stays open in the server and in each of its children.
take_lock() {
    exec 9> "$home/lock"
    if ! flock -n 9; then
        say "another process holds $home; waiting for it to end"
        flock 9
    fi
}

make_empty() {
    say "making an empty database"
    rm -rf "$making"
    "$pgbin/initdb" --pgdata="$making" --username=postgres --data-checksums --no-sync --no-instructions \
        --encoding=UTF8 --locale=C.UTF-8 --locale-provider=builtin --builtin-locale=C.UTF-8 \
        --auth-local=peer --auth-host=reject > "$home/initdb.log" 2>&1 \
        || { cat "$home/initdb.log" >&2; die 71 "initdb failed"; }
    printf "include '%s/postgresql.conf'\n" "$current" > "$making/postgresql.conf"
}

wait_for_configuration() {
    [ -f "$current/postgresql.conf" ] && return
    say "waiting for the configuration"
    until [ -f "$current/postgresql.conf" ]; do
        sleep 0.1 &
        wait $!
    done
}

wait_for_another() { # name of the configuration
    while [ "$(readlink "$current")" = "$1" ]; do
        sleep 0.5 &
        wait $!
    done
}

# TLS is configured before the extension exists: otherwise CREATE EXTENSION citus writes ALTER SYSTEM.
make_database() {
    local database
    database=$(cat "$current/database")
    install -d -m 0700 "$boot"
    until "$pgbin/pg_ctl" start -D "$making" -w -s -t 120 -l "$home/boot.log" \
        -o "-c listen_addresses='' -c unix_socket_directories='$boot' -c fsync=off"; do
        cat "$home/boot.log" >&2
        read_complaints < "$home/boot.log" | paste -sd ';' - > "$home/conf/refused"
        say "the new server does not start; waiting for another configuration"
        wait_for_another "$(readlink "$current")"
        : > "$home/boot.log"
    done
    "$pgbin/psql" -h "$boot" -U postgres -d postgres -XAtq -v ON_ERROR_STOP=1 -v database="$database" \
        -v verifier_file="$current/verifier" -f "$here/make.sql" \
        || { stop_boot; die 73 "the new database could not be made"; }
    "$pgbin/pg_ctl" stop -D "$making" -m fast -w -s
    "$pgbin/initdb" --sync-only -D "$making" > /dev/null
}

put_in_place() {
    "$pgbin/pg_controldata" -D "$making" | sed -n 's/^Database system identifier: *//p' > "$home/system-identifier.new"
    mv -T "$making" "$pgdata"
    mv "$home/system-identifier.new" "$home/system-identifier"
    sync "$home" "$home/system-identifier"
    say "the empty database is ready"
}

# Until every node of the cluster is restored none may serve.
wait_for_restore() {
    [ -e "$home/restoring" ] || return 0
    say "a restore of this cluster has begun and not ended; waiting for it (pulumi up goes on with it)"
    while [ -e "$home/restoring" ]; do
        sleep 0.5 &
        wait $!
    done
}

# What the server that comes would read, in a folder that is no database: libraries find the directories that they expect.
would_start() { # file for complaints
    local shadow=$home/shadow dir code=0
    rm -rf "$shadow"
    install -d -m 0700 "$shadow"
    for dir in "$pgdata"/*/; do install -d -m 0700 "$shadow/$(basename "$dir")"; done
    cp -p "$pgdata/PG_VERSION" "$shadow/"
    cp -p "$pgdata/global/pg_control" "$shadow/global/"
    cp -p "$pgdata/postgresql.auto.conf" "$shadow/" 2> /dev/null || true
    probe "$shadow" "$pgdata/postgresql.conf" "$1" > /dev/null || code=$?
    rm -rf "$shadow"
    # what it has no words for is said by the server itself
    [ "$code" = 0 ] || [ "$code" = 3 ] || [ ! -s "$1" ]
}

# A server that ends at once is started again and again. With a configuration that would do that, the one before it serves.
# There is none before one that this node ran with already: the server says itself what is wrong.
settle_configuration() {
    local said=$home/conf/.said
    if ! would_start "$said"; then
        paste -sd ';' "$said" > "$home/conf/.refused"
        mv "$home/conf/.refused" "$home/conf/refused"
        if go_back; then
            say "PostgreSQL does not start with its new configuration: $(cat "$home/conf/refused"). The former one is in place again"
        else
            say "PostgreSQL does not start with its configuration: $(cat "$home/conf/refused")"
        fi
    fi
    rm -f "$said"
}

# Once it was checked, the archive is not asked: a start does not wait for a repository that may be away.
schedule=""
ready_archive() {
    if ! archiving; then
        # the WAL has a gap from here on: what is in the repository is of no use for what comes after it
        rm -f "$backup_home/checked"
        return
    fi
    # before the first segment is due
    "$here/archive.sh" checked || "$here/archive.sh" stanza || say "the repository can't be used yet; trying again beside the server"
    [ -z "$schedule" ] || return 0
    schedule=runs
    ( "$here/schedule.sh" 9>&- & )
}

# The server is a child, so that its restart leaves the connection pool and its clients alone.
server=""
ending=""
end_server() { # signal: the same that PostgreSQL takes
    ending=$1
    [ -z "$server" ] || kill -s "$1" "$server" 2> /dev/null || true
}

run_server() {
    local code=0
    "$pgbin/postgres" -D "$pgdata" &
    server=$!
    [ -z "$ending" ] || end_server "$ending"
    # a signal ends the wait, too
    while
        code=0
        wait "$server" || code=$?
        kill -0 "$server" 2> /dev/null
    do :; done
    server=""
    return "$code"
}

wait_for_restore
take_lock
install -d -m 0700 "$socket" "$home/conf"
rm -f "$socket"/.s.PGSQL.*
if [ ! -d "$pgdata" ]; then
    # the marker says that there was a database: an empty one in its place would hide the loss
    if [ -s "$home/system-identifier" ]; then
        say "the database that was here (system identifier $(cat "$home/system-identifier")) is gone; refusing to make an empty one"
        while true; do sleep 5 & wait $!; done
    fi
    make_empty
    wait_for_configuration
    make_database
    put_in_place
fi
wait_for_configuration
# of a node that was killed while it restarted
rm -f "$again"
trap 'end_server INT' INT
trap 'end_server TERM' TERM
trap 'end_server QUIT' QUIT
# a machine may have none
if command -v pgbouncer > /dev/null; then ( "$here/pool.sh" run 9>&- & ); fi
while [ -z "$ending" ]; do
    settle_configuration
    ready_archive
    # what was restored serves from now on, and is not put aside in silence any more
    rm -f "$home/restored"
    code=0
    run_server || code=$?
    [ "$code" = 0 ] && [ -e "$again" ] || exit "$code"
    rm -f "$again"
done
