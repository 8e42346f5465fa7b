#!/usr/bin/env bash
# Healthy means: answers a query over verified TLS, in the right database, with Citus loaded; and its WAL was seen to reach
# the repository once.
# A node in the making listens on no address, so it can't pass.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

[ -f "$current/database" ] || die 1 "not configured yet"
PGCONNECT_TIMEOUT=5 "$pgbin/psql" -XAtq -v ON_ERROR_STOP=1 \
    "host=localhost port=5432 user=postgres dbname=$(cat "$current/database") sslmode=verify-full sslrootcert=$current/ca.crt sslcert=$current/node.crt sslkey=$current/node.key application_name=health" \
    -c "SELECT pg_catalog.citus_version()"
if archiving && ! "$here/archive.sh" checked; then
    die 1 "the archive is not checked yet: $(cat "$backup_home/archive.error" 2> /dev/null || echo "nothing has reached the repository so far")"
fi
