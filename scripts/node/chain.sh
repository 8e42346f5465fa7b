#!/usr/bin/env bash
# Looks whether all WAL lies in the repository that this node's newest backup and the newest restore point need. What is
# missing is left as a mark: status names it, no point that needs it is published, and backup.sh makes a new backup at once,
# for the WAL since then is whole again.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"
# shellcheck source-path=SCRIPTDIR source=points.sh
. "$here/points.sh"

archiving || exit 0
read_backup_conf
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

point="" label="" last=""
ask() { # sql file, psql options
    local file=$1
    shift
    "$pgbin/psql" -h "$socket" -U postgres -d postgres -XAtq -v ON_ERROR_STOP=1 -v info_file="$work/info.json" -v stanza="$stanza" \
        -v point="$point" -v label="$label" -v last="$last" "$@" -f "$here/$file"
}

# The backup of this node that the newest point rests on, and its last segment.
read_newest_point() {
    local name nodes tables day group=""
    newest_point "$cluster" > "$work/newest"
    [ -s "$work/newest" ] || return 0
    read -r name nodes tables day < "$work/newest"
    get_packed "$work" <<< "restore-points/$cluster/$day/$name.$nodes.$tables"
    get_packed "$work" <<< "restore-points/$cluster/lists/$nodes"
    awk -v stanza="$stanza" 'NR > 1 && $2 == stanza { print $1, $4 }' "$work/$nodes" > "$work/own"
    # a node that has just joined is in no point yet
    [ -s "$work/own" ] || return 0
    read -r group label < "$work/own"
    last=$(awk -v group="$group" 'NR > 1 && $1 == group { print $2 }' "$work/$name.$nodes.$tables")
    point=$name
}

pgb --stanza="$stanza" --output=json info > "$work/info.json"
read_newest_point
ask chain.sql > "$work/range"
: > "$work/hole"
if [ -s "$work/range" ]; then
    segment_folders < "$work/range" | list_folders "$work" > "$work/files"
    sed -n 's|^.*/\([0-9A-F]\{24\}\)-.*$|\1|p' "$work/files" | sort -u > "$work/segments"
    ask holes.sql < "$work/segments" > "$work/hole"
fi
if [ -s "$work/hole" ]; then
    cmp -s "$work/hole" "$backup_home/hole" || say "WAL is missing in the repository: $(cat "$work/hole")"
    cp "$work/hole" "$backup_home/hole.new"
    mv "$backup_home/hole.new" "$backup_home/hole"
else
    rm -f "$backup_home/hole"
fi
