#!/usr/bin/env bash
# How restore points lie in the repository. Sourced after lib.sh.
#
#   restore-points/CLUSTER/DAY/NAME.NODES.TABLES   a point: what is of this moment. Its name begins with the cluster's and
#                                                  has its second in it, so names sort by time
#   restore-points/CLUSTER/lists/HASH              what changes seldom, once for all points that have the same: NODES the
#                                                  nodes with their backups, TABLES the tables
#
# Each file is JSON that was packed by gzip. A hash is the first 16 digits of the JSON's sha256. A listing of the names is
# all that it takes to know which points there are and which lists they need.

set -euo pipefail

# Folders or files at a time where each takes a round trip.
AT_ONCE=8

hash_of() { sha256sum "$1" | cut -c1-16; }

# A line a point, the oldest first: NAME NODES TABLES DAY.
list_points() { # cluster, file for what went wrong
    pgb repo-ls --recurse "restore-points/$1" 2> "$2" \
        | sed -n 's|^\([0-9-]*\)/\([^/.]*\)[.]\([0-9a-f]*\)[.]\([0-9a-f]*\)$|\2 \3 \4 \1|p' | sort
}

# The newest point as such a line; nothing when there is none. What can't be read is an error.
newest_point() { # cluster
    local day
    day=$(pgb repo-ls "restore-points/$1" | sed -n '/^[0-9-]*$/p' | sort | tail -n 1)
    [ -n "$day" ] || return 0
    pgb repo-ls "restore-points/$1/$day" | sed -n "s|^\([^/.]*\)[.]\([0-9a-f]*\)[.]\([0-9a-f]*\)\$|\1 \2 \3 $day|p" | sort | tail -n 1
}

put_packed() { gzip -9n < "$1" | pgb repo-put "$2"; } # file, path in the repository

# Files of the repository into a folder, unpacked, under their own names. Paths on standard input.
get_packed() { # folder
    export -f pgb
    export current
    # shellcheck disable=SC2016  # expanded by the shell that it starts
    xargs -r -P "$AT_ONCE" -n 1 bash -c 'set -euo pipefail; pgb repo-get "$2" | gunzip > "$1/${2##*/}"' _ "$1"
}

# What lies in folders of the repository, each name with its folder before it. Folders on standard input; one that is not
# there is empty. A volume is read directly: a process for each folder of a large cluster takes longer than all the rest.
list_folders() { # a folder to work in
    local path listed
    path=$(sed -n 's/^repo1-path=//p' "$current/pgbackrest.conf")
    if grep -q '^repo1-type=posix$' "$current/pgbackrest.conf"; then
        (
            cd "$path" || exit
            while IFS= read -r folder; do if [ -d "$folder" ]; then printf '%s\n' "$folder"; fi; done | sort -u \
                | xargs -r sh -c 'exec find "$@" -mindepth 1 -maxdepth 1 -printf "%h/%f\n"' _
        )
    else
        export -f pgb
        export current
        # a caller that tests the answer switches errexit off, so each failure is handed on
        listed=$(mktemp -d "$1/listed.XXXXXX") || return
        # each into a file of its own: what several write into one pipe may mix
        # shellcheck disable=SC2016
        sort -u | xargs -r -P "$AT_ONCE" -n 1 bash -c 'set -euo pipefail; pgb repo-ls "$2" | sed "s|^|$2/|" > "$1/${2//\//_}"' _ "$listed" || return
        find "$listed" -type f -exec cat {} +
        rm -r "$listed"
    fi
}

# The folders with the segments of stanzas, by lines on standard input: STANZA/ID FIRST LAST TIMELINE... with 24 digits of
# the first and the last segment, and numbers of the timelines that may have some between them.
segment_folders() {
    awk '
        function number(hex,  n, i) {
            n = 0
            for (i = 1; i <= length(hex); i++) n = n * 16 + index("0123456789ABCDEF", substr(hex, i, 1)) - 1
            return n
        }
        {
            last = number(substr($3, 9, 8))
            for (log_number = number(substr($2, 9, 8)); log_number <= last; log_number++)
                for (i = 4; i <= NF; i++) printf "archive/%s/%08X%08X\n", $1, $i, log_number
            # histories lie beside the folders, from the second timeline on
            if (NF > 4 || $4 != 1) printf "archive/%s\n", $1
        }'
}

# Names of segments and histories, from the lines of list_folders: a line a stanza, STANZA/ID and then what there is:
# runs of segments as FIRST-XX, the last two digits of the last one; histories by their names.
segment_runs() {
    LC_ALL=C awk -F / '
        function end() { if (first != "") printf " %s-%s", first, last; first = "" }
        BEGIN { for (i = 0; i < 256; i++) digits[i] = sprintf("%02X", i) }
        NF == 5 && length($4) == 16 && length($5) > 24 && substr($5, 25, 1) == "-" && substr($5, 1, 16) == $4 {
            there[$2 "/" $3 "/" $4 "/" substr($5, 23, 2)]
            folders[$2 "/" $3 "/" $4]
        }
        NF == 4 && $4 ~ /^[0-9A-F]+[.]history$/ { histories[$2 "/" $3] = histories[$2 "/" $3] " " $4 }
        END {
            for (stanza in histories) printf "%s%s\n", stanza, histories[stanza]
            for (folder in folders) {
                split(folder, part, "/")
                printf "%s/%s", part[1], part[2]
                for (i = 0; i < 256; i++) {
                    if (!((folder "/" digits[i]) in there)) end()
                    else {
                        last = digits[i]
                        if (first == "") first = part[3] "000000" last
                    }
                }
                end()
                print ""
            }
        }' | LC_ALL=C sort | awk '
        $1 != stanza { if (stanza != "") print ""; stanza = $1; printf "%s", stanza }
        { for (i = 2; i <= NF; i++) printf " %s", $i }
        END { if (stanza != "") print "" }'
}
