#!/usr/bin/env bash
# Runs a node script for whoever may send this machine commands (SSM RunCommand). The command's text holds no secret: files
# that are secret are fetched by the machine itself, from the version of its secret that the command names. Runs as root.
#
#   remote.sh put ID                          base64 on standard input: more of what the script is given on its own
#   remote.sh run ID GROUP SCRIPT ARG...      runs it as postgres, or !SCRIPT of aws/ as root; GROUP is - or NAME:VERSION,
#                                             whose files are added to the tar that the script is given
#   remote.sh get ID out|err OFFSET           the next 16384 bytes of what it said, in base64
#   remote.sh end ID                          forgets it
#
# run answers with "CODE code OUT bytes ERR bytes", then STDOUT and STDERR with the first 8192 bytes of each in base64. A
# longer output is packed by gzip first, which " GZIP" behind its bytes says: each page is a command of its own.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=aws.sh
. "$here/aws.sh"

# on tmpfs
spool=${CITUS_REMOTE:-/run/citus-remote}
# SSM cuts an answer at 24,000 characters: two pages fit into one, or a large one
PAGE=8192
LARGE_PAGE=16384

usage() { die 64 "remote.sh put ID | run ID GROUP SCRIPT ARG... | get ID out|err OFFSET | end ID"; }

page() { # file, offset, bytes
    dd if="$1" iflag=skip_bytes,count_bytes skip="$2" count="$3" status=none | base64 -w 0
    printf '\n'
}

# Packs a file that is longer than a page; says how long it is then.
packed() { # file
    if [ "$(stat -c %s "$1")" -le "$PAGE" ]; then
        stat -c %s "$1"
    else
        gzip -9n "$1"
        mv "$1.gz" "$1"
        printf '%s GZIP\n' "$(stat -c %s "$1")"
    fi
}

# What a run that was killed could not remove.
clear_leftovers() {
    local left
    for left in "$spool"/*/secret.*; do
        if [ -d "$left" ] && [ ! -d "/proc/${left##*.}" ]; then rm -rf "$left"; fi
    done
    find "$spool" -mindepth 1 -maxdepth 1 -mtime +7 -exec rm -rf {} +
}

# A version is readable only some moments after it was written.
fetch_secret() { # version, file
    local tries answer=""
    credentials
    for tries in 1 2 3 4 5; do
        # shellcheck disable=SC2153  # of the machine's facts
        if aws_json secretsmanager "$secrets_url" secretsmanager.GetSecretValue \
            "{\"SecretId\":\"$SECRET\",\"VersionId\":\"$1\"}" > "$2" 2> /dev/null; then
            return
        fi
        # of an answer that is refused; one that is not holds the secret and is never shown
        answer=$(jq -r '[."__type", (.message // .Message)] | map(select(. != null)) | join(": ")' "$2" 2> /dev/null || true)
        [ "$tries" = 5 ] || sleep 1
    done
    die 69 "version $1 of $SECRET can't be read: ${answer:-no answer}"
}

# The tar that was put, if any, and the group's files in one.
with_secret() { # group, version
    local name
    mkdir "$secret/files"
    if [ -e "$dir/in" ]; then tar -xf "$dir/in" -C "$secret/files" --no-same-owner; fi
    fetch_secret "$2" "$secret/answer"
    jq -j .SecretString "$secret/answer" > "$secret/groups"
    jq -r --arg group "$1" '.[$group] // {} | keys[]' "$secret/groups" > "$secret/names"
    while IFS= read -r name; do
        [[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || die 65 "$SECRET has a file that can't be named so"
        jq -j --arg group "$1" --arg name "$name" '.[$group][$name]' "$secret/groups" > "$secret/files/$name"
    done < "$secret/names"
    find "$secret/files" -type f -printf '%P\0' | sort -z | tar -cf - -C "$secret/files" --null --no-recursion -T -
}

given() { # group
    if [ "$1" != - ]; then
        with_secret "${1%%:*}" "${1#*:}"
    elif [ -e "$dir/in" ]; then
        cat "$dir/in"
    fi
}

execute() { # script, arguments
    local script=$1
    shift
    if [ "${script:0:1}" = ! ]; then
        "$here/${script:1}" "$@"
    else
        cd "$home"
        runuser -u postgres -- env -i PATH="$PATH" HOME="$home" PGHOST="$home/run" PGUSER=postgres LANG=C.UTF-8 \
            "$scripts/$script" "$@"
    fi
}

# What secrets are in is a folder of root's, on tmpfs, that is gone before the script starts.
run() { # group, script, arguments
    local group=$1 script=$2 code out err secret=$dir/secret.$$
    shift 2
    [[ $group =~ ^(-|(configuration|restore|own):[A-Za-z0-9-]{1,64})$ ]] || usage
    [[ $script =~ ^([a-z][a-z-]*|!(service|bundle|disk|metrics|packages))\.sh$ ]] || die 64 "$script is no node script"
    clear_leftovers
    mkdir -p "$secret"
    # shellcheck disable=SC2064  # the name is this run's own
    trap "rm -rf '$secret'" EXIT
    : > "$dir/out"
    # whole before the script starts: it must not run on half of what it is given
    set +e
    (set -e; given "$group" > "$secret/given") 2> "$dir/err"
    code=$?
    set -e
    if [ "$code" = 0 ]; then exec 7< "$secret/given"; fi
    rm -rf "$secret"
    if [ "$code" = 0 ]; then
        set +e
        (set -e; execute "$script" "$@" <&7 7<&-) > "$dir/out" 2> "$dir/err"
        code=$?
        set -e
        exec 7<&-
    fi
    out=$(packed "$dir/out")
    err=$(packed "$dir/err")
    printf 'CODE %s OUT %s ERR %s\nSTDOUT\n' "$code" "$out" "$err"
    page "$dir/out" 0 "$PAGE"
    printf 'STDERR\n'
    page "$dir/err" 0 "$PAGE"
    rm -f "$dir/in"
    if [ "${out% GZIP}" -le "$PAGE" ] && [ "${err% GZIP}" -le "$PAGE" ]; then rm -rf "$dir"; fi
}

action=${1:-}
id=${2:-}
[[ $id =~ ^[A-Za-z0-9][A-Za-z0-9-]{0,63}$ ]] || usage
dir=$spool/$id
shift 2
umask 077
mkdir -p "$spool"
case $action in
    put)
        mkdir -p "$dir"
        base64 -d >> "$dir/in"
        ;;
    run)
        [ $# -ge 2 ] || usage
        mkdir -p "$dir"
        run "$@"
        ;;
    get)
        [[ ${1:-} =~ ^(out|err)$ && ${2:-} =~ ^[0-9]{1,12}$ ]] || usage
        [ -f "$dir/$1" ] || die 66 "nothing is known of $id"
        page "$dir/$1" "$2" "$LARGE_PAGE"
        ;;
    end) rm -rf "$dir" ;;
    *) usage ;;
esac
