#!/usr/bin/env bash
# Ends a change of the configuration. The one that was accepted last stays on the node until another one is.
#
#   settle.sh keep NAME   the configuration of this name is accepted; exit code 8 when the node does not run with it, and why
#   settle.sh back        the one that was accepted last is put in place again; says back=yes when it was another one
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

case $1 in
    keep)
        [ "$(readlink "$current")" = "$2" ] || die 8 "$(cat "$home/conf/refused" 2> /dev/null || echo "another configuration is in place")"
        accept "$2"
        rm -f "$home/conf/refused"
        remove_others "$2"
        ;;
    back)
        if go_back; then
            printf 'back=yes\n'
            if pid=$(server_pid); then kill -HUP "$pid"; fi
        else
            printf 'back=no\n'
        fi
        ;;
    *) die 2 "settle.sh keep NAME|back" ;;
esac
