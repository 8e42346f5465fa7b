#!/usr/bin/env bash
# Has the running server take the configuration that is in place: password, settings, who may connect. Safe to repeat.
# Prints as key=value: what it put right (password=changed, reset=NAMES of settings that ALTER SYSTEM had changed), and the
# settings that wait for a restart.
#
# Exit codes: 5 the configuration is refused, and the former one is in place again; 7 the server does not answer yet.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

set_password() {
    local database
    database=$(cat "$current/database")
    "$pgbin/psql" -h "$socket" -U postgres -d "$database" -XAtq -v ON_ERROR_STOP=1 -v verifier_file="$current/verifier" \
        -f "$here/password.sql"
}

# What ALTER SYSTEM says wins over the configuration. Where the stack says otherwise it is taken back, but for Citus' own
# repairs, which wait while a cluster is being restored.
reset_owned() {
    local name reset=()
    [ -f "$current/owned" ] || return 0
    for name in $(query postgres "SELECT DISTINCT name FROM pg_file_settings WHERE sourcefile LIKE '%/postgresql.auto.conf' AND name NOT IN (
        'citus.recover_2pc_interval', 'citus.defer_shard_delete_interval', 'citus.background_task_queue_interval', 'citus.distributed_deadlock_detection_factor')"); do
        grep -qx "${name//./[.]}" "$current/owned" || continue
        query postgres "ALTER SYSTEM RESET $name"
        reset+=("$name")
    done
    [ "${#reset[@]}" = 0 ] || printf 'reset=%s\n' "$(IFS=,; printf '%s' "${reset[*]}")"
}

refused() { # why
    if go_back; then query postgres 'SELECT pg_reload_conf()' > /dev/null; fi
    die 5 "$1"
}

reload() {
    query postgres 'SELECT pg_reload_conf()' > /dev/null
    local tries errors
    for tries in 1 2 3 4 5 6 7 8 9 10; do
        # the postmaster needs a moment to hand the new file to its children
        sleep 0.1
        errors=$(query postgres "SELECT string_agg(DISTINCT coalesce(name, sourcefile) || ': ' || error, '; ')
            FROM pg_file_settings WHERE error IS NOT NULL AND error <> 'setting could not be applied' AND sourcefile NOT LIKE '%/postgresql.auto.conf'")
        [ -z "$errors" ] && [ "$tries" -ge 2 ] && break
    done
    [ -z "$errors" ] || refused "PostgreSQL did not take the configuration: $errors"
    errors=$(query postgres "SELECT string_agg(line_number || ': ' || error, '; ') FROM pg_hba_file_rules WHERE error IS NOT NULL")
    [ -z "$errors" ] || refused "PostgreSQL did not take pg_hba.conf: $errors"
}

unlocked
running || die 7 "the server does not answer yet"
set_password
reset_owned
reload
printf 'pending_restart=%s\n' "$(query postgres "SELECT string_agg(f.name, ',' ORDER BY f.name)
    FROM pg_file_settings f JOIN pg_settings s USING (name)
    WHERE f.error = 'setting could not be applied' AND s.context = 'postmaster' AND f.sourcefile NOT LIKE '%/postgresql.auto.conf'")"
