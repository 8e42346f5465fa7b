#!/usr/bin/env bash
# Says what nobody declared and what grows on this node, as JSON: see look.sql. Changes nothing.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

unlocked
read -r size free <<< "$(df -B1 --output=size,avail "$home" | tail -n 1)"
# numbers and a file's name: nothing secret is an argument
"$pgbin/psql" -h "$socket" -U postgres -d "$(cat "$current/database")" -XAtq -v ON_ERROR_STOP=1 -v size="$size" -v free="$free" \
    -v conf="$current" -v refused="$home/conf/refused" -f "$here/look.sql"
