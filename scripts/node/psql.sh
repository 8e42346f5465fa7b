#!/usr/bin/env bash
# psql as the superuser, for a person who reaches this node by commands only. Files come as a tar stream on standard input:
# those that arguments name, and `stdin`, which is what psql reads.
#
#   psql.sh DATABASE ARG...
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

database=$1
shift
umask 077
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
tar -xf - -C "$dir" --no-same-owner
[ -f "$dir/stdin" ] || die 6 "the files did not arrive whole; nothing was run"
cd "$dir"
# a name on the command line may be taken for a connection string
PGDATABASE=$database "$pgbin/psql" -h "$socket" -U postgres "$@" < stdin
