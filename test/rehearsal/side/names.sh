#!/bin/sh
# Names of the private zone.
#   names.sh set NAME ADDRESS...
#   names.sh delete NAME
set -eu
action=$1 name=${2%.}
shift 2
file=/world/hosts/$name
if [ "$action" = set ]; then
    # written elsewhere first: every file in the folder is read
    for address in "$@"; do printf '%s %s\n' "$address" "$name"; done > "/world/$name.new"
    mv "/world/$name.new" "$file"
else
    rm -f "$file"
fi
# what is gone or changed is only forgotten when told to
kill -HUP "$(cat /run/dnsmasq.pid)"
