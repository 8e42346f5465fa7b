#!/usr/bin/env bash
# Says what nodes' volumes hold, a line each: nothing, database, or unfinished when an
# interrupted restore put it in place and no server ran on it.
#
#   volumes.sh PATH...
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

for path in "$@"; do
    holding=nothing
    if [ -d "$path/pgdata" ]; then holding=database; fi
    if [ -e "$path/restored" ]; then holding=unfinished; fi
    printf '%s %s\n' "$path" "$holding"
done
