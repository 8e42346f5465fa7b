#!/usr/bin/env bash
# What a server that does not answer yet is doing, as key=value lines: why its configuration was refused, which server it is
# (another one after each start), what it works at, and how much it has read and written for that. Changes nothing.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

if [ -s "$home/conf/refused" ]; then printf 'refused=%s\n' "$(head -c 1000 "$home/conf/refused" | paste -sd ' ' -)"; fi
if [ -f "$pgdata/postmaster.pid" ]; then printf 'server=%s\n' "$(sed -n '1p;3p' "$pgdata/postmaster.pid" | paste -sd - -)"; fi
if [ -d "$pgdata/global" ]; then
    printf 'state=%s\n' "$("$pgbin/pg_controldata" -D "$pgdata" 2> /dev/null | sed -n 's/^Database cluster state: *//p')"
fi
# the processes of a start and of an end: replaying WAL, writing what memory holds
work=0
for dir in /proc/[0-9]*; do
    title=$(tr '\0' ' ' < "$dir/cmdline" 2> /dev/null) || continue
    case $title in
        *postgres:*startup*) printf 'at=%s\n' "$(printf '%s' "$title" | sed 's/^.*postgres: *//; s/ *$//')" ;;
        *postgres:*checkpointer*) ;;
        *) continue ;;
    esac
    bytes=$(sed -n 's/^\(rchar\|wchar\): //p' "$dir/io" 2> /dev/null | paste -sd + -)
    work=$((work + ${bytes:-0}))
done
printf 'work=%s\n' "$work"
