#!/usr/bin/env bash
# Restarts this node's server, and nothing beside it: the connection pool and its clients stay.
# What memory holds goes to disk first, while the server still serves. Ends when the old server is gone.
#
#   restart.sh SECONDS   how long the shutdown may take
#
# Exit codes: 4 the server does not run below start.sh, 6 it did not end in time and is still shutting down
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

[[ ${1:-} =~ ^[0-9]+$ ]] || die 2 "restart.sh SECONDS"
pid=$(server_pid) || die 4 "no server runs here"
parent=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status")
tr '\0' ' ' < "/proc/$parent/cmdline" | grep -q "start\.sh" || die 4 "the server does not run below start.sh"
unlocked
query postgres CHECKPOINT > /dev/null 2>&1 || true
touch "$again"
kill -INT "$pid"
for ((tick = 0; tick < $1 * 20; tick++)); do
    [ "$(server_pid || true)" = "$pid" ] || exit 0
    sleep 0.05
done
die 6 "the server did not end within $1 s"
