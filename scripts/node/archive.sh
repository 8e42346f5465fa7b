#!/usr/bin/env bash
# This node's stanza in the repository, and the proof that its WAL arrives there.
#
#   archive.sh stanza   makes the stanza, or takes a new database into it; safe to repeat, with or without a server
#   archive.sh check    sends a segment all the way; leaves the mark that health.sh asks for
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

archiving || exit 0
read_backup_conf
umask 077
mkdir -p "$backup_home"

# One mark a stanza and database: a node that is given another repository is checked again.
mark() { printf '%s %s\n' "$stanza" "$(cat "$home/system-identifier" 2> /dev/null || true)"; }

fail() {
    printf '%s\n' "$1" > "$backup_home/archive.error.new"
    mv "$backup_home/archive.error.new" "$backup_home/archive.error"
    die 1 "$1"
}

make_stanza() {
    local said code=0
    said=$(pgb --stanza="$stanza" --no-online stanza-create 2>&1) || code=$?
    # 28: the stanza is another database's, such as a cluster's that was here before; its backups stay
    if [ "$code" = 28 ]; then
        code=0
        said=$(pgb --stanza="$stanza" --no-online stanza-upgrade 2>&1) || code=$?
    fi
    # 50: its lock is taken, so somebody is at work on it
    [ "$code" = 0 ] || [ "$code" = 50 ] || fail "$(printf '%s\n' "$said" | one_line)"
}

case $1 in
    stanza) make_stanza ;;
    check)
        exec 7> "$backup_home/check.lock"
        flock 7
        [ "$(cat "$backup_home/checked" 2> /dev/null || true)" = "$(mark)" ] && exit 0
        # made before the server started, as a rule; while WAL is being sent its lock is taken
        if ! pgb --stanza="$stanza" check > /dev/null 2>&1; then
            make_stanza
            said=$(pgb --stanza="$stanza" check 2>&1) || fail "$(printf '%s\n' "$said" | one_line)"
        fi
        rm -f "$backup_home/archive.error"
        mark > "$backup_home/checked"
        ;;
    checked) [ "$(cat "$backup_home/checked" 2> /dev/null || true)" = "$(mark)" ] ;;
    *) die 2 "archive.sh stanza|check|checked" ;;
esac
