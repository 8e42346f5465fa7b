#!/usr/bin/env bash
# What a restore leaves on a node until it is over.
#
#   accept.sh plan       the restore is written down where it was asked for: the same request is another restore from here on
#   accept.sh withdrawn  nobody asks for the restore any more: its plan is forgotten, and Citus' own repairs work again
#
# Exit codes: 7 the server does not answer, so its repairs stay off.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

# Only what a restore wrote: another value is somebody's own.
resume_repairs() {
    local left line
    left=$(grep -xF "$repairs_off" "$pgdata/postgresql.auto.conf" 2> /dev/null) || return 0
    running || die 7 "Citus' own repairs are still off since a restore, and the server does not answer, so they can't be switched on"
    while IFS= read -r line; do query postgres "ALTER SYSTEM RESET ${line%% *}" > /dev/null; done <<< "$left"
    query postgres "SELECT pg_reload_conf()" > /dev/null
}

case ${1:-} in
    plan) ;;
    withdrawn) resume_repairs ;;
    *) die 2 "accept.sh plan or withdrawn" ;;
esac
rm -f "$home/restored-plan"
