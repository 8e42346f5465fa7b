#!/usr/bin/env bash
# Has the running server take the configuration that is in place: password, settings, who may connect. Safe to repeat.
# Prints the settings that wait for a restart as key=value.
#
# Exit codes: 5 the configuration is refused, 7 the server does not answer yet.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

set_password() {
    local database
    database=$(cat "$current/database")
    "$pgbin/psql" -h "$socket" -U postgres -d "$database" -XAtq -v ON_ERROR_STOP=1 -v verifier_file="$current/verifier" \
        -f "$here/password.sql"
}

reload() {
    query postgres 'SELECT pg_reload_conf()' > /dev/null
    local tries errors
    for tries in 1 2 3 4 5 6 7 8 9 10; do
        # the postmaster needs a moment to hand the new file to its children
        sleep 0.1
        errors=$(query postgres "SELECT string_agg(DISTINCT coalesce(name, sourcefile) || ': ' || error, '; ')
            FROM pg_file_settings WHERE error IS NOT NULL AND error <> 'setting could not be applied'")
        [ -z "$errors" ] && [ "$tries" -ge 2 ] && break
    done
    [ -z "$errors" ] || die 5 "PostgreSQL did not take the configuration: $errors"
    errors=$(query postgres "SELECT string_agg(line_number || ': ' || error, '; ') FROM pg_hba_file_rules WHERE error IS NOT NULL")
    [ -z "$errors" ] || die 5 "PostgreSQL did not take pg_hba.conf: $errors"
}

running || die 7 "the server does not answer yet"
set_password
reload
printf 'pending_restart=%s\n' "$(query postgres "SELECT string_agg(f.name, ',' ORDER BY f.name)
    FROM pg_file_settings f JOIN pg_settings s USING (name)
    WHERE f.error = 'setting could not be applied' AND s.context = 'postmaster'")"
