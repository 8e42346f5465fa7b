#!/usr/bin/env bash
# Puts what a node needs beside PostgreSQL and Citus into the image, and brings PostgreSQL to the minor release that is
# wanted. Runs as root while the node image is built. Citus itself stays what the base image has.
#
#   packages.sh newest|base|17.N
#
# Exit codes: 64 wrong usage, 65 the base can't be used, 66 the minor release is not offered, 67 packages can't be had.
set -euo pipefail

wanted=${1:-newest}
home=/usr/local/lib/citus-image
server=postgresql-17
log=$(mktemp)
lists=$(mktemp -d)
trap 'rm -rf "$lists" "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive

die() {
    local code=$1
    shift
    printf 'citus-image: %s\n' "$*" >&2
    exit "$code"
}

# The distribution's own package lists and PostgreSQL's. Whatever else the base brings is not needed, and a list that
# answers with an error would fail the build: that of the official Citus images does (citusdata/docker#378).
choose_lists() {
    local file
    mkdir -p "$lists/parts"
    [ ! -s /etc/apt/sources.list ] || cp /etc/apt/sources.list "$lists/sources.list"
    for file in /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] || continue
        case ${file##*/} in
            debian.sources | ubuntu.sources | pgdg.*) cp "$file" "$lists/parts/" ;;
            *) if grep -q 'apt\.postgresql\.org' "$file"; then cp "$file" "$lists/parts/"; fi ;;
        esac
    done
    touch "$lists/sources.list"
}

all_lists=no
apt_here() { # a program of apt's and its arguments, on the chosen lists
    local program=$1
    shift
    if [ "$all_lists" = yes ]; then
        "$program" -q -o Acquire::Retries=3 "$@"
    else
        "$program" -q -o Acquire::Retries=3 -o "Dir::Etc::sourcelist=$lists/sources.list" -o "Dir::Etc::sourceparts=$lists/parts" "$@"
    fi
}

# What of the log says why. apt puts the reason of a failed list into the line after it.
tell() { sed -n -e '/^Err:/{N;s/\n */: /;p;}' -e '/^\(E\|W\|dpkg\):/p' "$log" | awk '!seen[$0]++' | tail -n 8 >&2; }

# The packages from the chosen lists, else from all: a company's own mirror may be the only one that can be reached.
# Then one list that fails is no reason to stop, as long as the packages are found.
install_packages() {
    local failed=no
    apt_here apt-get update > "$log" 2>&1 || failed=yes
    if [ "$failed" = no ] && apt_here apt-get install -y --no-install-recommends "$@" >> "$log" 2>&1; then return; fi
    all_lists=yes
    apt_here apt-get update >> "$log" 2>&1 || true
    apt_here apt-get install -y --no-install-recommends "$@" >> "$log" 2>&1 && return
    tell
    die 67 "the packages $* can't be installed on this base image"
}

minor() { # a package's version, as 17.10-1.pgdg13+1
    printf '%s\n' "$1" | sed 's/^\([0-9]*\.[0-9]*\).*/\1/'
}

installed() { dpkg-query --show -f '${Version}' "$server" 2> /dev/null || true; }

# Versions of a package that the lists offer, newest first.
offered() { apt_here apt-cache madison "$1" 2> /dev/null | awk '{ print $3 }' | sort -ruV; }

# PostgreSQL's packages that the base has, each in the version given, or the newest.
upgrade() { # version or nothing
    local package packages=()
    for package in "$server" postgresql-client-17 libpq5; do
        dpkg-query --show "$package" > /dev/null 2>&1 || continue
        if [ -n "$1" ] && offered "$package" | grep -qxF "$1"; then packages+=("$package=$1"); else packages+=("$package"); fi
    done
    apt_here apt-get install -y --no-install-recommends --allow-downgrades --allow-change-held-packages \
        -o Dpkg::Options::=--force-confold "${packages[@]}" > "$log" 2>&1 && return
    tell
    die 67 "PostgreSQL can't be brought to ${1:-the newest minor release} on this base image"
}

bring_postgres() {
    local version
    case $wanted in
        base) return ;;
        newest)
            # one that was not installed as a package stays what it is
            [ -z "$(installed)" ] || upgrade ""
            ;;
        17.*)
            [ "$(minor "$(installed)")" != "$wanted" ] || return 0
            version=$(offered "$server" | grep -m 1 -E "^${wanted}[-+~.]" || true)
            [ -n "$version" ] || die 66 "PostgreSQL $wanted is not offered for this base image; offered: $(offered "$server" | sed 's/^\([0-9.]*\).*/\1/' | uniq | paste -sd ' ' -)"
            upgrade "$version"
            ;;
        *) die 64 "packages.sh newest|base|17.N, got $wanted" ;;
    esac
}

command -v apt-get > /dev/null || die 65 "this base image has no apt-get: it has to be based on Debian or Ubuntu (the -alpine images are not)"
id postgres > /dev/null 2>&1 || die 65 "this base image has no user postgres: it has to be an image of PostgreSQL 17 with Citus"
minor "$(installed)" > "$home/base-postgres"
choose_lists
install_packages pgbackrest pgbouncer tini
bring_postgres
rm -rf /var/lib/apt/lists/*
install -d -o postgres -g postgres -m 0700 /var/lib/citus /var/lib/citus-backups
