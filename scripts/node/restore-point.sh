#!/usr/bin/env bash
# Takes a restore point over all nodes and publishes it once it is proved restorable: every node has a backup older than
# it, and every WAL segment that may hold it is in the repository. Prints the point's name. Runs on the coordinator.
#
#   restore-point.sh [scheduled]   a scheduled one gives way (exit code 75) when another is being taken
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"
# shellcheck source-path=SCRIPTDIR source=points.sh
. "$here/points.sh"

archiving || die 78 "backups are off on this cluster"
read_backup_conf
umask 077
mkdir -p "$backup_home"
exec 8> "$backup_home/point.lock"
if [ "${1:-}" = scheduled ]; then flock -n 8 || exit 75; else flock -w 600 8; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
database=$(cat "$current/database")
# How long the archive may take, in seconds.
archive_within=${CITUS_ARCHIVE_WITHIN:-120}

# what it refuses is said by this script, once
sql() { PGOPTIONS="-c log_min_messages=fatal" "$pgbin/psql" -h "$socket" -U postgres -d "$database" -XAtq -F ' ' -v ON_ERROR_STOP=1 "$@"; }

# A scheduled point waits for the first backups without a word, but not for ever. Asked of the repository and not remembered.
WAITS_QUIETLY=900
require_backups() { # scheduled or nothing
    local code=0
    pgb --output=json info > "$work/info.json" 2> "$work/said" || die 77 "the list of backups can't be read: $(one_line < "$work/said")"
    sql -v info_file="$work/info.json" -v cluster="$cluster" -f "$here/point-backups.sql" > "$work/without" 2> "$work/said" || code=$?
    [ "$code" = 0 ] || die 74 "no restore point: $(one_line < "$work/said")"
    if [ ! -s "$work/without" ]; then
        rm -f "$backup_home/point.waits"
        return
    fi
    [ -e "$backup_home/point.waits" ] || touch "$backup_home/point.waits"
    if [ "$1" = scheduled ] && ! older_than "$backup_home/point.waits" "$WAITS_QUIETLY"; then exit 75; fi
    die 73 "no restore point: there is no backup yet of $(one_line < "$work/without"); it is made by itself soon, or now with: npm run backup"
}

# All names of the segments from the first to the last, which are on one timeline.
segments() { # first, last
    local timeline=${1:0:8} at last
    at=$((16#${1:8:8} * 256 + 16#${1:16:8}))
    last=$((16#${2:8:8} * 256 + 16#${2:16:8}))
    while [ "$at" -le "$last" ]; do
        printf '%s%08X%08X\n' "$timeline" $((at / 256)) $((at % 256))
        at=$((at + 1))
    done
}

# The repository is asked, not the server: only what lies there can be restored from.
archived() { # stanza, archive id, segment
    pgb repo-ls --filter="^$3-" "archive/$1/$2/${3:0:16}" 2> /dev/null | grep -q .
}

# After a restore in place a server is on a later timeline, whose history tells how to get there.
history_archived() { # stanza, archive id, timeline
    [ "$3" = 00000001 ] || pgb repo-ls --filter="^$3[.]history$" "archive/$1/$2" 2> /dev/null | grep -q .
}

wait_for_archive() { # node, stanza, archive id, first, last
    local segment end=$((SECONDS + archive_within))
    until history_archived "$2" "$3" "${5:0:8}"; do
        [ "$SECONDS" -lt "$end" ] || die 76 "$1: the history of timeline ${5:0:8} is not in the repository, so the point is not published"
        sleep 0.2
    done
    for segment in $(segments "$4" "$5"); do
        until archived "$2" "$3" "$segment"; do
            [ "$SECONDS" -lt "$end" ] || die 76 "$1: segment $segment is not in the repository after $archive_within s, so the point is not published; look at npm run status"
            sleep 0.2
        done
    done
}

# A list that is there already is not written again.
publish_list() { # file
    local path
    path=restore-points/$cluster/lists/$(hash_of "$1")
    pgb repo-ls --filter="^${path##*/}$" "${path%/*}" > "$work/there" 2> "$work/said" || unpublished
    [ -s "$work/there" ] || put_packed "$1" "$path" > "$work/said" 2>&1 || unpublished
}

unpublished() { die 77 "the restore point can't be published: $(one_line < "$work/said")"; }

# The point comes last and in one file, so a reader sees it whole or not at all. Only this script writes, one at a time.
publish() {
    publish_list "$work/nodes"
    publish_list "$work/tables"
    published=$(date -u +%F)/$name.$(hash_of "$work/nodes").$(hash_of "$work/tables")
    put_packed "$work/manifest" "restore-points/$cluster/$published" > "$work/said" 2>&1 || unpublished
}

# Who holds the lock that was waited for in vain is looked for at once, while it is likely to be still there.
refused() {
    local held=""
    if grep -q 'lock timeout' "$work/said"; then
        held=$(sql -f "$here/point-blockers.sql" 2> /dev/null | paste -sd ';' - | sed 's/;/; /g') || held=""
    fi
    die 74 "no restore point: $(one_line < "$work/said")${held:+ (held by $held)}"
}

require_backups "${1:-}"
name=${cluster}_$(date -u +%Y%m%dT%H%M%SZ)_$(od -An -N2 -tx1 /dev/urandom | tr -d ' \n')
sql -v name="$name" -v cluster="$cluster" -f "$here/point-create.sql" > "$work/point" 2> "$work/said" \
    || refused
# the last line is the point, the one before its tables, and each before that a node
while read -r node first last; do
    stanza_of=$cluster-$node
    archive_id=$(pgb repo-ls "archive/$stanza_of" | sed -n 's/^\([0-9]*-[0-9]*\)$/\1/p' | sort -t - -k 2 -n | tail -n 1)
    [ -n "$archive_id" ] || die 76 "$node: nothing of it is in the repository yet"
    wait_for_archive "$node" "$stanza_of" "$archive_id" "$first" "$last"
done < <(head -n -2 "$work/point")
tail -n 2 "$work/point" | sed 1q > "$work/tables"
tail -n 1 "$work/point" > "$work/point.json"
pgb --output=json info > "$work/info.json" 2> "$work/said" || die 77 "the list of backups can't be read: $(one_line < "$work/said")"
sql -v info_file="$work/info.json" -v point_file="$work/point.json" -f "$here/point-manifest.sql" > "$work/lines" 2> "$work/said" \
    || die 76 "the point is not published: $(one_line < "$work/said")"
sed -n 's/^nodes //p' "$work/lines" > "$work/nodes"
sed -n 's/^point //p' "$work/lines" > "$work/manifest"
publish
printf '%s\n' "$name" > "$backup_home/last-point.new"
mv "$backup_home/last-point.new" "$backup_home/last-point"
sed -n 's/^held //p' "$work/lines" > "$backup_home/not-held.new"
mv "$backup_home/not-held.new" "$backup_home/not-held"
rm -f "$backup_home/restore-point.error" "$backup_home/restore-point.failed"
# reading all lists of nodes is worth it once an hour
if older_than "$backup_home/pruned" 3600; then
    touch "$backup_home/pruned"
    # a process of its own: in a list such as this one the shell would go on after an error
    "$here/prune.sh" "$work/info.json" "$work/nodes" "$published" || say "what is too old was not removed"
fi
printf '%s\n' "$name"
