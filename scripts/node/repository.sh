#!/usr/bin/env bash
# What a repository holds, for whoever lists restore points or plans a restore. Changes nothing, and answers no more than
# what was asked for: the repository of a large cluster has thousands of points and millions of segments.
# Takes pgbackrest.conf and, for an encrypted repository, passphrase as a tar stream on standard input.
#
#   repository.sh points CLUSTER COUNT newest       the newest points, at most COUNT
#   repository.sh points CLUSTER COUNT before NAME  the newest that are older than that one
#   repository.sh points CLUSTER COUNT at TIME      the newest that are not younger than 20261122T101500Z
#   repository.sh point CLUSTER NAME                that one, with its tables
#   repository.sh timelines                         only the timelines of each stanza
#
# CLUSTER is - for the only one there is. With a last word "bare" there are no VERSIONS and no INFO. Prints lines:
#   VERSIONS POSTGRES CITUS    of this image
#   INFO JSON                  pgBackRest's own list
#   LISTED CLUSTER COUNT OLDEST NEWEST
#   LIST HASH JSON             nodes or tables of points
#   POINT NODES TABLES JSON    a point, with the hashes of its lists
#   SEGMENTS STANZA/ID RUN...  what lies there, between the backups and the ends of these points: FIRST-XX with the last two
#                              digits of the run's last segment, and XXXXXXXX.history
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"
# shellcheck source-path=SCRIPTDIR source=points.sh
. "$here/points.sh"

umask 077
# names and JSON are taken as bytes, which is several times as fast
export LC_ALL=C
current=$(mktemp -d)
trap 'rm -rf "$current"' EXIT
tar -xf - -C "$current" --no-same-owner
[ -s "$current/pgbackrest.conf" ] || die 6 "pgBackRest's configuration did not arrive whole"
add_passphrase "$current"
mkdir "$current/points" "$current/lists"

list() { pgb repo-ls "$1" 2> "$current/said" || die 10 "the repository can't be read: $(one_line < "$current/said")"; }

unreadable() { die 11 "$1 can't be read: $(one_line < "$current/said")"; }

list archive > "$current/stanzas"

cant_list() { die 10 "the repository can't be read: $(one_line < "$current/said")"; }

if [ "$1" = timelines ]; then
    sed 's|^|archive/|' "$current/stanzas" | list_folders "$current" 2> "$current/said" > "$current/ids" || cant_list
    sed -n '/^archive\/[^/]*\/[0-9]*-[0-9]*$/p' "$current/ids" | list_folders "$current" 2> "$current/said" > "$current/names" || cant_list
    awk -F / '{ names[$2 "/" $3] = names[$2 "/" $3] " " $4 } END { for (id in names) print "SEGMENTS " id names[id] }' "$current/names"
    exit
fi

wanted=$2
list restore-points > "$current/clusters"
: > "$current/listed"
while IFS= read -r cluster; do
    list_points "$cluster" "$current/said" > "$current/all.$cluster" || unreadable "the list of restore points of $cluster"
    [ -s "$current/all.$cluster" ] || continue
    awk -v cluster="$cluster" 'NR == 1 { oldest = $1 } END { print "LISTED", cluster, NR, oldest, $1 }' "$current/all.$cluster"
    printf '%s\n' "$cluster" >> "$current/listed"
done < "$current/clusters"
if [ "$wanted" = - ] && [ "$(wc -l < "$current/listed")" = 1 ]; then wanted=$(cat "$current/listed"); fi

# newest first
: > "$current/chosen"
if [ -s "$current/all.$wanted" ]; then
    case $1/${4:-} in
        point/ | point/bare) awk -v name="$3" '$1 == name' "$current/all.$wanted" ;;
        points/newest) sort -r "$current/all.$wanted" ;;
        points/before) sort -r "$current/all.$wanted" | awk -v name="$5" '$1 < name' ;;
        points/at) sort -r "$current/all.$wanted" | awk -v at="$5" '{ n = split($1, part, "_") } part[n - 1] <= at' ;;
        *) die 64 "repository.sh points CLUSTER COUNT newest|before|at ... | point CLUSTER NAME | timelines" ;;
    esac > "$current/fitting"
    if [ "$1" = points ]; then sed "${3}q" "$current/fitting"; else cat "$current/fitting"; fi > "$current/chosen"
fi

if [ "${!#}" != bare ]; then
    # of another passphrase: an encrypted file does not read as a list. INFO says it of each stanza
    stanza=$(sed -n "/^${wanted//-/[-]}-/p" "$current/stanzas" | sed 1q)
    [ -n "$stanza" ] || stanza=$(sed 1q "$current/stanzas")
    if [ -n "$stanza" ]; then
        pgb --stanza="$stanza" repo-get "archive/$stanza/archive.info" > "$current/archive.info" 2> /dev/null || true
        grep -q '^\[backrest\]$' "$current/archive.info" || die 11 "$stanza can't be read with this passphrase"
    fi
    printf 'VERSIONS %s %s\n' "$("$pgbin/postgres" --version | sed 's/^[^0-9]*\([0-9.]*\).*/\1/')" \
        "$(sed -n "s/^default_version = '\([^']*\)'.*/\1/p" "$("$pgbin/pg_config" --sharedir)/extension/citus.control")"
    pgb --output=json info > "$current/info" 2> "$current/said" || unreadable "the list of backups"
    # without what nobody asks for
    printf 'INFO '
    tr -d '\n' < "$current/info" | sed -E -e 's/"archive":\[[^]]*\],//g' -e 's/"backrest":\{[^}]*\},//g' -e 's/"lsn":\{[^}]*\},//g' \
        -e 's/"prior":("[^"]*"|null),//g' -e 's/,?"(delta|size)-map":[0-9]+//g'
    printf '\n'
fi
[ -s "$current/chosen" ] || exit 0

points=restore-points/$wanted
awk -v folder="$points" '{ print folder "/" $4 "/" $1 "." $2 "." $3 }' "$current/chosen" | get_packed "$current/points" 2> "$current/said" \
    || unreadable "the restore points of $wanted"
if [ "$1" = point ]; then awk '{ print $3 }' "$current/chosen" > "$current/tables"; else : > "$current/tables"; fi
awk '{ print $2 }' "$current/chosen" | sort -u - "$current/tables" | sed "s|^|$points/lists/|" | get_packed "$current/lists" 2> "$current/said" \
    || unreadable "the lists of restore points of $wanted"
for file in "$current"/lists/*; do printf 'LIST %s %s\n' "${file##*/}" "$(sed 1q "$file")"; done
while read -r name nodes tables day; do
    file=$current/points/$name.$nodes.$tables
    printf 'POINT %s %s %s\n' "$nodes" "$tables" "$(sed 1q "$file")"
    # a line a node: STANZA/ID FIRST LAST TIMELINE...
    awk 'FILENAME == ARGV[1] { if (FNR > 1) last[$1] = $2; next } FNR > 1 { line = $2 "/" $3 " " $5 " " last[$1]; for (i = 6; i <= NF; i++) line = line " " $i; print line }' \
        "$file" "$current/lists/$nodes"
done < "$current/chosen" > "$current/lines"
sed -n '/^POINT /p' "$current/lines"
sed '/^POINT /d' "$current/lines" | sort -u | segment_folders | sort -u > "$current/folders"
list_folders "$current" < "$current/folders" > "$current/names" 2> "$current/said" || cant_list
segment_runs < "$current/names" | sed 's/^/SEGMENTS /'
