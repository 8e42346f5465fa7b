#!/usr/bin/env bash
# Tries a configuration for real before it is put in place: a scratch server is started with it, as the server's own user,
# on a socket of its own, and a session is opened. Nothing of the node's own data is touched.
#
#   trial.sh FOLDER   FOLDER has postgresql.conf, `owned` (names of settings that can be the cause, a line each, the likeliest
#                     first) and, where they are known, ca.crt, node.crt and node.key
#
# Prints a line for each setting that is refused: its name or -, tab, why. What could not be tried is said on standard error.
# Exit code 5 when something is refused.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

folder=$1
scratch=$home/trial
data=$scratch/data
conf=$scratch/postgresql.conf
# More mistakes than this in one edit are told in two runs.
MOST=12

umask 077
mkdir -p "$scratch"
exec 8> "$scratch/lock"
flock -w 120 8 || { say "another trial is running"; exit 0; }
# the kernel takes a trial before it takes the server
echo 1000 > /proc/self/oom_score_adj 2> /dev/null || true
trap 'stop_trial' EXIT

stop_trial() {
    [ ! -f "$data/postmaster.pid" ] || "$pgbin/pg_ctl" stop -D "$data" -m immediate -s > /dev/null 2>&1 8>&- || true
}

make_scratch() {
    local version
    version=$("$pgbin/postgres" --version)
    if [ "${1:-}" != anew ] && [ "$(cat "$scratch/version" 2> /dev/null || true)" = "$version" ]; then return; fi
    rm -rf "$data" "$scratch/version"
    "$pgbin/initdb" --pgdata="$data" --username=postgres --no-sync --no-instructions --encoding=UTF8 --locale=C.UTF-8 \
        --locale-provider=builtin --builtin-locale=C.UTF-8 --auth-local=peer --auth-host=reject > "$scratch/initdb.log" 2>&1 8>&- || return 1
    printf '%s\n' "$version" > "$scratch/version"
}

# What a trial must not share with the node's own server. Archiving would send the scratch data to the repository.
options() {
    local certificates=$folder
    [ -f "$folder/node.key" ] || certificates=$current
    given=(-c listen_addresses= -c "unix_socket_directories=$scratch/run" -c "hba_file=$data/pg_hba.conf" -c "ident_file=$data/pg_ident.conf"
        -c archive_mode=off -c "external_pid_file=$scratch/external.pid" -c fsync=off -c restart_after_crash=off -c summarize_wal=off)
    if [ -f "$certificates/node.key" ]; then
        given+=(-c "ssl_cert_file=$certificates/node.crt" -c "ssl_key_file=$certificates/node.key" -c "ssl_ca_file=$certificates/ca.crt")
    else
        given+=(-c ssl=off)
    fi
}

# MB that the node may use, by its container or by its machine.
memory_limit() {
    local bytes total
    total=$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)
    bytes=$(cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2> /dev/null | head -n 1)
    if [[ $bytes =~ ^[0-9]+$ ]] && [ "$((bytes / 1024))" -lt "$total" ]; then total=$((bytes / 1024)); fi
    printf '%s\n' "$((total / 1024))"
}

# MB that are free for a moment: what the container has left with the cache of files, which gives way.
memory_free() {
    local machine limit used cache
    machine=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)
    # control groups of version 2, else of version 1
    if limit=$(cat /sys/fs/cgroup/memory.max 2> /dev/null); then
        used=$(cat /sys/fs/cgroup/memory.current)
        cache=$(sed -n 's/^inactive_file //p' /sys/fs/cgroup/memory.stat)
    elif limit=$(cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2> /dev/null); then
        used=$(cat /sys/fs/cgroup/memory/memory.usage_in_bytes)
        cache=$(sed -n 's/^total_inactive_file //p' /sys/fs/cgroup/memory/memory.stat)
    fi
    # without a limit version 1 names more than any machine has
    if [[ $limit =~ ^[0-9]+$ ]] && [ "$((limit / 1024))" -lt "$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)" ]; then
        limit=$(((limit - used + cache) / 1024))
        if [ "$limit" -lt "$machine" ]; then machine=$limit; fi
    fi
    printf '%s\n' "$((machine / 1024))"
}

# Huge pages that the node's own server has are free when it restarts.
huge_pages_of_server() {
    running || return 0
    [ "$(query postgres 'SHOW huge_pages_status')" = on ] || return 0
    query postgres 'SHOW shared_memory_size_in_huge_pages'
}

# The file named in $said has what speaks against it. Fails when there is something.
try() {
    local shared pages more=()
    : > "$said"
    shared=$(probe "$data" "$conf" "$said" "${given[@]}") || return 1
    if [ "$((shared * 10))" -gt "$(($(memory_limit) * 9))" ]; then
        printf 'the server would take %s MB of shared memory, and the node has %s MB in all\n' "$shared" "$(memory_limit)" > "$said"
        return 1
    fi
    if [ "$(memory_free)" -lt "$((shared / 20 + 96))" ]; then
        say "no server was started for a trial: only $(memory_free) MB are free"
        return 0
    fi
    pages=$(huge_pages_of_server)
    [ -z "$pages" ] || more=(-c huge_pages=try)
    start_trial "${more[@]}" || return 1
}

