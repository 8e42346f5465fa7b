#!/usr/bin/env bash
# Tries the node image before a cluster uses it: two throw-away servers that reach each other over Unix sockets, with a
# distributed and a reference table. Prints key=value lines: facts, `broken` for what no cluster can do without, `flaw`
# for what can be lived with. Ends with done=yes. No network, no volume.
# shellcheck disable=SC2317  # functions are called by name, through try
set -euo pipefail

work=$(mktemp -d)
trap 'stop_all; rm -rf "$work"' EXIT
bin=""
for dir in /usr/lib/postgresql/17/bin /usr/pgsql-17/bin /usr/local/bin /usr/bin; do
    if [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ]; then
        bin=$dir
        break
    fi
done

stop_all() {
    local node
    for node in coordinator worker; do
        [ ! -f "$work/$node/postmaster.pid" ] || "$bin/pg_ctl" stop -D "$work/$node" -m immediate -s > /dev/null 2>&1 || true
    done
}

finish() {
    printf 'done=yes\n'
    exit 0
}

one_line() { sed 's/^psql:[^:]*:[0-9]*: //' | grep -v '^ *$' | tail -n 3 | paste -sd ' ' - | cut -c1-300; }

query() { # node, psql's arguments
    local node=$1
    shift
    "$bin/psql" -h "$work/$node.socket" -U postgres -d try -XAtq -v ON_ERROR_STOP=1 "$@"
}

# Whether a command works; when it does not, a line of that kind with what it said.
try() { # broken|flaw, what it is, command
    local kind=$1 what=$2 said
    shift 2
    said=$("$@" 2>&1 > /dev/null) && return 0
    printf '%s=%s: %s\n' "$kind" "$what" "$(printf '%s\n' "$said" | one_line)"
    return 1
}

start() { # node
    local node=$1
    "$bin/initdb" -D "$work/$node" -U postgres --no-sync --no-instructions --encoding=UTF8 --locale=C.UTF-8 \
        --locale-provider=builtin --builtin-locale=C.UTF-8 --auth-local=peer --auth-host=reject || return 1
    install -d -m 0700 "$work/$node.socket"
    cat > "$work/$node/postgresql.conf" << CONF
shared_preload_libraries = 'citus'
listen_addresses = ''
unix_socket_directories = '$work/$node.socket'
fsync = off
shared_buffers = 16MB
max_connections = 40
max_prepared_transactions = 20
wal_level = logical
CONF
    "$bin/pg_ctl" start -D "$work/$node" -w -s -t 240 -l "$work/$node.log" || { tail -n 5 "$work/$node.log" >&2; return 1; }
    "$bin/psql" -h "$work/$node.socket" -U postgres -d postgres -XAtq -v ON_ERROR_STOP=1 -c 'CREATE DATABASE try' || return 1
    query "$node" -c 'CREATE EXTENSION citus'
}

make_tables() {
    query coordinator -c "SELECT citus_set_coordinator_host('$work/coordinator.socket', 5432)" \
        -c "SELECT citus_add_node('$work/worker.socket', 5432)" \
        -c 'CREATE TABLE item (id bigint PRIMARY KEY, kind int NOT NULL)' \
        -c "SELECT create_distributed_table('item', 'id', shard_count := 2)" \
        -c 'CREATE TABLE kind (id int PRIMARY KEY, name text NOT NULL)' \
        -c "SELECT create_reference_table('kind')" \
        -c "INSERT INTO kind VALUES (1, 'one')" \
        -c 'INSERT INTO item SELECT i, 1 FROM generate_series(1, 100) i'
}

count_rows() {
    local found
    found=$(query coordinator -c 'SELECT count(*) FROM item JOIN kind ON kind.id = item.kind') || return 1
    [ "$found" = 100 ] || { printf 'a join over a worker found %s rows of 100\n' "$found" >&2; return 1; }
    found=$(query coordinator -c "SELECT count(DISTINCT nodename) FROM citus_shards WHERE table_name = 'item'::regclass AND nodename LIKE '%worker.socket'") || return 1
    [ "$found" = 1 ] || { printf 'no shard is on the worker\n' >&2; return 1; }
}

printf 'uid=%s\n' "$(id -u postgres 2> /dev/null)"
printf 'base_postgres=%s\n' "$(cat /usr/local/lib/citus-image/base-postgres 2> /dev/null)"
if [ -z "$bin" ]; then
    printf "broken=PostgreSQL 17: its server programs are not in this image\n"
    finish
fi
printf 'postgres=%s\n' "$("$bin/postgres" --version | sed 's/^[^0-9]*\([0-9.]*\).*/\1/')"
for program in pgbackrest pgbouncer tini; do
    try broken "$program" command -v "$program" || true
done
for node in coordinator worker; do
    try broken "an empty database with Citus" start "$node" || finish
done
printf 'citus=%s\n' "$(query coordinator -c "SELECT substring(citus_version() FROM 'Citus ([0-9.]+)')")"
try broken "a distributed and a reference table" make_tables || finish
try broken "a query over a worker" count_rows || true
try flaw "psql's \\d of a distributed table" query coordinator -c '\d item' || true
try flaw "psql's \\d of a reference table" query coordinator -c '\d kind' || true
finish
