#!/usr/bin/env bash
# The node's connection pool, PgBouncer. It runs beside the server while it is configured.
#
#   pool.sh run   for as long as the node runs: starts it, starts it again, and tells it when certificates change
#   pool.sh on    takes pgbouncer.ini as a tar stream on standard input, and ends when it is in force
#   pool.sh off
#   pool.sh pause SECONDS   clients wait from now on, when their transactions end within five seconds. Prints pool=paused,
#                           pool=busy (nothing waits) or pool=none. After SECONDS they go on by themselves.
#   pool.sh resume          clients go on. Says nothing when none waits.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

pool=$home/pool
conf=$pool/pgbouncer.ini

# On its own socket the user of the operating system that it runs as may give it orders.
order() { "$pgbin/psql" -h "$pool" -p 6432 -U pgbouncer -d pgbouncer -XAtq -v ON_ERROR_STOP=1 -c "$1" 2>&1; }

watch_over() { # process
    local certificates tick
    certificates=$(readlink "$current")
    for ((tick = 1; ; tick++)); do
        kill -0 "$1" 2> /dev/null || return 0
        if [ ! -f "$conf" ]; then
            kill -TERM "$1" 2> /dev/null || true
        elif [ "$(readlink "$current")" != "$certificates" ]; then
            certificates=$(readlink "$current")
            kill -HUP "$1"
        fi
        sleep 0.5
    done
}

run() {
    umask 077
    mkdir -p "$pool"
    while true; do
        if [ -f "$conf" ]; then
            # of a node that was killed
            rm -f "$pool/pgbouncer.pid" "$pool"/.s.PGSQL.*
            pgbouncer "$conf" &
            watch_over $!
            wait $! || true
        fi
        sleep 0.5
    done
}

# Whoever asked for a pause may be gone: clients do not wait for ever.
resume_after() { # seconds
    local began=$pool/paused
    date +%s%N > "$began"
    (
        mark=$(cat "$began")
        sleep "$1"
        [ "$(cat "$began" 2> /dev/null)" = "$mark" ] || exit 0
        rm -f "$began"
        order RESUME
    ) > /dev/null 2>&1 6>&- &
    disown
}

pause_clients() { # seconds
    # one that does not run takes no order
    if [ ! -f "$conf" ] || ! order "SHOW VERSION" > /dev/null; then
        printf 'pool=none\n'
        return
    fi
    resume_after "$1"
    if timeout 5 "$pgbin/psql" -h "$pool" -p 6432 -U pgbouncer -d pgbouncer -XAtq -v ON_ERROR_STOP=1 -c PAUSE > /dev/null 2>&1; then
        printf 'pool=paused\n'
    else
        resume_clients
        printf 'pool=busy\n'
    fi
}

resume_clients() {
    rm -f "$pool/paused"
    order RESUME > /dev/null || true
}

# Ends when the pool that runs has this configuration.
in_force() {
    local tries said=""
    for ((tries = 0; tries < 100; tries++)); do
        said=$(order RELOAD) && return 0
        sleep 0.1
    done
    die 5 "PgBouncer refuses its configuration: $(printf '%s\n' "$said" | one_line)"
}

case ${1:-} in
    run) run ;;
    on)
        command -v pgbouncer > /dev/null || die 4 "there is no PgBouncer on this machine"
        umask 077
        mkdir -p "$pool"
        exec 6> "$pool/lock"
        flock -w 60 6 || die 5 "another run has been configuring the connection pool for 60 s"
        incoming=$(mktemp -d "$pool/.incoming.XXXXXX")
        trap 'rm -rf "$incoming"' EXIT
        tar -xf - -C "$incoming" --no-same-owner
        [ -s "$incoming/pgbouncer.ini" ] || die 6 "the configuration did not arrive whole"
        mv "$incoming/pgbouncer.ini" "$conf"
        in_force
        ;;
    off) rm -f "$conf" ;;
    pause)
        [[ ${2:-} =~ ^[0-9]+$ ]] || die 2 "pool.sh pause SECONDS"
        pause_clients "$2"
        ;;
    resume) resume_clients ;;
    *) die 2 "pool.sh on, off, run, pause SECONDS or resume" ;;
esac
