#!/usr/bin/env bash
# Runs SQL files, which come as a tar stream on standard input, in one psql session as the superuser.
# They are read whole first: psql that reads a pipe takes a killed run's half a file for the whole, and commits it.
#
#   run-sql.sh DATABASE LAST_FILE PSQL_OPTION... -- FILE...
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

database=$1
last=$2
shift 2
options=()
while [ "$1" != -- ]; do
    options+=("$1")
    shift
done
shift
umask 077
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
tar -xf - -C "$dir" --no-same-owner
[ -f "$dir/$last" ] || die 6 "the files did not arrive whole; nothing was run"
files=()
for file in "$@"; do files+=(-f "$file"); done
cd "$dir"
# a name on the command line may be taken for a connection string
PGDATABASE=$database "$pgbin/psql" -h "$socket" -U postgres -X -q -v ON_ERROR_STOP=1 "${options[@]}" "${files[@]}"
