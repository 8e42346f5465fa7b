#!/usr/bin/env bash
# Takes a node's configuration as a tar stream on standard input, tries it, puts it in place by one rename, and
# reloads a running server. Prints what is true afterwards as key=value lines. Nothing is changed when it fails: what a
# running server refuses is taken back.
#
#   configure.sh CLUSTER_ID SYSTEM_IDENTIFIER|new
#
# Exit codes: 3 the volume belongs to another cluster, 4 the data is gone, 5 the configuration is refused, 6 it is not whole.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

cluster_id=$1
expected=$2
umask 077
mkdir -p "$home/conf"
find "$home/conf" -maxdepth 1 -name '.incoming.*' -mmin +10 -exec rm -rf {} +
incoming=$(mktemp -d "$home/conf/.incoming.XXXXXX")
trap 'rm -rf "$incoming"' EXIT

refuse_wrong_volume() {
    if [ -s "$home/cluster-id" ] && [ "$(cat "$home/cluster-id")" != "$cluster_id" ]; then
        die 3 "the data volume belongs to another cluster (id $(cat "$home/cluster-id"), this one is $cluster_id)"
    fi
    if [ -s "$current/database" ] && [ -d "$pgdata" ] && [ "$(cat "$current/database")" != "$(cat "$incoming/database")" ]; then
        die 5 "the database is $(cat "$current/database") and can't become $(cat "$incoming/database")"
    fi
    [ "$expected" = new ] && return
    local found=none
    [ -s "$home/system-identifier" ] && found=$(cat "$home/system-identifier")
    if [ "$found" != "$expected" ] || [ ! -d "$pgdata" ]; then
        die 4 "the data is gone: the volume should hold the database with system identifier $expected and holds $found"
    fi
}

# A setting that this PostgreSQL does not know stops the server from starting, so each optional one is asked for.
add_optional() {
    local line name
    [ -f "$incoming/optional.conf" ] || return 0
    while IFS= read -r line; do
        name=${line%% *}
        if "$pgbin/postgres" --describe-config 2> /dev/null | cut -f1 | grep -qx "$name"; then
            printf '%s\n' "$line" >> "$incoming/postgresql.conf"
        fi
    done < "$incoming/optional.conf"
}

# A server that finds a mistake in its file at the next start stays down. So one that is new is tried for real; what a node
# in the making is given was tried by check-settings.sh, where somebody chose any of it.
try_configuration() {
    local said
    if [ ! -d "$pgdata" ]; then
        # it would never come up
        said=$("$pgbin/postgres" -D "$home" -c "config_file=$incoming/postgresql.conf" -c lc_messages=C -C max_connections 2>&1 > /dev/null) && return
        die 5 "PostgreSQL refuses the configuration: $(printf '%s\n' "$said" | read_complaints | paste -sd ';' -)"
    fi
    if cmp -s "$incoming/postgresql.conf" "$current/postgresql.conf" && [ ! -e "$home/conf/refused" ]; then return; fi
    said=$("$here/trial.sh" "$incoming") && return
    die 5 "PostgreSQL refuses the configuration: $(printf '%s\n' "$said" | sed -e 's/^-\t//' -e 's/\t/: /' | paste -sd ';' - | sed 's/;/; /g')"
}

put_in_place() {
    # of a node that was configured before it was written down which one it runs with
    if ! accepted > /dev/null && [ -e "$current" ] && running; then accept "$(readlink "$current")"; fi
    name=$(cd "$incoming" && cat ./* | sha256sum | cut -c1-16)
    if [ ! -d "$home/conf/$name" ]; then
        mv -T "$incoming" "$home/conf/$name"
    fi
    printf '%s\n' "$cluster_id" > "$home/cluster-id"
    point_current_at "$name"
    rm -f "$home/conf/refused"
    remove_others "$name"
    sync "$home/conf" "$home/cluster-id"
}

tar -xf - -C "$incoming" --no-same-owner
# a run that was killed may have sent only the beginning
for file in postgresql.conf pg_hba.conf pg_ident.conf ca.crt node.crt node.key verifier database; do
    [ -s "$incoming/$file" ] || die 6 "the configuration did not arrive whole ($file is missing)"
done
chmod -R go= "$incoming"
unlocked
refuse_wrong_volume
add_optional
try_configuration
existed=no
[ -d "$pgdata" ] && existed=yes
put_in_place
printf 'placed=%s\n' "$name"
# A server that is starting may have read the old files already, so it is told again when it answers.
if [ "$existed" = yes ]; then
    # by its process: whatever keeps sessions out does not keep this out
    if pid=$(server_pid); then kill -HUP "$pid"; fi
    if running; then "$here/apply.sh"; else printf 'applied=no\n'; fi
fi
