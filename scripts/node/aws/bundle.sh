#!/usr/bin/env bash
# Puts another bundle of node scripts in place by one rename, and keeps the one before it. No server is restarted: what
# runs goes on, and what is started next is new. Prints the bundle that is in place. Runs as root.
#
#   bundle.sh [current|SHA256]   @default current
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=aws.sh
. "$here/aws.sh"

umask 022
bundles=$scripts.d
mkdir -p "$bundles"
exec 8> "$bundles/.lock"
flock 8
work=$(mktemp -d "$bundles/.incoming.XXXXXX")
trap 'rm -rf "$work"' EXIT

sha=${1:-current}
if [ "$sha" = current ]; then
    credentials
    s3_get bundle/current "$work/current" || die 69 "bundle/current can't be read from $BUCKET"
    sha=$(cat "$work/current")
fi
[[ $sha =~ ^[0-9a-f]{64}$ ]] || die 64 "a bundle's name is a sha256, and '$sha' is not one"
before=$(readlink "$scripts" 2> /dev/null || true)
before=${before##*/}
if [ ! -d "$bundles/$sha" ]; then
    [ -n "${access_key:-}" ] || credentials
    s3_get "bundle/$sha.tar" "$work/tar" || die 69 "bundle $sha can't be read from $BUCKET"
    printf '%s  %s\n' "$sha" "$work/tar" | sha256sum --check --quiet || die 65 "bundle $sha arrived damaged"
    mkdir "$work/files"
    tar -xf "$work/tar" -C "$work/files" --no-same-owner
    mv -T "$work/files" "$bundles/$sha"
fi
if [ "$sha" != "$before" ]; then
    ln -sfn "$bundles/$sha" "$bundles/.next"
    mv -T "$bundles/.next" "$scripts"
    "$scripts/aws/service.sh" install 8>&-
    find "$bundles" -mindepth 1 -maxdepth 1 -type d ! -name "$sha" ! -name "$before" ! -name '.*' -exec rm -rf {} +
fi
printf 'bundle=%s\n' "$sha"
