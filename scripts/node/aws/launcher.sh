#!/usr/bin/env bash
# What a new machine runs first: fetches this cluster's node scripts from the bucket and hands over to their boot.sh. It is
# the user data, after a header of KEY=value lines and aws.sh (components/platforms/aws/userData.ts), and holds no secret. It changes
# as good as never: what may change is in the bundle. Runs at every boot, and goes on until the node is made.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ "$(type -t s3_get)" != function ]; then
    # shellcheck source-path=SCRIPTDIR source=aws.sh
    . "$here/aws.sh"
fi

bundles=$scripts.d
per_boot=${CITUS_PER_BOOT:-/var/lib/cloud/scripts/per-boot}/citus-node

write_conf() {
    [ ! -e "$conf" ] || return 0
    local name
    for name in REGION BUCKET BASE CLUSTER NODE ROLE VOLUME_ID SECRET ALARMS CITUS_VERSION; do
        [ -z "${!name:-}" ] || printf '%s=%s\n' "$name" "${!name}"
    done > "$conf.new"
    mv "$conf.new" "$conf"
}

# Only what is missing: a machine image may bring all of it, and then nothing is asked of the internet.
tools() {
    local missing=() tool
    for tool in curl:curl jq:jq xfs_growfs:xfsprogs nc:netcat-openbsd; do
        type -P "${tool%%:*}" > /dev/null || missing+=("${tool##*:}")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l
    apt-get -q -o DPkg::Lock::Timeout=300 update
    apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends ca-certificates "${missing[@]}"
}

# Another bundle comes later, by aws/bundle.sh.
first_bundle() {
    [ ! -x "$scripts/aws/boot.sh" ] || return 0
    local sha work=$bundles/.incoming
    mkdir -p "$bundles"
    rm -rf "$work"
    mkdir "$work"
    credentials
    s3_get bundle/current "$work/current"
    sha=$(cat "$work/current")
    [[ $sha =~ ^[0-9a-f]{64}$ ]] || die 65 "bundle/current of $BUCKET is no sha256"
    s3_get "bundle/$sha.tar" "$work/tar"
    printf '%s  %s\n' "$sha" "$work/tar" | sha256sum --check --quiet || die 65 "bundle $sha arrived damaged"
    mkdir "$work/files"
    tar -xf "$work/tar" -C "$work/files" --no-same-owner
    rm -rf "${bundles:?}/$sha"
    mv -T "$work/files" "$bundles/$sha"
    rm -rf "$work"
    ln -sfn "$bundles/$sha" "$bundles/.next"
    mv -T "$bundles/.next" "$scripts"
}

if [ "${1:-}" = once ]; then
    umask 022
    write_conf
    tools
    first_bundle
    "$scripts/aws/boot.sh"
    exit
fi
# also for a machine that is stopped before it is made
if [ -d "${per_boot%/*}" ] && ! [ "$0" -ef "$per_boot" ]; then install -m 0700 "$0" "$per_boot"; fi
until bash "$0" once; do
    say "this node is not made yet; trying again in ${CITUS_BOOT_PAUSE:-15} s"
    sleep "${CITUS_BOOT_PAUSE:-15}"
done
say "BOOT-OK"
