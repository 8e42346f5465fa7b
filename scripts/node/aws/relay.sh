#!/usr/bin/env bash
# Carries a client's connection to this node's server over commands (SSM RunCommand): what it sends comes with a command, and
# what the server answers goes back page by page. The connection is to the local socket, as postgres. Runs as root.
#
#   relay.sh exchange ID OFFSET   base64 on standard input, maybe nothing: sent to the server. A new ID at offset 0 connects.
#   relay.sh close ID
#
# exchange waits until the server is ready for the next query, or said a page, or the connection ended, at most 20 seconds;
# then it prints "NEXT offset open|closed more|idle" and what the server said from OFFSET on, up to 12288 bytes in base64.
# idle: there is nothing more before the client sends something. A connection without an exchange for 120 s is ended.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=aws.sh
. "$here/aws.sh"

# on tmpfs
relays=${CITUS_RELAY:-/run/citus-relay}
idle_after=${CITUS_RELAY_IDLE:-120}
within=${CITUS_RELAY_WITHIN:-20}
PAGE=12288

usage() { die 64 "relay.sh exchange ID OFFSET | close ID"; }
size() { stat -c %s "$dir/out" 2> /dev/null || echo 0; }

# Holds the connection for as long as there are exchanges, then removes all of it.
hold() {
    exec 3<> "$dir/in"
    # all of this session ends together
    trap 'trap "" TERM; rm -rf "$dir"; kill 0' EXIT
    trap 'exit 0' TERM
    # nc has the pipe open for writing itself, so it never sees its end
    (
        runuser -u postgres -- nc -U "$home/run/.s.PGSQL.5432" <&3 > "$dir/out" 2> "$dir/err" || true
        touch "$dir/closed"
    ) &
    while [ $(($(date +%s) - $(stat -c %Y "$dir/used" 2> /dev/null || echo 0))) -lt "$idle_after" ]; do
        sleep 1 &
        wait $!
    done
}

connect() {
    mkdir -p "$dir"
    mkfifo "$dir/in"
    : > "$dir/out"
    echo 0 > "$dir/sent"
    touch "$dir/used"
    # its own session and nothing of this command's: the command ends, the connection stays
    setsid "$here/relay.sh" hold "$id" < /dev/null > /dev/null 2>&1 &
    echo $! > "$dir/holder"
}

# Whether the server has answered what was sent last: what it said since then ends with ReadyForQuery, or is the single
# byte that answers a request for TLS.
ready() { # bytes
    [ "$1" -gt "$(cat "$dir/sent" 2> /dev/null || echo "$1")" ] || return 1
    [ "$1" != 1 ] || return 0
    [[ $(tail -c 6 "$dir/out" | od -An -tx1 | tr -d ' \n') =~ ^5a00000005(49|54|45)$ ]]
}

# What was read is given back to tmpfs, which is memory: all but the last bytes, which ready looks at.
forget_read() { # offset
    local whole=$((($1 / 4096 - 1) * 4096))
    if [ "$whole" -gt 0 ]; then fallocate --punch-hole --offset 0 --length "$whole" "$dir/out"; fi
}

gone() { printf 'NEXT %s closed idle\n\n' "$1"; } # offset

exchange() { # offset
    local offset=$1 end bytes state=open more=more given=$work/given
    base64 -d > "$given"
    if [ ! -d "$dir" ]; then
        if [ "$offset" != 0 ]; then
            gone "$offset"
            return
        fi
        connect
    fi
    touch -c "$dir/used"
    # an answer is asked for once more only from where it was read last
    forget_read "$offset"
    if [ -s "$given" ] && [ ! -e "$dir/closed" ]; then
        size > "$dir/sent"
        timeout "$within" dd if="$given" of="$dir/in" oflag=append conv=notrunc bs=64k status=none || true
    fi
    end=$((SECONDS + within))
    while true; do
        if [ ! -e "$dir/sent" ]; then
            gone "$offset"
            return
        fi
        # whether it has ended is asked before how much it said, or the last of it would be missed
        if [ -e "$dir/closed" ]; then state=closed; fi
        bytes=$(size)
        if [ "$state" = closed ] || ready "$bytes" || [ $((bytes - offset)) -ge "$PAGE" ] || [ "$SECONDS" -ge "$end" ]; then break; fi
        sleep 0.03
    done
    dd if="$dir/out" of="$work/page" iflag=skip_bytes,count_bytes skip="$offset" count="$PAGE" status=none
    offset=$((offset + $(stat -c %s "$work/page")))
    if [ "$offset" -ge "$bytes" ] && { [ "$state" = closed ] || ready "$bytes"; }; then more=idle; fi
    touch -c "$dir/used"
    printf 'NEXT %s %s %s\n' "$offset" "$state" "$more"
    base64 -w 0 "$work/page"
    printf '\n'
    if [ "$state" = closed ]; then cat "$dir/err" >&2; fi
}

action=${1:-}
id=${2:-}
[[ $id =~ ^[A-Za-z0-9][A-Za-z0-9-]{0,63}$ ]] || usage
dir=$relays/$id
umask 077
mkdir -p "$relays"
case $action in
    exchange)
        [[ ${3:-} =~ ^[0-9]{1,12}$ ]] || usage
        work=$(mktemp -d "$relays/.XXXXXX")
        trap 'rm -rf "$work"' EXIT
        exchange "$3"
        ;;
    close)
        if [ -f "$dir/holder" ]; then kill "$(cat "$dir/holder")" 2> /dev/null || true; fi
        rm -rf "$dir"
        ;;
    hold) hold ;;
    *) usage ;;
esac
