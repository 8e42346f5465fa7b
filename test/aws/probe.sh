#!/usr/bin/env bash
# What npm run test:aws looks at on a machine of a cluster, as root. Its text travels as a command: it prints no secret.
#
#   boot                what the machine is made of, as key=value lines
#   disk                size in GiB of the data volume's file system
#   imds                HTTP status of the metadata service without a token, and with one
#   user-data           what the machine was given at birth
#   bucket              HTTP status of a read from the cluster's bucket over https, and over http
#   write-bundle        HTTP status of an attempt to write beside the node scripts
#   secret NODE         "readable", or the error's type, for the secret of a node of this cluster
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=../../scripts/node/aws/aws.sh
. /usr/local/lib/citus-node/aws/aws.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

status() { curl -s -o /dev/null -w '%{http_code}\n' --max-time 10 "$@" || true; }

metadata_token() {
    curl -sSf --max-time 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$imds_url/latest/api/token"
}

boot() {
    # shellcheck source=/dev/null
    . /etc/os-release
    printf 'system=%s %s\n' "$ID" "$VERSION_ID"
    printf 'cloud-init=%s\n' "$(cloud-init status | sed -n 's/^status: *//p')"
    printf 'made=%s\n' "$(grep -c BOOT-OK /var/log/cloud-init-output.log || true)"
    printf 'volume=%s\n' "$(readlink -f "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${VOLUME_ID/-/}")"
    printf 'mounted=%s\n' "$(findmnt -n -o SOURCE -M "$home")"
    printf 'postgres=%s\n' "$(dpkg-query --show -f '${Version}' postgresql-17)"
    printf 'citus=%s\n' "$(dpkg-query --show -f '${Package} ${Version}\n' 'postgresql-17-citus-*' | head -n 1)"
    printf 'pgbackrest=%s\n' "$(dpkg-query --show -f '${Version}' pgbackrest)"
}

case ${1:-} in
    boot) boot ;;
    disk) df --output=size -BG "$home" | tr -dc '0-9\n' | tail -n 1 ;;
    imds)
        status "$imds_url/latest/meta-data/instance-id"
        status -H "X-aws-ec2-metadata-token: $(metadata_token)" "$imds_url/latest/meta-data/instance-id"
        ;;
    user-data) curl -sSf --max-time 10 -H "X-aws-ec2-metadata-token: $(metadata_token)" "$imds_url/latest/user-data" ;;
    bucket)
        credentials
        for scheme in https http; do
            signed s3 --output /dev/null --write-out '%{http_code}\n' --max-time 30 \
                "$scheme://$BUCKET.s3.$REGION.amazonaws.com/bundle/current" || true
        done
        ;;
    write-bundle)
        credentials
        printf 'probe\n' > "$work/probe"
        signed s3 --output /dev/null --write-out '%{http_code}\n' --max-time 30 --upload-file "$work/probe" \
            "$s3_url/bundle/probe" || true
        ;;
    secret)
        credentials
        # what is answered may be a secret: only an error's type is shown
        if aws_json secretsmanager "$secrets_url" secretsmanager.GetSecretValue \
            "{\"SecretId\":\"citus/$BASE/${2:?}\"}" > "$work/answer" 2> /dev/null; then
            printf 'readable\n'
        else
            jq -r '.["__type"] // "no answer"' "$work/answer"
        fi
        ;;
    *) die 64 "probe.sh boot | disk | imds | user-data | bucket | write-bundle | secret NODE" ;;
esac
