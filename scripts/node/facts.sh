#!/usr/bin/env bash
# Says what this node holds, as key=value lines.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

printf 'cluster_id=%s\n' "$(cat "$home/cluster-id" 2> /dev/null || true)"
printf 'system_identifier=%s\n' "$(cat "$home/system-identifier" 2> /dev/null || true)"
printf 'version=%s\n' "$("$pgbin/postgres" --version)"