start_trial() { # more options
    local all code=0
    install -d -m 0700 "$scratch/run"
    : > "$scratch/log"
    printf -v all '%q ' "${given[@]}" -c lc_messages=C -c log_destination=stderr -c log_min_messages=warning "$@"
    "$pgbin/pg_ctl" start -D "$data" -w -s -t 60 -l "$scratch/log" -o "-c config_file=$conf $all" > /dev/null 2>&1 8>&- || code=$?
    if [ "$code" = 0 ]; then
        # as anybody's session, with the libraries that those load
        env -u PGOPTIONS "$pgbin/psql" -h "$scratch/run" -U postgres -d postgres -XAtq -c 'SELECT 1' > /dev/null 2>> "$scratch/log" || code=$?
    fi
    stop_trial
    read_complaints < "$scratch/log" > "$said"
    if [ "$code" = 0 ]; then : > "$said"; fi
    if [ "$code" != 0 ] && [ ! -s "$said" ]; then tail -n 1 "$scratch/log" > "$said"; fi
    [ ! -s "$said" ]
}

# What ALTER SYSTEM left on this node is read at its next start too, but for what the stack puts right.
take_leftovers() {
    : > "$data/postgresql.auto.conf"
    [ -f "$pgdata/postgresql.auto.conf" ] || return 0
    cp "$pgdata/postgresql.auto.conf" "$data/postgresql.auto.conf"
    local name
    while IFS= read -r name; do without "$name" "$data/postgresql.auto.conf"; done < "$folder/owned"
}

# A setting falls back to PostgreSQL's own default.
without() { # name, file
    local name=${1//./[.]}
    sed -i "/^$name = /d" "$2"
}

# The setting that a complaint names.
named_in() { # complaint
    local name
    while IFS= read -r name; do
        grep -q "^${name//./[.]} = " "$conf" || continue
        if [[ " ${1//[^a-zA-Z0-9_.]/ } " == *" $name "* ]]; then printf '%s\n' "$name"; return; fi
    done < "$folder/owned"
    return 1
}

same_as_before() { cmp -s <(tr -d 0-9 < "$said") <(tr -d 0-9 < "$scratch/all"); }

# The setting without which the complaint is not made: one that somebody chose, or the libraries.
blame() {
    local name kept=$scratch/kept.conf found=-
    cp "$conf" "$kept"
    while IFS= read -r name; do
        if grep -q "^${name//./[.]} = " "$kept"; then
            cp "$kept" "$conf"
            without "$name" "$conf"
            if try || ! same_as_before; then found=$name; fi
        fi
        if [ "$found" != - ] || [ "$name" = shared_preload_libraries ]; then break; fi
    done < "$folder/owned"
    cp "$kept" "$conf"
    printf '%s\n' "$found"
}

# Whether it is made only because of what ALTER SYSTEM left.
by_alter_system() {
    grep -q ' = ' "$data/postgresql.auto.conf" || return 1
    mv "$data/postgresql.auto.conf" "$scratch/auto.conf"
    : > "$data/postgresql.auto.conf"
    local fits=no
    if try || ! same_as_before; then fits=yes; fi
    mv "$scratch/auto.conf" "$data/postgresql.auto.conf"
    [ "$fits" = yes ]
}

said=$scratch/said
stop_trial
make_scratch || { say "no trial: $(tail -n 1 "$scratch/initdb.log")"; exit 0; }
touch "$folder/owned"
options
take_leftovers
cp "$folder/postgresql.conf" "$conf"
refused=no
for ((found = 0; found < MOST; found++)); do
    try && break
    if [ "$refused" = no ]; then
        # what is wrong with the scratch data is not the configuration's fault
        make_scratch anew || { say "no trial: $(tail -n 1 "$scratch/initdb.log")"; exit 0; }
        take_leftovers
        try && break
    fi
    [ -s "$said" ] || { say "the trial ended without a word"; break; }
    cp "$said" "$scratch/all"
    progress=no
    while IFS= read -r complaint; do
        # a later line may be what the first one led to; if not, it comes again
        name=$(named_in "$complaint") || { [ "$progress" = no ] || continue; name=$(blame); }
        if [ "$name" = - ] && by_alter_system; then
            complaint="$complaint; this comes from a value that ALTER SYSTEM left on this node (npm run status names it)"
        fi
        printf '%s\t%s\n' "$name" "$complaint"
        refused=yes
        [ "$name" != - ] || continue
        without "$name" "$conf"
        progress=yes
    done < "$scratch/all"
    [ "$progress" = yes ] || break
done
[ "$refused" = no ] || exit 5
