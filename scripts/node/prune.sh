#!/usr/bin/env bash
# Removes from the repository the restore points that can't be restored any more, a day of them at a time, the lists that no
# point refers to, and the backups of workers that left and that no point needs. Everything is read first; then it is decided;
# then removed. An answer that was not had, or one that is not whole, ends it before anything is removed. Runs on the
# coordinator, while no point is taken.
#
#   prune.sh INFO NODES NEWEST   what pgBackRest says of its backups and the newest point's list of nodes (both files), and
#                                the newest point as DAY/NAME.NODES.TABLES
#
# Exit code: 77 the repository could not be read whole, and nothing was removed.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"
# shellcheck source-path=SCRIPTDIR source=points.sh
. "$here/points.sh"

info=$1
manifest=$2
newest=$3
read_backup_conf
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/lists"
database=$(cat "$current/database")
points=restore-points/$cluster

unread() { die 77 "$1 can't be read, so nothing is removed: $(one_line < "$work/said")"; }

# read
list_points "$cluster" "$work/said" > "$work/points" || unread "the list of restore points"
# the newest point was published a moment ago: a listing without it is not whole
awk -v newest="$newest" '$4 "/" $1 "." $2 "." $3 == newest { found = 1 } END { exit !found }' "$work/points" \
    || die 77 "the list of restore points lacks the newest one, so nothing is removed"
pgb repo-ls "$points/lists" > "$work/there" 2> "$work/said" || unread "the folder of lists"
pgb repo-ls backup > "$work/stanzas" 2> "$work/said" || unread "the list of backups"
awk -v folder="$points/lists/" '{ print folder $2 }' "$work/points" | sort -u > "$work/wanted"
get_packed "$work/lists" < "$work/wanted" 2> "$work/said" || unread "a list of points' nodes"
while IFS= read -r list; do
    list=${list##*/}
    # a line a node after the first, each with its stanza and its backup
    awk 'NR > 1 && NF >= 6 { good++ } END { exit !(good > 0 && good == NR - 1) }' "$work/lists/$list" \
        || die 77 "the list $list of a point's nodes is not whole, so nothing is removed"
done < "$work/wanted"
PGOPTIONS="-c log_min_messages=fatal" "$pgbin/psql" -h "$socket" -U postgres -d "$database" -XAtq -v ON_ERROR_STOP=1 \
    -v info_file="$info" -f "$here/backup-labels.sql" > "$work/labels" 2> "$work/said" || unread "the list of backups"
[ -s "$work/labels" ] || die 77 "there is no backup although a point was just published, so nothing is removed"
# pgBackRest names no backup of a stanza whose list it can't read: one that points rest on is gone only when its folder is
cat "$work/lists"/* | awk 'NF >= 6 { print $2 " " $4 }' | sort -u | comm -23 - <(sort -u "$work/labels") > "$work/lost"
awk '{ print "backup/" $1 }' "$work/lost" | sort -u > "$work/doubted"
list_folders "$work" < "$work/doubted" > "$work/folders.there" 2> "$work/said" || unread "a folder of backups"
doubtful=$(awk 'FILENAME == ARGV[1] { there[$1] = 1; next } ("backup/" $1 "/" $2) in there { print $2 " of " $1; exit }' "$work/folders.there" "$work/lost")
[ -z "$doubtful" ] || die 77 "pgBackRest does not name the backup $doubtful, and its files are there, so nothing is removed"

# decide: a point is of use while all its backups are there
: > "$work/useful"
for list in "$work"/lists/*; do
    if awk 'FILENAME == ARGV[1] { there[$0] = 1; next } FNR > 1 && !($2 " " $4 in there) { lost = 1 } END { exit lost }' "$work/labels" "$list"; then
        echo "${list##*/}" >> "$work/useful"
    fi
done
awk -v newest="${newest%%/*}" 'FILENAME == ARGV[1] { useful[$1] = 1; next } { days[$4] = 1; if ($2 in useful) keep[$4] = 1 }
    END { for (day in days) if (!(day in keep) && day != newest) print day }' "$work/useful" "$work/points" | sort > "$work/old"
# needed by what stays of use, named by any point: a worker that is just joining is in no point yet
named() { while IFS= read -r list; do sed 1d "$work/lists/$list"; done | awk '{ print $2 }'; }
{ named < "$work/useful"; sed 1d "$manifest" | awk '{ print $2 }'; } | sort -u > "$work/needed"
find "$work/lists" -type f -printf '%f\n' | named | sort -u > "$work/named"
sed -n "/^$cluster-worker-[0-9]*$/p" "$work/stanzas" | sort -u | comm -12 - "$work/named" | comm -23 - "$work/needed" > "$work/left"
awk 'FILENAME == ARGV[1] { old[$1] = 1; next } !($4 in old) { print $2; print $3 }' "$work/old" "$work/points" | sort -u > "$work/referred"
IFS=. read -r _ nodes tables <<< "$newest"
if ! grep -qx "$nodes" "$work/referred" || ! grep -qx "$tables" "$work/referred"; then
    die 77 "the lists that points refer to lack those of the newest one, so nothing is removed"
fi
sed -n '/^[0-9a-f]\{16\}$/p' "$work/there" | sort -u | comm -23 - "$work/referred" > "$work/unused"

# do: what names a stanza goes after it, so that a run that is cut short is made up for by the next
while IFS= read -r stanza; do
    say "no restore point needs the backups of $stanza any more, which has left the cluster; they are removed"
    pgb repo-rm --recurse "backup/$stanza"
    pgb repo-rm --recurse "archive/$stanza"
done < "$work/left"
while IFS= read -r day; do pgb repo-rm --recurse "$points/$day"; done < "$work/old"
while IFS= read -r list; do pgb repo-rm "$points/lists/$list"; done < "$work/unused"
