#!/usr/bin/env bash
# PostgreSQL, Citus and pgBackRest on this machine, in the versions of packages.conf. Runs as root.
#
#   packages.sh install   nothing when they are there
#   packages.sh check     says what is not as it should be, and fails
#
# Exit codes: 70 something else is installed than packages.conf says, 65 a repository's key is another.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=aws.sh
. "$here/aws.sh"
# shellcheck source-path=SCRIPTDIR source=packages.conf
. "$here/packages.conf"

citus=${CITUS_VERSION:-$citus}
citus_package=postgresql-$postgresql-citus-${citus%.*}
bin=${CITUS_PGBIN:-/usr/lib/postgresql/$postgresql/bin}
keyrings=/etc/apt/keyrings

at_least() { # version, least
    [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

# What is not as it should be, a line each.
findings() {
    local found control
    if [ -x "$bin/postgres" ]; then
        found=$("$bin/postgres" --version | sed 's/^[^0-9]*\([0-9.]*\).*/\1/')
        if [ "${found%%.*}" != "$postgresql" ] || ! at_least "$found" "$postgresql_least"; then
            printf 'PostgreSQL is %s, and has to be %s, at least %s\n' "$found" "$postgresql" "$postgresql_least"
        fi
        control=$("$bin/pg_config" --sharedir 2> /dev/null || printf '/usr/share/postgresql/%s' "$postgresql")/extension/citus.control
        found=$(sed -n "s/^default_version = '\([^']*\)'.*/\1/p" "$control" 2> /dev/null || true)
        # the extension's version has two parts and a revision, as 14.0-1
        [ "${found%-*}" = "${citus%.*}" ] || printf 'Citus is %s, and has to be %s\n' "${found:-missing}" "$citus"
        found=$(dpkg-query --show -f '${Version}' "$citus_package" 2> /dev/null || true)
        [ -z "$found" ] || [ "${found%.citus-*}" = "$citus" ] || printf 'Citus is %s, and has to be %s\n' "$found" "$citus"
    else
        printf 'PostgreSQL %s is missing\n' "$postgresql"
    fi
    found=$(pgbackrest version 2> /dev/null | sed 's/^[^0-9]*\([0-9.]*\).*/\1/' || true)
    if [ -z "$found" ]; then
        printf 'pgBackRest is missing\n'
    else
        at_least "$found" "$pgbackrest_least" || printf 'pgBackRest is %s, and has to be %s or newer\n' "$found" "$pgbackrest_least"
    fi
}

check() {
    local found
    found=$(findings | paste -sd ';' - | sed 's/;/; /g')
    [ -z "$found" ] || die 70 "this machine does not run what it should: $found"
}

apt() { apt-get -q -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@"; }

# The key is checked before apt believes it: nothing but the key of this fingerprint, or long id, may be in it.
keyring() { # name, url, fingerprint
    local work
    work=$(mktemp -d)
    curl -sSf --retry 5 --max-time 60 --output "$work/key" "$2"
    gpg --batch --homedir "$work" --no-default-keyring --show-keys --with-colons "$work/key" > "$work/keys" 2> /dev/null || true
    if [ "$(grep -c '^pub:' "$work/keys")" != 1 ] || ! sed -n 's/^fpr:*\([0-9A-F]*\):*$/\1/p' "$work/keys" | grep -q "$3\$"; then
        rm -rf "$work"
        die 65 "the key of $1 at $2 is not $3"
    fi
    install -D -m 0644 "$work/key" "$keyrings/citus-node-$1.asc"
    rm -rf "$work"
}

install_packages() {
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l
    # shellcheck source=/dev/null
    . /etc/os-release
    apt update
    apt install -y --no-install-recommends ca-certificates curl gpg
    keyring pgdg "$pgdg_key_url" "$pgdg_key"
    keyring citus "$citus_key_url" "$citus_key"
    printf 'deb [arch=amd64 signed-by=%s] %s %s-pgdg main\n' "$keyrings/citus-node-pgdg.asc" "$pgdg_url" "$VERSION_CODENAME" \
        > /etc/apt/sources.list.d/citus-node-pgdg.list
    printf 'deb [arch=amd64 signed-by=%s] %s/%s/ %s main\n' "$keyrings/citus-node-citus.asc" "$citus_url" "$ID" "$VERSION_CODENAME" \
        > /etc/apt/sources.list.d/citus-node-citus.list
    apt update
    # a cluster of Debian's own would take the port and lie on the root disk
    apt install -y --no-install-recommends postgresql-common
    sed -i 's/^#\{0,1\} *create_main_cluster *=.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
    grep -q '^create_main_cluster = false' /etc/postgresql-common/createcluster.conf \
        || printf 'create_main_cluster = false\n' >> /etc/postgresql-common/createcluster.conf
    apt install -y --no-install-recommends --allow-change-held-packages \
        "postgresql-$postgresql=$postgresql.*" "$citus_package=$citus.citus-*" "pgbackrest=2.*" \
        || die 70 "PostgreSQL $postgresql, Citus $citus and pgBackRest can't be installed from $pgdg_url and $citus_url"
}

# Nothing upgrades or restarts a database by itself: unattended-upgrades leaves alone what is held, and needrestart this unit.
keep_still() {
    local package
    for package in "postgresql-$postgresql" "postgresql-client-$postgresql" "$citus_package" pgbackrest libpq5; do
        if dpkg-query --show "$package" > /dev/null 2>&1; then apt-mark hold "$package" > /dev/null; fi
    done
    install -d /etc/needrestart/conf.d
    cat > /etc/needrestart/conf.d/citus-node.conf << 'CONF'
$nrconf{override_rc}{qr(^citus-node)} = 0;
CONF
    systemctl mask --now postgresql.service > /dev/null 2>&1 || say "postgresql.service could not be masked"
}

case ${1:-} in
    install)
        if [ -n "$(findings)" ]; then
            say "installing PostgreSQL $postgresql, Citus $citus and pgBackRest"
            install_packages
            check
        fi
        keep_still
        ;;
    check) check ;;
    *) die 64 "packages.sh install|check" ;;
esac
